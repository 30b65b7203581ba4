//! Golden tests of what is created for gateways: `provision/<case>/in.yaml` to `out.json`. With `UPDATE_GOLDEN=1`
//! in the environment the outputs are written anew, to be reviewed as a difference.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mesh_controller::objects::{Gateway, GatewayParameters};
use mesh_controller::provision::{Plan, Provisioning, pieces};
use mesh_controller::source::FileSource;
use mesh_controller::store::ObjectStore;
use mesh_controller::translate::{Changes, GatewayAddresses, Settings, Translator};
use mesh_model::{ObjectName, Resource, Transport};
use serde_json::Value;

fn settings() -> Provisioning {
    Provisioning {
        controller_address: "service-mesh-controller.service-mesh-system.svc:15012".to_owned(),
        controller_identity: "spiffe://cluster.local/ns/service-mesh-system/sa/service-mesh-controller"
            .parse()
            .unwrap(),
        controller_name: "mesh.io/gateway-controller".to_owned(),
        image: "service-mesh/mesh-proxy:dev".to_owned(),
        trust_domain: Settings::default().trust_domain,
    }
}

fn provisioned(text: &str) -> Vec<Value> {
    let snapshot = FileSource::from_text("in.yaml", text.as_bytes()).snapshot();
    assert_eq!(snapshot.findings.len(), 0, "{:?}", snapshot.findings);
    let settings_of_cluster =
        Settings { gateway_addresses: GatewayAddresses::OfService, ..Settings::default() };
    let mut translator = Translator::new(settings_of_cluster);
    translator.update(Changes::between(&ObjectStore::default(), &snapshot.store));
    let translation = translator.translation();
    let (stored, gateway) = snapshot.store.all::<Gateway>().next().unwrap();
    let mut ports = BTreeSet::new();
    for resource in translation.resources.values() {
        let Resource::Listener(listener) = resource else { continue };
        let udp = format!("{:?}", listener.protocol) == "Udp";
        ports.insert((if udp { Transport::Udp } else { Transport::Tcp }, listener.port));
    }
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let reference = infrastructure.and_then(|i| i.parameters_ref.as_ref());
    let parameters = reference.map(|reference| {
        let name = ObjectName::new("shop", reference.name.as_str());
        &snapshot.store.one::<GatewayParameters>(&name).unwrap().1.spec
    });
    let plan = Plan { gateway, name: stored.name(), uid: "7f0a", parameters, ports };
    pieces(&plan, &settings()).into_iter().map(|piece| piece.body).collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn gateways_become_what_the_golden_files_say() {
    for case in cases() {
        let made = provisioned(&std::fs::read_to_string(case.join("in.yaml")).unwrap());
        let made = format!("{:#}\n", Value::from(made));
        let golden = case.join("out.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &made).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(made, expected, "{} differs; review UPDATE_GOLDEN=1", case.display());
    }
}

/// Edits of listeners must not restart proxies: everything but the service stays equal.
#[test]
fn a_changed_listener_changes_the_service_only() {
    let text =
        std::fs::read_to_string(cases().into_iter().find(|c| c.ends_with("plain")).unwrap().join("in.yaml"));
    let before = provisioned(text.as_ref().unwrap());
    let after = provisioned(&text.unwrap().replace("port: 5300", "port: 5301"));
    let by_kind = |all: Vec<Value>| -> BTreeMap<String, Value> {
        all.into_iter().map(|piece| (piece["kind"].as_str().unwrap().to_owned(), piece)).collect()
    };
    let (before, after) = (by_kind(before), by_kind(after));
    let changed: Vec<_> = before.keys().filter(|kind| before[*kind] != after[*kind]).collect();
    assert_eq!(changed, ["Service"]);
}

/// Names and label values that an API server takes, for the longest gateway name there is.
#[test]
fn names_stay_within_their_limits() {
    for case in cases() {
        for piece in provisioned(&std::fs::read_to_string(case.join("in.yaml")).unwrap()) {
            let metadata = &piece["metadata"];
            let name = metadata["name"].as_str().unwrap();
            assert!(name.len() <= 63, "{name}");
            assert!(piece["kind"] != "Service" || !name.contains('.'), "{name}");
            for value in metadata["labels"].as_object().unwrap().values() {
                assert!(value.as_str().unwrap().len() <= 63, "{value}");
            }
        }
    }
}

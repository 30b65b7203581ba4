//! The manifests under `examples/`: each loads and translates without a finding, so that what a newcomer sees
//! first is not a warning.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_controller::local::Replica;
use mesh_controller::objects::Process;
use mesh_controller::source::load;
use mesh_controller::store::ObjectStore;
use mesh_controller::translate::{Changes, Settings, Translation, Translator};
use mesh_model::{Kind, Resource};

/// A moment within the validity of the certificates of the examples: 2026-11-21.
const NOW: u64 = 1_795_219_200;

fn files(example: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// The objects of an example; a finding of the reader fails the test.
fn objects(example: &str) -> ObjectStore {
    let mut store = ObjectStore::default();
    for file in files(example) {
        let name: Arc<str> = file.display().to_string().into();
        let loaded = load(&std::fs::read(&file).unwrap(), &name);
        let findings: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{findings:#?}");
        store = loaded.objects.into_iter().fold(store, |store, object| store.insert(object));
    }
    store
}

/// The example with every process running once.
fn translated(example: &str) -> Translation {
    let store = objects(example);
    let mut changes = Changes::between(&ObjectStore::default(), &store);
    changes.time = Some(NOW);
    for (n, (stored, _)) in store.all::<Process>().enumerate() {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(n + 1).unwrap()));
        changes.replicas.push((stored.name().clone(), vec![Replica::new(0, address, true)]));
    }
    let mut translator = Translator::new(Settings::default());
    translator.update(changes);
    let translation = translator.translation();
    let findings: Vec<String> = translation.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    translation
}

fn count(translation: &Translation, kind: Kind) -> usize {
    translation.resources.keys().filter(|key| key.kind == kind).count()
}

/// Every service of the example has an endpoint: the labels and port names fit.
#[track_caller]
fn every_service_has_an_endpoint(translation: &Translation, services: usize) {
    let chunks = translation.resources.values().filter_map(|resource| match resource {
        Resource::EndpointChunk(chunk) => Some(chunk),
        _ => None,
    });
    let mut served: Vec<_> =
        chunks.filter(|chunk| !chunk.endpoints.is_empty()).map(|c| c.service.clone()).collect();
    served.sort();
    served.dedup();
    assert_eq!(served.len(), services, "{served:?}");
    assert_eq!(count(translation, Kind::Service), services);
}

#[test]
fn bookinfo_has_no_finding_and_all_its_parts() {
    let bookinfo = translated("bookinfo");
    assert_eq!(count(&bookinfo, Kind::Listener), 1);
    assert_eq!(count(&bookinfo, Kind::Route), 2);
    assert_eq!(count(&bookinfo, Kind::Policy), 4);
    assert_eq!(count(&bookinfo, Kind::Workload), 7, "the processes and the gateway");
    every_service_has_an_endpoint(&bookinfo, 7);
}

#[test]
fn tcp_udp_tls_has_no_finding_and_all_its_parts() {
    let example = translated("tcp-udp-tls");
    assert_eq!(count(&example, Kind::Listener), 5);
    assert_eq!(count(&example, Kind::Route), 6);
    assert_eq!(count(&example, Kind::Certificate), 1);
    assert_eq!(count(&example, Kind::Workload), 8, "the processes and the gateway");
    every_service_has_an_endpoint(&example, 7);
}

#[test]
fn only_the_local_files_hold_what_a_cluster_does_not_know() {
    for example in ["bookinfo", "tcp-udp-tls"] {
        for file in files(example) {
            let text = std::fs::read_to_string(&file).unwrap();
            let local = file.file_name().unwrap() == "local.yaml";
            assert_eq!(text.contains("local.mesh.io/"), local, "{}", file.display());
        }
    }
}

#[test]
fn the_readme_explains_a_request_with_its_caller_between_request_and_files() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bookinfo");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["explain", "GET http://reviews:9080/reviews/0", "--from", "productpage", folder]);
    let out = command.output().expect("meshctl runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("default/reviews-v1:9080 weight 90"), "{text}");
}

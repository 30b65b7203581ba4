//! A class stays while gateways use it: the finalizer that the Gateway API names for this (v1.7.0, `GatewayClass`) is put
//! on each class of ours that some gateway names, and taken off when none does. A class that is deleted before then goes
//! on being served, and goes with its last gateway. Only the leader writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::feed::Pauses;
use super::{Access, Api, CallError, ClusterError, Fault};
use crate::objects::class::{IN_USE, unmarked};
use crate::objects::{Gateway, GatewayClass, ObjectKind};
use crate::store::{ObjectStore, Stored};

/// Where classes are; 1.0 of the Gateway API serves them there, and every release since.
const CLASSES: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
/// As often a change is made anew because somebody else was faster.
const CONFLICTS: u32 = 5;

/// Keeps the classes as they should be, for ever.
pub(super) async fn keep(mut access: Access) {
    let (mut seen, mut failed) = (None, false);
    let mut pauses = Pauses::default();
    loop {
        if !*access.leading.borrow_and_update() {
            (seen, failed) = (None, false);
        } else if is_asked(&mut access, &mut seen) || failed {
            failed = !write(&access, pauses.is_first()).await;
        }
        if !failed {
            pauses.reset();
        }
        tokio::select! {
            Ok(()) = access.view.changed() => {}
            Ok(()) = access.leading.changed() => {}
            () = pauses.wait(), if failed => {}
            else => return,
        }
    }
}

/// Whether something was touched that decides which classes are in use.
fn is_asked(access: &mut Access, seen: &mut Option<u64>) -> bool {
    let touched = access.view.borrow_and_update().touched_since(seen);
    touched.is_none_or(|touched| touched.has(&[ObjectKind::Gateway, ObjectKind::GatewayClass]))
}

/// Writes what differs. Returns whether everything is as it should be.
async fn write(access: &Access, is_first: bool) -> bool {
    let store = access.view.borrow().store.clone();
    let mut complete = true;
    for (path, change) in changes(&store, &access.config.controller_name) {
        match access.api.merge(&path, &change).await {
            Ok(_) => tracing::info!(path, finalizers = %change["metadata"]["finalizers"], "marked"),
            // It went, or somebody changed it, which is seen in a moment.
            Err(error) if matches!(error.fault(), Fault::Conflict | Fault::NotFound) => complete = false,
            Err(error) => {
                if is_first {
                    tracing::warn!(%error, "a class is not marked as it should be; trying again");
                }
                complete = false;
            }
        }
    }
    complete
}

/// Takes the marks off every class with this controller name, for an uninstallation, after which nobody would, and deletes
/// the one of them that has the other name. Gives the names of those that had a mark. The controllers themselves must be
/// gone: they would put them on again.
///
/// # Errors
/// When there is no API server to be found, or it refuses.
pub async fn release(controller: &str, deleted: Option<&str>) -> Result<Vec<String>, ClusterError> {
    let released = async {
        let api = Api::connect().await?;
        let classes = match api.get(CLASSES).await {
            // A cluster without the Gateway API has none.
            Err(error) if error.fault() == Fault::NotFound => return Ok(Vec::new()),
            classes => classes?,
        };
        let ours = |class: &&Value| class["spec"]["controllerName"] == controller;
        let mut names = Vec::new();
        for class in classes["items"].as_array().into_iter().flatten().filter(ours) {
            let name = class["metadata"]["name"].as_str().unwrap_or_default();
            if release_one(&api, name, class.clone()).await? {
                names.push(name.to_owned());
            }
            if deleted == Some(name) {
                match api.delete(&format!("{CLASSES}/{name}")).await {
                    Err(error) if error.fault() == Fault::NotFound => {}
                    outcome => outcome.map(drop)?,
                }
            }
        }
        Ok(names)
    };
    released.await.map_err(|error: CallError| ClusterError::Api(error.to_string()))
}

async fn release_one(api: &Api, name: &str, mut class: Value) -> Result<bool, CallError> {
    let path = format!("{CLASSES}/{name}");
    let mut conflicts = 0;
    loop {
        let Some(change) = unmarked(&class) else { return Ok(false) };
        match api.merge(&path, &change).await {
            Ok(_) => return Ok(true),
            Err(error) if error.fault() == Fault::NotFound => return Ok(false),
            // Somebody changed it meanwhile: look again.
            Err(error) if error.fault() == Fault::Conflict && conflicts < CONFLICTS => conflicts += 1,
            Err(error) => return Err(error),
        }
        class = match api.get(&path).await {
            Err(error) if error.fault() == Fault::NotFound => return Ok(false),
            class => class?,
        };
    }
}

/// The path of each class that is to change, and the change: only to the version that was seen.
fn changes(store: &ObjectStore, controller: &str) -> Vec<(String, Value)> {
    let used: BTreeSet<&str> =
        store.all::<Gateway>().map(|(_, gateway)| gateway.spec.gateway_class_name.as_str()).collect();
    let change = |(stored, class): (&Arc<Stored>, &GatewayClass)| {
        let (live, name) = (stored.live()?, &stored.name().name);
        let is_marked = class.metadata.finalizers.iter().any(|one| one == IN_USE);
        let is_used = used.contains(&**name);
        // What is being deleted takes no new finalizers.
        let ends = class.metadata.deletion_timestamp.is_some();
        if class.spec.controller_name != controller || is_marked == is_used || (is_used && ends) {
            return None;
        }
        let others = class.metadata.finalizers.iter().map(String::as_str).filter(|one| *one != IN_USE);
        let finalizers: Vec<&str> = others.chain(is_used.then_some(IN_USE)).collect();
        let path = format!("/apis/{}/gatewayclasses/{name}", live.api_version);
        let metadata = json!({"resourceVersion": &*live.resource_version, "finalizers": finalizers});
        Some((path, json!({"metadata": metadata})))
    };
    store.all::<GatewayClass>().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::super::item::stored;
    use super::*;

    const VERSION: &str = "gateway.networking.k8s.io/v1";

    fn class(name: &str, controller: &str, finalizers: &[&str], ends: bool) -> Arc<Stored> {
        let mut metadata = json!({"name": name, "resourceVersion": "7", "finalizers": finalizers});
        if ends {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let spec = json!({"controllerName": controller});
        let kind = ObjectKind::GatewayClass;
        stored(
            kind,
            json!({"apiVersion": VERSION, "kind": "GatewayClass", "metadata": metadata, "spec": spec}),
        )
    }

    fn gateway(class: &str) -> Arc<Stored> {
        let listener = json!({"name": "a", "port": 80, "protocol": "HTTP"});
        let spec = json!({"gatewayClassName": class, "listeners": [listener]});
        let metadata = json!({"name": class, "namespace": "n"});
        let value = json!({"apiVersion": VERSION, "kind": "Gateway", "metadata": metadata, "spec": spec});
        stored(ObjectKind::Gateway, value)
    }

    /// What it is about, the class, whether a gateway uses it, and the finalizers that are written, if any are.
    type Case<'a> = (&'a str, Arc<Stored>, bool, Option<&'a [&'a str]>);

    #[test]
    fn a_class_is_marked_while_gateways_use_it_and_other_marks_stay() {
        let (ours, foreign, other) = ("mesh.io/me", "mesh.io/them", "example.com/other");
        let cases: [Case<'_>; 8] = [
            ("unused", class("c", ours, &[], false), false, None),
            ("used", class("c", ours, &[other], false), true, Some(&[other, IN_USE])),
            ("used and marked", class("c", ours, &[IN_USE], false), true, None),
            ("used no more", class("c", ours, &[IN_USE, other], false), false, Some(&[other])),
            ("deleted while used", class("c", ours, &[IN_USE], true), true, None),
            ("deleted and used no more", class("c", ours, &[IN_USE], true), false, Some(&[])),
            ("deleted before it was marked", class("c", ours, &[other], true), true, None),
            ("somebody else's", class("c", foreign, &[], false), true, None),
        ];
        for (case, class, is_used, expected) in cases {
            let store: ObjectStore = [class].into_iter().chain(is_used.then(|| gateway("c"))).collect();
            let changes = changes(&store, ours);
            let expected = expected.map(|finalizers| {
                let metadata = json!({"resourceVersion": "7", "finalizers": finalizers});
                (format!("/apis/{VERSION}/gatewayclasses/c"), json!({"metadata": metadata}))
            });
            assert_eq!(changes, Vec::from_iter(expected), "{case}");
        }
    }
}

//! The roots of the mesh for those who have no certificate yet: a ConfigMap in our own namespace and in every
//! namespace that holds one of our gateways, has a workload of the mesh, or asks for sidecars. Written by the leader,
//! and only when it differs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::Authority;
use mesh_model::ObjectName;
use serde_json::json;

use super::{Access, Fault};
use crate::controller::View;
use crate::inject::is_asked_by;
use crate::objects::{ConfigMap, Gateway, GatewayClass, Namespace, ObjectKind};
use crate::serve::roots_pem;
use crate::store::ObjectStore;

/// Name and entry of the ConfigMap.
const NAME: &str = "mesh-ca-root";
const ENTRY: &str = "roots.pem";
/// How soon a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Keeps the ConfigMaps as they should be, for ever.
pub(super) async fn keep(mut access: Access, authority: Arc<Authority>) {
    let mut roots = authority.trust().subscribe();
    let mut seen = None;
    let (mut only_view, mut failed) = (false, false);
    loop {
        let is_asked = is_asked(&access, &mut seen) || !only_view || failed;
        if *access.leading.borrow_and_update() && is_asked {
            roots.mark_unchanged();
            let view = access.view.borrow_and_update().clone();
            failed = !write(&access, &view, &roots_pem(&authority.bundle())).await;
        }
        only_view = false;
        tokio::select! {
            Ok(()) = access.view.changed() => only_view = true,
            Ok(()) = access.leading.changed() => {}
            Ok(()) = roots.changed() => {}
            () = tokio::time::sleep(AGAIN), if failed => {}
            else => return,
        }
    }
}

/// Whether something was touched that decides where the roots should be.
fn is_asked(access: &Access, seen: &mut Option<u64>) -> bool {
    let touched = access.view.borrow().touched_since(seen);
    let kinds = [ObjectKind::ConfigMap, ObjectKind::Gateway, ObjectKind::GatewayClass, ObjectKind::Namespace];
    touched.is_none_or(|touched| touched.workloads || touched.has(&kinds))
}

/// Writes what differs. Returns whether everything is as it should be.
async fn write(access: &Access, view: &View, text: &str) -> bool {
    let mut complete = true;
    let workloads = view.mesh.all_workloads().map(|workload| workload.name.namespace.to_string());
    let own = access.config.namespace.clone();
    // That of the proxies of nodes, where there are any.
    let of_nodes = Some(format!("{own}-node"));
    let of_nodes =
        of_nodes.filter(|name| view.store.one::<Namespace>(&ObjectName::new("", name.as_str())).is_some());
    let wanted = workloads.chain([own]).chain(of_nodes).collect();
    for namespace in outdated(&view.store, wanted, &access.config.controller_name, text) {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{NAME}");
        let metadata = json!({"name": NAME, "namespace": namespace});
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {ENTRY: text}});
        match access.api.apply(&path, &object).await {
            Ok(_) => {}
            // The namespace is going away, or its end has not been seen yet.
            Err(error) if error.fault() == Fault::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, namespace, "the roots could not be written; trying again");
                complete = false;
            }
        }
    }
    complete
}

/// The namespaces that need the roots and do not have them: these, those of our gateways, and those that ask for
/// sidecars, so that the first pod there finds the roots.
fn outdated(
    store: &ObjectStore,
    mut namespaces: BTreeSet<String>,
    controller: &str,
    text: &str,
) -> BTreeSet<String> {
    let ours = |class: &str| {
        let class = store.one::<GatewayClass>(&ObjectName::new("", class));
        class.is_some_and(|(_, class)| class.spec.controller_name == controller)
    };
    let gateways = store.all::<Gateway>().filter(|(_, gateway)| ours(&gateway.spec.gateway_class_name));
    namespaces.extend(gateways.map(|(stored, _)| stored.name().namespace.to_string()));
    let asking = store.all::<Namespace>().filter(|(_, object)| is_asked_by(&object.metadata.labels));
    namespaces.extend(asking.map(|(stored, _)| stored.name().name.to_string()));
    namespaces.retain(|namespace| {
        let live = store.one::<Namespace>(&ObjectName::new("", namespace.as_str()));
        let ends = live.is_some_and(|(_, object)| object.metadata.deletion_timestamp.is_some());
        let held = store.one::<ConfigMap>(&ObjectName::new(namespace.as_str(), NAME));
        !ends && held.and_then(|(_, map)| map.data.get(ENTRY)).map(String::as_str) != Some(text)
    });
    namespaces
}

#[cfg(test)]
mod tests {
    use super::super::item::stored;
    use super::*;

    #[test]
    fn roots_go_where_our_gateways_are_and_only_when_they_differ() {
        let class = |name: &str, controller: &str| {
            let spec = json!({"controllerName": controller});
            let version = "gateway.networking.k8s.io/v1";
            stored(
                ObjectKind::GatewayClass,
                json!({"apiVersion": version, "kind": "GatewayClass", "metadata": {"name": name}, "spec": spec}),
            )
        };
        let gateway = |namespace: &str, class: &str| {
            let listener = json!({"name": "a", "port": 80, "protocol": "HTTP"});
            let spec = json!({"gatewayClassName": class, "listeners": [listener]});
            let metadata = json!({"name": "g", "namespace": namespace});
            let version = "gateway.networking.k8s.io/v1";
            stored(
                ObjectKind::Gateway,
                json!({"apiVersion": version, "kind": "Gateway", "metadata": metadata, "spec": spec}),
            )
        };
        let map = |namespace: &str, text: &str| {
            let metadata = json!({"name": NAME, "namespace": namespace});
            let value =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {ENTRY: text}});
            stored(ObjectKind::ConfigMap, value)
        };
        let classes = [class("ours", "mesh.io/me"), class("theirs", "mesh.io/them")];
        let gateways = ["new", "same", "stale"].map(|namespace| gateway(namespace, "ours"));
        let maps = [map("same", "R"), map("stale", "old")];
        let store: ObjectStore =
            classes.into_iter().chain(gateways).chain([gateway("foreign", "theirs")]).chain(maps).collect();
        let labels = json!({"istio-injection": "enabled"});
        let metadata = json!({"name": "asking", "labels": labels});
        let asking = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let store = store.insert(stored(ObjectKind::Namespace, asking));
        let wanted = BTreeSet::from(["own".to_owned()]);
        let found: Vec<String> = outdated(&store, wanted, "mesh.io/me", "R").into_iter().collect();
        assert_eq!(found, ["asking", "new", "own", "stale"]);
    }
}

//! What we made for gateways that another controller has in charge now. Pure. Where it is not known who is in charge,
//! nothing is abandoned; what belongs to a gateway that is gone falls by its owner reference.

use std::sync::Arc;

use mesh_model::ObjectName;
use serde_json::Value;

use super::inventory::PieceKey;
use crate::objects::{Gateway, GatewayClass};
use crate::store::{ObjectStore, Stored};

/// The label with the class for which a piece was made.
const CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";

/// Kind, name and uid of what is to go, the last written first.
pub(super) fn abandoned<'i>(
    store: &ObjectStore,
    made: impl Iterator<Item = (&'i PieceKey, &'i Value)>,
    controller: &str,
) -> Vec<(PieceKey, String)> {
    let is_abandoned = |piece: &Value| {
        let gateway = owner(store, piece);
        gateway.is_some_and(|(_, gateway)| is_elsewhere(store, gateway, piece, controller))
    };
    let uid = |piece: &Value| piece["metadata"]["uid"].as_str().map(str::to_owned);
    let mut gone: Vec<_> = made
        .filter(|(_, piece)| piece["metadata"]["deletionTimestamp"].is_null() && is_abandoned(piece))
        .filter_map(|(key, piece)| Some((key.clone(), uid(piece)?)))
        .collect();
    gone.reverse();
    gone
}

/// The gateway that controls a piece, this very one and no later one of its name.
fn owner<'s>(store: &'s ObjectStore, piece: &Value) -> Option<(&'s Arc<Stored>, &'s Gateway)> {
    let owners = piece["metadata"]["ownerReferences"].as_array()?;
    let controls = |owner: &&Value| owner["kind"] == "Gateway" && owner["controller"] == true;
    let owner = owners.iter().find(controls)?;
    let namespace = piece["metadata"]["namespace"].as_str()?;
    let found = store.one::<Gateway>(&ObjectName::new(namespace, owner["name"].as_str()?))?;
    found.0.live().filter(|live| owner["uid"] == *live.uid).map(|_| found)
}

/// Whether the gateway names a class of somebody else, or was given the name of a class that is not there. A class that
/// went away under a gateway says nothing.
fn is_elsewhere(store: &ObjectStore, gateway: &Gateway, piece: &Value, controller: &str) -> bool {
    let class = gateway.spec.gateway_class_name.as_str();
    match store.one::<GatewayClass>(&ObjectName::new("", class)) {
        Some((_, class)) => class.spec.controller_name != controller,
        None => piece["metadata"]["labels"][CLASS]
            .as_str()
            .is_some_and(|made| made != crate::names::bounded(class)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::item;
    use super::*;
    use crate::objects::ObjectKind;
    use crate::provision::PieceKind;

    const GROUP: &str = "gateway.networking.k8s.io/v1";

    fn stored(kind: ObjectKind, mut value: Value) -> Arc<Stored> {
        value["metadata"]["resourceVersion"] = json!("1");
        value["metadata"]["uid"] = json!("u-1");
        item::stored(kind, value)
    }

    fn class(name: &str, controller: &str) -> Arc<Stored> {
        stored(
            ObjectKind::GatewayClass,
            json!({"apiVersion": GROUP, "kind": "GatewayClass", "metadata": {"name": name},
                "spec": {"controllerName": controller}}),
        )
    }

    fn gateway(class: &str) -> Arc<Stored> {
        let listener = json!({"name": "a", "port": 80, "protocol": "HTTP"});
        stored(
            ObjectKind::Gateway,
            json!({"apiVersion": GROUP, "kind": "Gateway", "metadata": {"namespace": "shop", "name": "edge"},
                "spec": {"gatewayClassName": class, "listeners": [listener]}}),
        )
    }

    fn piece(owner: &str, class: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": "edge-mesh", "uid": "p-1", "labels": {CLASS: class},
            "ownerReferences": [{"kind": "Gateway", "name": "edge", "uid": owner, "controller": true}]}})
    }

    #[test]
    fn only_what_somebody_else_has_in_charge_is_abandoned() {
        let ours = || class("mesh", "a.example/ours");
        let table = [
            ("still ours", vec![ours(), gateway("mesh")], piece("u-1", "mesh"), 0),
            (
                "another class",
                vec![ours(), class("b", "a.example/theirs"), gateway("b")],
                piece("u-1", "mesh"),
                2,
            ),
            (
                "the class is theirs now",
                vec![class("mesh", "a.example/theirs"), gateway("mesh")],
                piece("u-1", "mesh"),
                2,
            ),
            (
                "a second class of ours",
                vec![class("b", "a.example/ours"), gateway("b")],
                piece("u-1", "mesh"),
                0,
            ),
            ("a class that is not there", vec![ours(), gateway("b")], piece("u-1", "mesh"), 2),
            ("the class went away", vec![gateway("mesh")], piece("u-1", "mesh"), 0),
            ("nothing is known", Vec::new(), piece("u-1", "mesh"), 0),
            (
                "another gateway of that name",
                vec![class("b", "a.example/theirs"), gateway("b")],
                piece("u-0", "mesh"),
                0,
            ),
        ];
        for (case, objects, piece, expected) in table {
            let store: ObjectStore = objects.into_iter().collect();
            let name = ObjectName::new("shop", "edge-mesh");
            let keys = [(PieceKind::Service, name.clone()), (PieceKind::Deployment, name)];
            let made = keys.iter().map(|key| (key, &piece));
            let gone = abandoned(&store, made, "a.example/ours");
            assert_eq!(gone.len(), expected, "{case}");
            assert!(gone.first().is_none_or(|(key, uid)| key.0 == PieceKind::Deployment && uid == "p-1"));
        }
    }
}

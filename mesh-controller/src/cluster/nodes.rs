//! What the proxies of nodes say they serve: judged by their token, and kept in one ConfigMap for each node beside the
//! control plane, so that every replica decides alike. What clients do with it is translated elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_ca::attest::AttestError;
use mesh_model::{Mesh, ObjectName};
use mesh_xds::nodes::{Note, Noted, Served};
use serde_json::json;
use tonic::Status;
use tonic::codegen::BoxFuture;

use super::Access;
use super::review::TokenReviewer;
use crate::objects::ConfigMap;
use crate::translate::{SERVED_ENTRY, served_map};

/// Notes what nodes serve.
pub(super) struct Notes {
    access: Access,
    reviewer: Arc<TokenReviewer>,
}

impl Notes {
    pub(super) fn new(access: Access, reviewer: Arc<TokenReviewer>) -> Self {
        Self { access, reviewer }
    }
}

impl Note for Notes {
    fn note(&self, said: Served, from: Option<IpAddr>) -> BoxFuture<Noted, Status> {
        let (access, reviewer) = (self.access.clone(), Arc::clone(&self.reviewer));
        Box::pin(async move {
            let node = reviewer.node_of(&said.token, from).await.map_err(refused)?;
            let text = {
                let view = access.view.borrow();
                json!(of_node(&view.mesh, &node, &said)).to_string()
            };
            write(&access, &node, &text).await.map(|()| Noted {})
        })
    }
}

async fn write(access: &Access, node: &str, text: &str) -> Result<(), Status> {
    let (namespace, name) = (access.config.namespace.clone(), served_map(node));
    let key = ObjectName::new(namespace.as_str(), name.as_str());
    let is_same = {
        let view = access.view.borrow();
        let held = view.store.one::<ConfigMap>(&key);
        held.and_then(|(_, map)| map.data.get(SERVED_ENTRY).map(|held| held == text)).unwrap_or(false)
    };
    if is_same {
        return Ok(());
    }
    let metadata = json!({"name": name, "namespace": namespace});
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {SERVED_ENTRY: text}});
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    match access.api.apply(&path, &object).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Status::unavailable(format!("what node {node} serves cannot be kept: {error}"))),
    }
}

/// Of what a node says, the pods that it is to serve, with their addresses. About others it has nothing to say.
fn of_node(mesh: &Mesh, node: &str, said: &Served) -> BTreeMap<String, Vec<String>> {
    let named = said.pods.iter().map(|pod| (ObjectName::new(pod.namespace.as_str(), pod.name.as_str()), pod));
    let is_here = |name: &ObjectName| {
        let on_node = mesh.workload(name).and_then(|workload| workload.on_node.as_ref());
        on_node.is_some_and(|on_node| *on_node.node == *node)
    };
    let here = named.filter(|(name, _)| is_here(name));
    here.map(|(name, pod)| (name.to_string(), pod.addresses.clone())).collect()
}

fn refused(error: AttestError) -> Status {
    match error {
        AttestError::Unavailable(_) => Status::unavailable(error.to_string()),
        _ => Status::permission_denied(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mesh_model::{Delta, Kind, OnNode, Origin, Plaintext, Resource, ResourceKey, SourceRef, Workload};
    use mesh_xds::nodes::ServedPod;

    use super::*;

    #[test]
    fn a_node_says_something_about_its_own_pods_only() {
        let workload = |name: &str, node: Option<&str>| {
            let name = ObjectName::new("shop", name);
            let on_node = |node| OnNode { node: Arc::from(node), confirmed: false, probes: BTreeSet::new() };
            Resource::Workload(Arc::new(Workload {
                key: ResourceKey::local(Kind::Workload, name.clone()),
                source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
                name,
                labels: BTreeMap::new(),
                identity: "spiffe://cluster.local/ns/shop/sa/x".parse().expect("an identity"),
                addresses: Vec::new(),
                plaintext: Plaintext::default(),
                on_node: node.map(on_node),
            }))
        };
        let set =
            vec![workload("mine", Some("n1")), workload("yours", Some("n2")), workload("sidecar", None)];
        let mesh = Mesh::default().apply(&Delta { set, removed: Vec::new() });
        let pod = |name: &str| ServedPod {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            addresses: vec!["10.0.0.1".to_owned()],
        };
        let pods = ["mine", "yours", "sidecar", "nobody"].map(pod).into();
        let found = of_node(&mesh, "n1", &Served { token: String::new(), pods });
        assert_eq!(found, [("shop/mine".to_owned(), vec!["10.0.0.1".to_owned()])].into());
    }
}

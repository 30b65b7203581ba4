//! What the proxies of nodes say they serve: judged by their token, and kept in one ConfigMap for each node beside the
//! control plane, so that every replica decides alike. It belongs to the node's own object, so that the API server's garbage
//! collection removes it when that is gone. What clients do with it is translated elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_ca::attest::AttestError;
use mesh_model::{Mesh, ObjectName};
use mesh_xds::nodes::{Note, Noted, Served};
use serde_json::{Value, json};
use tonic::Status;
use tonic::codegen::BoxFuture;

use super::client::Api;
use super::review::TokenReviewer;
use super::{Access, Fault};
use crate::objects::ConfigMap;
use crate::translate::{SERVED_ENTRY, served_map};

/// Notes what nodes serve.
pub(super) struct Notes {
    access: Access,
    reviewer: Arc<TokenReviewer>,
    owned: Owned,
}

/// Nodes whose ConfigMap this process has written with its owner. Earlier versions named none.
type Owned = Arc<Mutex<BTreeSet<String>>>;

impl Notes {
    pub(super) fn new(access: Access, reviewer: Arc<TokenReviewer>) -> Self {
        Self { access, reviewer, owned: Owned::default() }
    }
}

impl Note for Notes {
    fn note(&self, said: Served, from: Option<IpAddr>) -> BoxFuture<Noted, Status> {
        let (access, reviewer) = (self.access.clone(), Arc::clone(&self.reviewer));
        let owned = Arc::clone(&self.owned);
        Box::pin(async move {
            let node = reviewer.node_of(&said.token, from).await.map_err(refused)?;
            let text = {
                let view = access.view.borrow();
                json!(of_node(&view.mesh, &node, &said)).to_string()
            };
            write(&access, &owned, (&node, &text)).await.map(|()| Noted {})
        })
    }
}

async fn write(access: &Access, owned: &Owned, (node, text): (&str, &str)) -> Result<(), Status> {
    let (namespace, name) = (access.config.namespace.clone(), served_map(node));
    let key = ObjectName::new(namespace.as_str(), name.as_str());
    let is_same = {
        let view = access.view.borrow();
        let held = view.store.one::<ConfigMap>(&key);
        held.and_then(|(_, map)| map.data.get(SERVED_ENTRY).map(|held| held == text)).unwrap_or(false)
    };
    let lock = || owned.lock().unwrap_or_else(PoisonError::into_inner);
    if is_same && lock().contains(node) {
        return Ok(());
    }
    let owner = owner(&access.api, node).await?;
    let metadata = json!({"name": name, "namespace": namespace, "ownerReferences": [owner]});
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {SERVED_ENTRY: text}});
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    match access.api.apply(&path, &object).await {
        Ok(_) => {
            lock().insert(node.to_owned());
            Ok(())
        }
        Err(error) => Err(Status::unavailable(format!("what node {node} serves cannot be kept: {error}"))),
    }
}

/// The node's object, as the owner of something. A later node of the same name is another owner.
async fn owner(api: &Api, node: &str) -> Result<Value, Status> {
    let found = api.get(&format!("/api/v1/nodes/{node}")).await.map_err(|error| match error.fault() {
        Fault::NotFound => Status::failed_precondition(format!("there is no node {node}")),
        _ => Status::unavailable(format!("node {node} cannot be looked up: {error}")),
    })?;
    match found["metadata"]["uid"].as_str() {
        Some(uid) => Ok(json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid})),
        None => Err(Status::unavailable(format!("node {node} has no uid"))),
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
    use mesh_model::{Delta, Kind, OnNode, Origin, Plaintext, Resource, ResourceKey, SourceRef, Workload};
    use mesh_xds::nodes::ServedPod;

    use super::super::client::fake::{ok, server, status};
    use super::*;

    #[tokio::test]
    async fn what_a_node_says_belongs_to_the_node_and_nothing_is_kept_of_one_that_is_gone() {
        let (api, _) = server(|call| match call.path.as_str() {
            "/api/v1/nodes/n1" => ok(json!({"metadata": {"name": "n1", "uid": "u-1"}})),
            "/api/v1/nodes/n2" => status(503),
            _ => status(404),
        });
        let found = owner(&api, "n1").await.expect("the node is there");
        assert_eq!(found, json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-1"}));
        let code = async |node| owner(&api, node).await.expect_err("no owner").code();
        assert_eq!(code("n2").await, tonic::Code::Unavailable);
        assert_eq!(code("gone").await, tonic::Code::FailedPrecondition);
    }

    #[test]
    fn a_node_says_something_about_its_own_pods_only() {
        let workload = |name: &str, node: Option<&str>| {
            let name = ObjectName::new("shop", name);
            let on_node = |node| OnNode {
                node: Arc::from(node),
                confirmed: false,
                probes: BTreeSet::new(),
                keeps_names: false,
            };
            Resource::Workload(Arc::new(Workload {
                key: ResourceKey::local(Kind::Workload, name.clone()),
                source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
                name,
                labels: BTreeMap::new(),
                identity: "spiffe://cluster.local/ns/shop/sa/x".parse().expect("an identity"),
                addresses: Vec::new(),
                plaintext: Plaintext::default(),
                on_node: node.map(on_node),
                outside: mesh_model::Outside::Allowed,
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

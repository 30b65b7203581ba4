//! Plans for few pods in few namespaces.

use mesh_capture::Namespace;
use mesh_model::{Kind, OnNode, Origin, Plaintext, ResourceKey, SourceRef};

use super::*;

/// Different identities of namespaces: those of any files will do.
fn ids() -> Vec<NamespaceId> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        Namespace::id_at(&path).unwrap()
    };
    ["a", "b", "c"].map(file).into()
}

fn workload(name: &str, address: &str, account: &str) -> Arc<Workload> {
    let name = ObjectName::new("shop", name);
    Arc::new(Workload {
        key: ResourceKey::local(Kind::Workload, name.clone()),
        source: SourceRef::new("Pod", name.clone(), Origin::Builtin),
        labels: BTreeMap::new(),
        identity: format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        plaintext: Plaintext::default(),
        on_node: Some(OnNode {
            node: Arc::from("n"),
            confirmed: false,
            probes: BTreeSet::new(),
            keeps_names: false,
        }),
        outside: mesh_model::Outside::Allowed,
        name,
    })
}

fn all(workloads: &[Arc<Workload>]) -> Wanted {
    workloads.iter().map(|w| (w.name.clone(), Arc::clone(w))).collect()
}

fn there(places: &[(NamespaceId, &str)]) -> Found {
    places.iter().map(|(id, address)| (*id, BTreeSet::from([address.parse().unwrap()]))).collect()
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

#[test]
fn a_pod_is_served_where_its_address_is_and_waits_while_it_is_nowhere() {
    let ids = ids();
    let wanted = all(&[workload("a", "10.0.0.1", "x"), workload("b", "10.0.0.2", "x")]);
    let found = plan(&wanted, &BTreeMap::new(), &there(&[(ids[0], "10.0.0.1"), (ids[1], "10.0.0.9")]));
    assert_eq!(found.enter, [(name("a"), ids[0])].into());
    assert_eq!((found.missing, found.leave.len()), ([name("b")].into(), 0));
}

#[test]
fn an_address_in_two_namespaces_and_a_namespace_of_two_pods_are_refused() {
    let ids = ids();
    let wanted = all(&[workload("a", "10.0.0.1", "x")]);
    let found = plan(&wanted, &BTreeMap::new(), &there(&[(ids[0], "10.0.0.1"), (ids[1], "10.0.0.1")]));
    assert_eq!((found.enter.len(), found.unclear), (0, [(name("a"), Unclear::Several(2))].into()));
    let wanted = all(&[workload("a", "10.0.0.1", "x"), workload("b", "10.0.0.1", "x")]);
    let found = plan(&wanted, &BTreeMap::new(), &there(&[(ids[0], "10.0.0.1")]));
    assert_eq!((found.enter.len(), found.unclear.len()), (0, 2));
    let seat = Seat { namespace: ids[0], workload: workload("a", "10.0.0.1", "x") };
    let found = plan(&wanted, &[(name("a"), seat)].into(), &there(&[(ids[0], "10.0.0.1")]));
    assert_eq!(found.unclear, [(name("b"), Unclear::Claimed(name("a")))].into());
    assert!(found.leave.is_empty(), "who is served already stays");
}

#[test]
fn a_served_pod_is_left_when_its_namespace_goes_or_it_leaves_the_mesh_or_changes_its_account() {
    let ids = ids();
    let pod = workload("a", "10.0.0.1", "x");
    let served: BTreeMap<_, _> = [(name("a"), Seat { namespace: ids[0], workload: Arc::clone(&pod) })].into();
    let (same, here) = (all(std::slice::from_ref(&pod)), there(&[(ids[0], "10.0.0.1")]));
    assert_eq!(plan(&same, &served, &here), Plan::default());
    let table = [
        (same.clone(), there(&[]), Leaving::Gone, true),
        (same.clone(), there(&[(ids[0], "10.0.0.7")]), Leaving::Gone, true),
        (all(&[]), here.clone(), Leaving::Released, false),
        (all(&[workload("a", "10.0.0.1", "y")]), here.clone(), Leaving::Released, true),
    ];
    for (wanted, found, expected, missing) in table {
        let plan = plan(&wanted, &served, &found);
        assert_eq!(plan.leave, [(name("a"), expected)].into());
        assert_eq!((plan.enter.len(), plan.missing.contains(&name("a"))), (0, missing));
    }
    let moved = there(&[(ids[1], "10.0.0.1")]);
    let found = plan(&same, &served, &moved);
    assert_eq!((found.leave.len(), found.missing.len()), (1, 1), "first it leaves, then it enters");
}

#[test]
fn only_pods_of_this_node_with_an_address_are_wanted() {
    let elsewhere = Workload {
        on_node: Some(OnNode {
            node: Arc::from("m"),
            confirmed: false,
            probes: BTreeSet::new(),
            keeps_names: false,
        }),
        outside: mesh_model::Outside::Allowed,
        ..(*workload("b", "10.0.0.2", "x")).clone()
    };
    let sidecar = Workload { on_node: None, ..(*workload("c", "10.0.0.3", "x")).clone() };
    let pending = Workload { addresses: Vec::new(), ..(*workload("d", "10.0.0.4", "x")).clone() };
    let set = [(*workload("a", "10.0.0.1", "x")).clone(), elsewhere, sidecar, pending];
    let set = set.into_iter().map(|w| mesh_model::Resource::Workload(Arc::new(w))).collect();
    let mesh = Mesh::default().apply(&mesh_model::Delta { set, removed: Vec::new() });
    assert_eq!(wanted(&mesh, "n").into_keys().collect::<Vec<_>>(), [name("a")]);
}

#[test]
fn only_a_pod_that_is_ready_behind_a_service_has_clients_that_must_learn() {
    let pod = workload("a", "10.0.0.1", "a");
    let mesh = |address: &str, ready: bool| {
        let endpoint = Endpoint {
            address: address.parse().unwrap(),
            identity: None,
            workload: Arc::from("a"),
            ready,
            zone: None,
            hostname: None,
        };
        let service = ObjectName::new("shop", "web");
        let chunk = mesh_model::backend::EndpointChunk {
            key: ResourceKey::local_part(Kind::EndpointChunk, service.clone(), "80/0"),
            source: SourceRef::new("EndpointSlice", service.clone(), Origin::Builtin),
            service,
            port: 80,
            transport: mesh_model::Transport::Tcp,
            endpoints: vec![endpoint],
        };
        Mesh::from_resources([Resource::Workload(Arc::clone(&pod)), Resource::EndpointChunk(Arc::new(chunk))])
    };
    for (address, ready, expected) in [
        ("10.0.0.1:80", true, true),
        ("[::ffff:10.0.0.1]:80", true, true),
        ("10.0.0.1:80", false, false),
        ("10.0.0.2:80", true, false),
    ] {
        assert_eq!(is_reached(&mesh(address, ready), &pod), expected, "{address} {ready}");
    }
}

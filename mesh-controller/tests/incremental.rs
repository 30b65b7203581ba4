//! Properties of the translation: change by change gives what a fresh start gives, the order of objects plays
//! no part, and a change touches only what refers to it. The documents are those of the golden cases.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use mesh_controller::local::Replica;
use mesh_controller::objects::ObjectKind;
use mesh_controller::source::{Aims, load};
use mesh_controller::store::{ObjectStore, Stored};
use mesh_controller::translate::{Changes, Entry, Settings, Translator, translate};
use mesh_model::{Delta, ObjectName, Resource, ResourceKey, SessionKey};
use mesh_rt::random::Fast;

const NOW: u64 = 1_798_761_600;

/// Every object of every golden case. Objects of one name in several cases are versions of each other.
fn pool() -> Vec<Arc<Stored>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let text = |case: &Path| std::fs::read(case.join("in.yaml")).unwrap();
    cases.iter().flat_map(|case| load(&text(case), &Arc::from("in.yaml")).objects).collect()
}

/// The inputs at one moment.
#[derive(Clone, Default)]
struct World {
    store: ObjectStore,
    replicas: BTreeMap<ObjectName, Vec<Replica>>,
    refused: BTreeSet<ObjectName>,
    refused_tls: Aims,
}

impl World {
    /// One random event, and the changes that tell of it.
    fn step(&mut self, pool: &[Arc<Stored>], random: &mut Fast) -> Changes {
        let before = self.store.clone();
        let stored = &pool[pick(random, pool.len())];
        let key = mesh_controller::store::ObjectKey::new(stored.object().kind(), stored.name().clone());
        let mut changes = Changes::default();
        match random.below(10) {
            0..=5 => self.store = self.store.insert(Arc::clone(stored)),
            6..=8 => self.store = self.store.remove(&key),
            _ if stored.object().kind() == ObjectKind::AuthorizationPolicy => {
                if !self.refused.remove(stored.name()) {
                    self.refused.insert(stored.name().clone());
                }
                changes.refused_policies = Some(self.refused.clone());
            }
            _ if stored.object().kind() == ObjectKind::BackendTlsPolicy => {
                if self.refused_tls.remove(stored.name()).is_none() {
                    let services = BTreeSet::from(["web".to_owned(), "plain".to_owned()]);
                    let aim = (random.below(2) == 0).then_some(services);
                    self.refused_tls.insert(stored.name().clone(), aim);
                }
                changes.refused_tls_policies = Some(self.refused_tls.clone());
            }
            _ => {
                let name = ObjectName::new("default", format!("web-v{}", random.below(3)));
                let count = u8::try_from(random.below(3)).unwrap();
                let address = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
                let replicas: Vec<_> =
                    (0..count).map(|n| Replica::new(n.into(), address(n), random.below(2) == 0)).collect();
                self.replicas.insert(name.clone(), replicas.clone());
                changes.replicas.push((name, replicas));
            }
        }
        changes.objects = Changes::between(&before, &self.store).objects;
        changes
    }

    /// Everything at once, in an order that `random` decides.
    fn whole(&self, random: &mut Fast) -> Changes {
        let mut changes = Changes::between(&ObjectStore::default(), &self.store);
        for at in (1..changes.objects.len()).rev() {
            changes.objects.swap(at, pick(random, at + 1));
        }
        changes.replicas = self.replicas.clone().into_iter().collect();
        changes.refused_policies = Some(self.refused.clone());
        changes.refused_tls_policies = Some(self.refused_tls.clone());
        changes.time = Some(NOW);
        changes
    }
}

fn pick(random: &mut Fast, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

fn apply(resources: &mut BTreeMap<ResourceKey, Resource>, delta: Delta) {
    for key in delta.removed {
        assert!(resources.remove(&key).is_some(), "{key} was removed and not there");
    }
    for resource in delta.set {
        let old = resources.insert(resource.key().clone(), resource.clone());
        assert_ne!(old.as_ref(), Some(&resource), "an equal resource was sent again");
    }
}

#[test]
fn change_by_change_gives_what_a_fresh_start_gives() {
    let pool = pool();
    for seed in 1..=12 {
        let mut random = Fast::seeded(seed * 7919);
        let mut world = World::default();
        let mut translator = Translator::new(Settings::default());
        translator.update(Changes { time: Some(NOW), ..Changes::default() });
        let mut sent = BTreeMap::new();
        for step in 0..150 {
            let changes = world.step(&pool, &mut random);
            apply(&mut sent, translator.update(changes).delta);
            if step % 10 != 9 {
                continue;
            }
            let mut fresh = Translator::new(Settings::default());
            fresh.update(world.whole(&mut random));
            let (kept, expected) = (translator.translation(), fresh.translation());
            for (key, resource) in &expected.resources {
                assert_eq!(kept.resources.get(key), Some(resource), "seed {seed} step {step}");
            }
            assert!(kept == expected, "seed {seed} step {step}:\n{kept:?}\n{expected:?}");
            assert_eq!(sent, expected.resources, "seed {seed} step {step}: the deltas miss something");
        }
    }
}

#[test]
fn the_order_of_objects_plays_no_part() {
    let mut random = Fast::seeded(5);
    let world = World { store: pool().into_iter().collect(), ..World::default() };
    let printed = |random: &mut Fast| {
        let mut translator = Translator::new(Settings::default());
        translator.update(world.whole(random));
        serde_json::to_string(&translator.translation()).unwrap()
    };
    let first = printed(&mut random);
    for _ in 0..5 {
        assert!(printed(&mut random) == first, "another order gives another result");
    }
}

fn entries(text: &str) -> Vec<Entry> {
    let loaded = load(text.as_bytes(), &Arc::from("in.yaml"));
    assert_eq!(loaded.findings, [], "{text}");
    loaded.objects.iter().map(|stored| Entry::of(stored)).collect()
}

fn service(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n---\n"
    )
}

fn route(name: &str, backend: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n---\n"
    )
}

const EDGE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  \
    gatewayClassName: mesh\n  listeners: [{name: http, port: 80, protocol: HTTP}]\n---\n";

fn keys(delta: &Delta) -> Vec<String> {
    let set = delta.set.iter().map(|resource| resource.key().to_string());
    set.chain(delta.removed.iter().map(|key| format!("-{key}"))).collect()
}

#[test]
fn one_edited_route_among_many_is_one_resource_and_few_evaluations() {
    let many: String = (0..300).map(|n| route(&format!("r{n}"), "a")).collect();
    let mut translator = Translator::new(Settings::default());
    translator.update(Changes::of(entries(&format!("{EDGE}{}{}{many}", service("a"), service("b")))));
    let before = translator.evaluations();
    let update = translator.update(Changes::of(entries(&route("r7", "b"))));
    assert_eq!(keys(&update.delta), ["local/default/Route/r7"]);
    assert_eq!(translator.evaluations() - before, 2, "the route's parents, and the route");
}

#[test]
fn a_service_that_appears_changes_the_routes_that_name_it_and_no_other() {
    let text = format!("{EDGE}{}{}{}", service("a"), route("uses-a", "a"), route("uses-b", "b"));
    let mut translator = Translator::new(Settings::default());
    translator.update(Changes::of(entries(&text)));
    let update = translator.update(Changes::of(entries(&service("b"))));
    assert_eq!(keys(&update.delta), ["local/default/Route/uses-b", "local/default/Service/b"]);
    let gone = Changes {
        objects: vec![(ObjectKind::Service, ObjectName::new("default", "b"), None)],
        ..Changes::default()
    };
    let update = translator.update(gone);
    assert_eq!(keys(&update.delta), ["local/default/Route/uses-b", "-local/default/Service/b"]);
}

#[test]
fn an_edit_above_a_document_changes_no_resource() {
    let text = format!("{EDGE}{}{}", service("a"), route("r", "a"));
    let load = |text: &str| {
        load(text.as_bytes(), &Arc::from("in.yaml")).objects.into_iter().collect::<ObjectStore>()
    };
    let (before, after) = (load(&text), load(&format!("# a line\n\n{text}")));
    let mut translator = Translator::new(Settings::default());
    translator.update(Changes::between(&ObjectStore::default(), &before));
    let update = translator.update(Changes::between(&before, &after));
    assert_eq!(keys(&update.delta), Vec::<String>::new());
}

#[test]
fn secrets_that_no_listener_shows_stay_here() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/certificates/in.yaml"),
    );
    let translation = translate(entries(&text.unwrap()), Settings::default());
    let shown = |name: &str| {
        let key = ResourceKey::local(mesh_model::Kind::Certificate, ObjectName::new("default", name));
        translation.resources.contains_key(&key)
    };
    assert_eq!((shown("web"), shown("unused"), shown("wrong-key")), (true, false, false));
    let printed = serde_json::to_string(&translation).unwrap() + &format!("{translation:?}");
    assert!(!printed.contains("PRIVATE KEY"), "a key was printed");
}

#[test]
fn new_keys_of_sessions_change_what_has_sessions_and_no_other_and_are_not_shown() {
    let kept = route("kept", "a").replace("rules: [{", "rules: [{sessionPersistence: {cookie: {}}, ");
    let policy = "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\nmetadata: {name: p}\n\
        spec: {targetRefs: [{group: '', kind: Service, name: b}], sessionPersistence: {cookie: {}}}\n---\n";
    let text = format!("{EDGE}{}{}{}{kept}{policy}", service("a"), service("b"), route("plain", "a"));
    let mut translator = Translator::new(Settings::default());
    translator.update(Changes::of(entries(&text)));
    let keys_of = |bytes: &[u8]| bytes.iter().map(|byte| SessionKey::new([*byte; 32])).collect::<Vec<_>>();
    let mut take = |bytes: &[u8]| {
        translator.update(Changes { session_keys: Some(keys_of(bytes)), ..Changes::default() }).delta
    };
    let delta = take(&[1]);
    assert_eq!(keys(&delta), ["local/default/Route/kept", "local/default/Service/b"]);
    let keys_in = |delta: &Delta| {
        let of = |resource: &Resource| match resource {
            Resource::Route(route) => route.rules[0].session.as_ref().map(|s| s.keys.clone()),
            Resource::Service(service) => service.session.as_ref().map(|s| s.keys.clone()),
            _ => None,
        };
        delta.set.iter().filter_map(of).flatten().collect::<Vec<_>>()
    };
    let first = keys_in(&delta);
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], first[1], "each has a key of its own");
    assert!(!first.contains(&SessionKey::new([1; 32])), "the mesh's key stays here");
    assert_eq!(keys(&take(&[1])), Vec::<String>::new());
    let rotated = keys_in(&take(&[2, 1]));
    assert_eq!((rotated.len(), &rotated[1]), (4, &first[0]), "the old key opens what it sealed");
    let printed = serde_json::to_string(&translator.translation()).unwrap();
    assert!(!printed.contains("keys"), "{printed}");
}

#[test]
fn a_gateway_that_becomes_a_default_one_takes_the_routes_that_ask_for_it_and_gives_them_back() {
    let asks = route("asks", "a").replace("  parentRefs: [{name: edge}]", "  useDefaultGateways: All");
    let text = format!("{EDGE}{}{asks}{}", service("a"), route("names", "a"));
    let mut translator = Translator::new(Settings::default());
    translator.update(Changes::of(entries(&text)));
    let default = EDGE.replace("  gatewayClassName", "  defaultScope: All\n  gatewayClassName");
    let taken = translator.update(Changes::of(entries(&default)));
    assert_eq!(keys(&taken.delta), ["local/default/Route/asks"]);
    let given_back = translator.update(Changes::of(entries(EDGE)));
    assert_eq!(keys(&given_back.delta), ["-local/default/Route/asks"]);
    let gone = Changes {
        objects: vec![(ObjectKind::Gateway, ObjectName::new("default", "edge"), None)],
        ..Changes::default()
    };
    translator.update(Changes::of(entries(&default)));
    assert!(keys(&translator.update(gone).delta).contains(&"-local/default/Route/asks".to_owned()));
}

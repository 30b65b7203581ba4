//! How many objects are looked at after a change, and how times are written. No server.

use std::time::{Duration, UNIX_EPOCH};

use mesh_rt::{Clock as _, SystemClock};

use super::super::ClusterConfig;
use super::super::client::fake;
use super::super::holdings::{Holdings, Update};
use super::super::item;
use super::super::served::{Resource, Served};
use super::*;
use crate::controller::Controller;
use crate::translate::GatewayAddresses;

#[test]
fn times_have_whole_seconds() {
    let time = UNIX_EPOCH + Duration::from_millis(1_798_761_600_250);
    assert_eq!(to_seconds(time), "2027-01-01T00:00:00Z");
}

/// A controller with its writer, fed as by an API server.
struct Plane {
    holdings: Holdings,
    controller: Controller,
    writer: Writer,
    unusable: watch::Sender<Arc<Unusables>>,
    version: u64,
}

const GROUP: &str = "gateway.networking.k8s.io/v1";

impl Plane {
    fn new() -> Self {
        let clock = SystemClock::shared();
        let settings = Settings {
            builtin_classes: std::collections::BTreeSet::new(),
            allocate_addresses: false,
            gateway_addresses: GatewayAddresses::OfService,
            ..Settings::default()
        };
        let controller = Controller::new(settings, clock.clone());
        let address = "127.0.0.1:0".parse().expect("an address");
        let config = ClusterConfig {
            controller_name: Settings::default().controller_name,
            namespace: "service-mesh-system".to_owned(),
            proxy_image: "proxy".to_owned(),
            trust_domain: mesh_model::TrustDomain::default(),
            lives: mesh_ca::Policy::default(),
            leader_election: false,
            replica: "one".to_owned(),
            listen: address,
            readiness: address,
            webhook: ([127, 0, 0, 1], 0).into(),
            revision: "default".to_owned(),
            authority_key: None,
            disabled_features: std::collections::BTreeSet::new(),
            tokens_anywhere: false,
        };
        let access = Access {
            api: fake::server(|_| fake::status(500)).0,
            view: controller.watch(),
            leading: watch::Sender::new(true).subscribe(),
            served: watch::Sender::new(Arc::new(Served::default())).subscribe(),
            counters: Arc::default(),
            config: Arc::new(config),
            clock,
        };
        let proxies = Proxies { cache: controller.cache().clone(), fleet: controller.ads().fleet().clone() };
        let unusable = watch::Sender::default();
        let addresses = watch::Sender::new(Arc::default()).subscribe();
        let refused = Refused { addresses, unusable: unusable.subscribe() };
        let writer = Writer::new(access, proxies, refused);
        Self { holdings: Holdings::default(), controller, writer, unusable, version: 0 }
    }

    fn set(&mut self, kind: ObjectKind, mut value: Value) {
        self.version += 1;
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        value["metadata"]["uid"] = json!("u");
        let resource = Resource { kind, version: "v1", plural: String::new() };
        self.holdings.take(Update::Set(item::read(&resource, value).expect("an object")));
    }

    fn route(&mut self, n: usize, generation: i64) {
        let metadata = json!({"namespace": "shop", "name": format!("r-{n}"), "generation": generation});
        let path = json!([{"path": {"type": "PathPrefix", "value": format!("/{n}/{generation}")}}]);
        let backends = json!([{"name": "cart", "port": 80}]);
        let spec = json!({
            "parentRefs": [{"name": "edge"}], "rules": [{"matches": path, "backendRefs": backends}],
        });
        let value = json!({"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": metadata, "spec": spec});
        self.set(ObjectKind::HttpRoute, value);
    }

    fn gateway(&mut self) {
        let controller = Settings::default().controller_name;
        let class = json!({"apiVersion": GROUP, "kind": "GatewayClass", "metadata": {"name": "mesh"},
            "spec": {"controllerName": controller}});
        self.set(ObjectKind::GatewayClass, class);
        let listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
        let gateway = json!({"apiVersion": GROUP, "kind": "Gateway",
            "metadata": {"namespace": "shop", "name": "edge", "generation": 1},
            "spec": {"gatewayClassName": "mesh", "listeners": [listener]}});
        self.set(ObjectKind::Gateway, gateway);
        for (name, port) in [("cart", 80), ("edge-mesh", 80)] {
            let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": port}]});
            let metadata = json!({"namespace": "shop", "name": name});
            self.set(
                ObjectKind::Service,
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
            );
        }
    }

    fn slice(&mut self, name: &str, service: &str) {
        let labels = json!({"kubernetes.io/service-name": service});
        let value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": "shop", "name": name, "labels": labels}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.1.1"], "conditions": {"ready": true}}], "ports": []});
        self.set(ObjectKind::EndpointSlice, value);
    }

    /// Takes in what was set. Returns how many objects the writer looked at, and how many nodes were evaluated.
    fn look(&mut self) -> (usize, u64) {
        let before = self.controller.evaluations();
        if let Some(unusable) = self.holdings.unusable() {
            self.unusable.send_replace(Arc::new(unusable));
        }
        let (snapshot, changed) = self.holdings.snapshot();
        self.controller.take_changed(snapshot, changed);
        let looked = self.writer.look(&News::View, SystemClock.monotonic());
        (looked, self.controller.evaluations() - before)
    }

    fn wants(&mut self) -> Vec<String> {
        let due = self.writer.desk.take_due(SystemClock.monotonic());
        due.into_iter().map(|(key, _)| key.name.to_string()).collect()
    }
}

#[tokio::test]
async fn one_edit_among_5000_routes_looks_at_one_object() {
    let mut plane = Plane::new();
    plane.gateway();
    (0..5000).for_each(|n| plane.route(n, 1));
    assert!(plane.look().0 >= 5002);
    plane.writer.desk = Desk::default();
    plane.route(7, 2);
    let (looked, evaluated) = plane.look();
    assert_eq!(looked, 1);
    assert!(evaluated <= 4, "{evaluated}");
    assert_eq!(plane.wants(), ["shop/r-7"]);
    // A new route changes the number of routes at the gateway, too.
    plane.route(5000, 1);
    let (looked, evaluated) = plane.look();
    assert_eq!(looked, 2);
    assert!(evaluated <= 6, "{evaluated}");
    // Endpoints that no gateway has do not matter, those of a gateway do.
    plane.slice("cart-1", "cart");
    assert_eq!(plane.look().0, 0);
    plane.slice("edge-1", "edge-mesh");
    assert_eq!(plane.look().0, 1);
    assert_eq!(plane.look().0, 0);
}

#[tokio::test]
async fn a_view_that_moved_on_too_far_is_looked_at_as_a_whole() {
    let mut plane = Plane::new();
    plane.gateway();
    plane.look();
    (0..9000).for_each(|n| plane.route(n % 10, 1 + n as i64));
    for n in 0..1100 {
        plane.route(n % 10, 10_000 + n as i64);
        let (snapshot, changed) = plane.holdings.snapshot();
        plane.controller.take_changed(snapshot, changed);
    }
    assert_eq!(plane.writer.look(&News::View, SystemClock.monotonic()), 12);
    assert_eq!(plane.writer.look(&News::View, SystemClock.monotonic()), 0);
}

/// Secrets of a golden file, by name: a good one, one whose key is another's, one that is no PEM.
fn secret(name: &str) -> Value {
    let text = include_bytes!("../../../tests/golden/certificates/in.yaml");
    let snapshot = crate::source::FileSource::from_text("in.yaml", text).snapshot();
    let all: Vec<_> = snapshot.store.all::<crate::objects::Secret>().collect();
    let (_, secret) = all.into_iter().find(|(stored, _)| &*stored.name().name == name).expect("a secret");
    let text = |field: &str| String::from_utf8(secret.value(field).expect("a field").to_vec()).expect("PEM");
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "web"},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": text("tls.crt"), "tls.key": text("tls.key")}})
}

#[tokio::test]
async fn a_listener_keeps_its_last_good_certificate_and_says_why() {
    let mut plane = Plane::new();
    plane.gateway();
    let reference = json!({"certificateRefs": [{"name": "web"}]});
    let listener = json!({"name": "https", "port": 443, "protocol": "HTTPS", "tls": reference});
    let gateway = json!({"apiVersion": GROUP, "kind": "Gateway",
        "metadata": {"namespace": "shop", "name": "edge", "generation": 2},
        "spec": {"gatewayClassName": "mesh", "listeners": [listener]}});
    plane.set(ObjectKind::Gateway, gateway);
    let said = |plane: &mut Plane| {
        plane.look();
        let view = plane.writer.view.clone();
        let key = ObjectKey::new(ObjectKind::Gateway, mesh_model::ObjectName::new("shop", "edge"));
        let status = view.statuses.of(&key).expect("a status").clone();
        let failing: Vec<String> = status
            .conditions()
            .iter()
            .filter(|(_, condition)| !condition.status && condition.kind != "Conflicted")
            .map(|(part, condition)| format!("{part} {}: {}", condition.kind, condition.message))
            .collect();
        let is_certificate =
            |resource: &&mesh_model::Resource| matches!(resource, mesh_model::Resource::Certificate(_));
        (failing, view.mesh.resources().find(is_certificate).cloned())
    };
    // One that was never good is not shown.
    plane.set(ObjectKind::Secret, secret("broken"));
    let (failing, certificate) = said(&mut plane);
    assert!(failing.iter().any(|text| text.contains("Programmed")) && certificate.is_none(), "{failing:?}");
    plane.set(ObjectKind::Secret, secret("web"));
    let (failing, good) = said(&mut plane);
    assert!(failing.is_empty() && good.is_some(), "{failing:?}");
    for (name, problem) in [
        ("broken", "tls.crt holds no certificate in PEM"),
        ("wrong-key", "tls.key does not belong to the certificate in tls.crt"),
    ] {
        plane.set(ObjectKind::Secret, secret(name));
        let (failing, certificate) = said(&mut plane);
        assert_eq!(
            failing,
            [format!(
                "listener https ResolvedRefs: Secret shop/web: {problem}; the certificate before it stays in force"
            )]
        );
        assert_eq!(certificate, good);
    }
    plane.set(ObjectKind::Secret, secret("web"));
    assert_eq!(said(&mut plane), (Vec::new(), good));
}

#[test]
fn every_kind_whose_definition_has_a_status_of_ours_is_reported() {
    let reported = |kind: &&ObjectKind| is_reported(**kind);
    let reported: Vec<_> = ObjectKind::ALL.iter().filter(reported).map(|kind| kind.as_str()).collect();
    let of_ours = |kind: &&ObjectKind| match kind.group() {
        "security.mesh.io" => true,
        group => group.starts_with("gateway.networking.") && **kind != ObjectKind::ReferenceGrant,
    };
    let expected: Vec<_> = ObjectKind::ALL.iter().filter(of_ours).map(|kind| kind.as_str()).collect();
    assert_eq!(reported, expected);
}

#[tokio::test]
async fn an_object_that_older_definitions_let_through_says_why_it_is_not_in_force() {
    let mut plane = Plane::new();
    plane.gateway();
    plane.route(1, 1);
    plane.look();
    plane.writer.desk = Desk::default();
    let foreign =
        json!({"parentRef": {"name": "edge"}, "controllerName": "other.example/c", "conditions": []});
    let route = |rules: Value| {
        let metadata = json!({"namespace": "shop", "name": "r-1", "generation": 2});
        let parents = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
            {"name": "of-others"}]);
        let spec = json!({"parentRefs": parents, "rules": rules});
        json!({"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": metadata, "spec": spec,
            "status": {"parents": [foreign]}})
    };
    plane.set(ObjectKind::HttpRoute, route(json!([{"filters": [{"type": "RequestMirror"}]}])));
    assert_eq!(plane.look().0, 1, "the earlier version stays in force");
    let due = plane.writer.desk.take_due(SystemClock.monotonic());
    let [(key, write)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((&*key.name.name, &write.status["parents"][0]), ("r-1", &foreign));
    let parents = write.status["parents"].as_array().expect("a list");
    assert_eq!((parents.len(), &parents[1]["parentRef"]["name"]), (2, &json!("edge")));
    let condition = &parents[1]["conditions"][0];
    assert_eq!((&condition["reason"], &condition["status"]), (&json!("UnsupportedValue"), &json!("False")));
    assert_eq!(condition["observedGeneration"], 2);
    let message = condition["message"].as_str().expect("a text");
    assert!(message.contains("not in force: spec.rules[0].filters[0]"), "{message}");
    // A good version takes the place of all that.
    plane.writer.desk = Desk::default();
    plane.set(ObjectKind::HttpRoute, route(json!([{"backendRefs": [{"name": "cart", "port": 80}]}])));
    plane.look();
    let due = plane.writer.desk.take_due(SystemClock.monotonic());
    assert_eq!(due[0].1.status["parents"][1]["conditions"][0]["status"], "True", "{due:?}");
}

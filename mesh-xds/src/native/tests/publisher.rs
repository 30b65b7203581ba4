//! Who is offered which certificate.

use mesh_model::tls::ClientCertificate;
use mesh_model::{BackendTls, Listener, ListenerTls, Resource, SpiffeId, Workload};

use super::super::*;
use super::golden;
use crate::cache::ResourceCache;

struct Offer {
    publisher: Publisher,
    cache: ResourceCache,
}

impl Offer {
    fn apply(&mut self, set: Vec<Resource>, removed: Vec<ResourceKey>) {
        let (steps, refused) = self.publisher.changes(&Delta { set, removed });
        assert!(refused.is_empty());
        self.cache.apply(steps);
    }

    /// Whether a workload of this account is offered the certificate; `None` when there is none.
    fn admits(&self, account: &str) -> Option<bool> {
        let key = Key::from(golden::certificate().key());
        let snapshot = self.cache.snapshot();
        let entry = snapshot.lookup(&key.type_url, &key.name)?;
        Some(entry.admits(Some(&identity(account))))
    }
}

fn identity(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().expect("an identity")
}

fn gateway_workload(account: &str) -> Resource {
    let Resource::Workload(workload) = golden::workload() else { unreachable!("a workload") };
    let source = mesh_model::SourceRef { kind: "Gateway".into(), ..workload.source.clone() };
    Resource::Workload(Arc::new(Workload { source, identity: identity(account), ..(*workload).clone() }))
}

fn listener(tls: Option<ListenerTls>) -> Resource {
    let Resource::Listener(listener) = golden::listener() else { unreachable!("a listener") };
    Resource::Listener(Arc::new(Listener { tls, backend_certificate: None, ..(*listener).clone() }))
}

#[test]
fn the_key_that_a_gateway_shows_to_backends_goes_to_it_too() {
    let mut offer = Offer { publisher: Publisher::new(), cache: ResourceCache::new() };
    let Resource::Listener(plain) = listener(None) else { unreachable!("a listener") };
    let key = golden::certificate().key().clone();
    let shows = Listener { backend_certificate: Some(key), ..(*plain).clone() };
    let shows = Resource::Listener(Arc::new(shows));
    offer.apply(vec![golden::certificate(), shows, gateway_workload("cart-mesh")], vec![]);
    assert_eq!((offer.admits("cart"), offer.admits("cart-mesh")), (Some(false), Some(true)));
    offer.apply(vec![listener(None)], vec![]);
    assert_eq!(offer.admits("cart-mesh"), Some(false));
}

#[test]
fn the_key_that_is_shown_to_one_backend_goes_to_the_gateways_that_lead_there() {
    let mut offer = Offer { publisher: Publisher::new(), cache: ResourceCache::new() };
    let Resource::BackendTls(tls) = golden::backend_tls() else { unreachable!("TLS towards a backend") };
    let shown_by = |gateways: Vec<mesh_model::ObjectName>| {
        let client = tls.client.clone().map(|client| ClientCertificate { gateways, ..client });
        Resource::BackendTls(Arc::new(BackendTls { client, ..(*tls).clone() }))
    };
    let Resource::Workload(gateway) = gateway_workload("cart-mesh") else { unreachable!("a workload") };
    let names = vec![gateway.source.object.clone()];
    offer.apply(vec![golden::certificate(), shown_by(names), Resource::Workload(gateway)], vec![]);
    assert_eq!((offer.admits("cart"), offer.admits("cart-mesh")), (Some(false), Some(true)));
    offer.apply(vec![shown_by(vec![])], vec![]);
    assert_eq!(offer.admits("cart-mesh"), Some(false));
}

#[test]
fn a_private_key_goes_to_the_gateways_that_serve_it_and_to_nobody_else() {
    let mut offer = Offer { publisher: Publisher::new(), cache: ResourceCache::new() };
    offer.apply(vec![golden::certificate(), golden::workload()], vec![]);
    assert_eq!(
        (offer.admits("cart"), offer.admits("cart-mesh")),
        (Some(false), Some(false)),
        "nobody serves it"
    );
    offer.apply(vec![golden::listener(), gateway_workload("cart-mesh")], vec![]);
    assert_eq!((offer.admits("cart"), offer.admits("cart-mesh")), (Some(false), Some(true)));
    let snapshot = offer.cache.snapshot();
    let key = Key::from(golden::certificate().key());
    let entry = snapshot.lookup(&key.type_url, &key.name).expect("it is there");
    assert!(!entry.admits(None), "a peer without identity");
    assert_eq!(snapshot.len(&Kind::Listener.into()), 1);

    offer.apply(vec![gateway_workload("other-mesh")], vec![]);
    assert_eq!((offer.admits("cart-mesh"), offer.admits("other-mesh")), (Some(false), Some(true)));
    offer.apply(vec![listener(Some(ListenerTls::Passthrough))], vec![]);
    assert_eq!(offer.admits("other-mesh"), Some(false));
    offer.apply(vec![golden::listener()], vec![]);
    assert_eq!(offer.admits("other-mesh"), Some(true));
    offer.apply(vec![], vec![golden::listener().key().clone()]);
    assert_eq!(offer.admits("other-mesh"), Some(false));
    offer.apply(vec![], vec![golden::certificate().key().clone()]);
    assert_eq!(offer.admits("other-mesh"), None);
}

#[test]
fn what_does_not_concern_a_certificate_does_not_offer_it_again() {
    let mut publisher = Publisher::new();
    let first = vec![golden::certificate(), golden::listener(), gateway_workload("cart-mesh")];
    assert_eq!(publisher.changes(&Delta { set: first, removed: vec![] }).0.len(), 3);
    let steps =
        publisher.changes(&Delta { set: vec![golden::route(), golden::listener()], removed: vec![] }).0;
    assert_eq!(steps.len(), 2, "{steps:?}");
}

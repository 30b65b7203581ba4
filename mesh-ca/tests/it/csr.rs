//! The certificate service over loopback gRPC with mutual TLS: first issuance by token, renewal by SVID.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::attest::{Attestor, Attestors, LocalTokenAttestor, PeerSvidAttestor, TokenKey};
use mesh_ca::csr::CertificateService;
use mesh_ca::rotate::{Issuance, Remote};
use mesh_ca::tls::{self, ClientAuth, PeerTls};
use mesh_ca::{Authority, Policy, Rotation, SvidSource, TrustSource, grpc};
use mesh_rt::{Clock, ManualClock};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::pki::{id, start};

/// A served authority; ends with the value.
struct Served {
    authority: Arc<Authority>,
    tokens: Arc<LocalTokenAttestor>,
    clock: Arc<ManualClock>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl Served {
    fn start() -> Self {
        let clock = start();
        let policy = Policy::scaled(Duration::from_secs(600));
        let authority =
            Authority::with_policy("cluster.local".parse().unwrap(), policy, clock.clone()).unwrap();
        let tokens = Arc::new(LocalTokenAttestor::new(TokenKey::generate(), clock.clone()));
        let mut served =
            Self { authority, tokens, clock, address: "127.0.0.1:0".parse().unwrap(), task: None };
        served.serve();
        served
    }

    /// Serves on the address of before, or on a free one at first.
    fn serve(&mut self) {
        let attestors = [self.tokens.clone() as Arc<dyn Attestor>, Arc::new(PeerSvidAttestor)];
        let own = self.authority.issue_svid(&id("ca")).unwrap();
        let identity = PeerTls::new(SvidSource::new(own, self.clock.clone()), self.authority.trust());
        let config = tls::server_config(&identity, ClientAuth::Optional, &[grpc::ALPN]).unwrap();
        let listener = mesh_rt::net::listen_tcp(self.address, false).unwrap();
        self.address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let service = CertificateService::new(self.authority.clone(), Attestors::new(attestors));
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(grpc::incoming(listener, config));
        self.task = Some(tokio::spawn(async { serving.await.unwrap() }));
    }

    async fn stop(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // The accepting task notices that nobody takes its connections, and closes the socket.
        while tokio::net::TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// A workload that knows the roots and nothing else.
    fn stranger(&self) -> PeerTls {
        let trust = TrustSource::new([self.authority.bundle()].into_iter().collect());
        PeerTls::new(SvidSource::empty(self.clock.clone()), trust)
    }

    fn remote(&self, identity: &PeerTls, token: &str) -> Remote {
        let token = token.to_owned();
        let remote = Remote::at(self.address, id("ca"), identity).unwrap();
        remote.with_token(move || Ok(Zeroizing::new(token.clone())))
    }

    async fn refusal(&self, identity: &PeerTls, token: &str) -> String {
        self.remote(identity, token).issue().await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn a_token_gives_the_first_svid_and_the_svid_every_later_one() {
    let served = Served::start();
    let cart = served.stranger();
    let token = served.tokens.mint(&id("cart"), Duration::from_secs(60));
    let remote = served.remote(&cart, token.expose());
    let rotation = Rotation::new(cart.source.clone(), cart.trust.clone(), remote).expecting(id("cart"));
    rotation.renew().await.unwrap();
    let first = cart.source.current().unwrap();
    assert_eq!(first.id(), &id("cart"));
    served.clock.advance(Duration::from_secs(300));
    rotation.renew().await.unwrap();
    let second = cart.source.current().unwrap();
    assert_eq!(second.id(), &id("cart"));
    assert_ne!(second.key().public(), first.key().public());
    assert_eq!(cart.source.remaining(), Duration::from_secs(600));
}

#[tokio::test]
async fn a_token_is_good_for_one_key() {
    let served = Served::start();
    let token = served.tokens.mint(&id("cart"), Duration::from_secs(60));
    let cart = served.stranger();
    served.remote(&cart, token.expose()).issue().await.unwrap();
    let thief = served.stranger();
    let refusal = served.refusal(&thief, token.expose()).await;
    assert!(refusal.contains("it was used before (PermissionDenied)"), "{refusal}");
}

#[tokio::test]
async fn nobody_gets_a_certificate_without_proof() {
    let served = Served::start();
    let stranger = served.stranger();
    let refusal = served.refusal(&stranger, "").await;
    assert!(refusal.contains("neither a token nor a verified certificate"), "{refusal}");
    let foreign = "spiffe://elsewhere/ns/x/sa/cart".parse().unwrap();
    let token = served.tokens.mint(&foreign, Duration::from_secs(60));
    let refusal = served.refusal(&stranger, token.expose()).await;
    assert!(refusal.contains("is not in trust domain cluster.local"), "{refusal}");
}

#[tokio::test]
async fn neither_a_token_nor_a_certificate_of_ones_own_gives_somebody_elses() {
    let served = Served::start();
    let cart = served.stranger();
    let token = served.tokens.mint(&id("cart"), Duration::from_secs(60));
    let other = served.remote(&cart, token.expose()).on_behalf_of(id("other"));
    let refusal = other.issue().await.unwrap_err().to_string();
    assert!(refusal.contains("which may not ask for spiffe://cluster.local/ns/x/sa/other"), "{refusal}");
    cart.source.publish(served.authority.issue_svid(&id("cart")).unwrap());
    let refusal = served.remote(&cart, "").on_behalf_of(id("other")).issue().await.unwrap_err().to_string();
    assert!(refusal.contains("which may not ask for spiffe://cluster.local/ns/x/sa/other"), "{refusal}");
    let own = served.remote(&cart, "").on_behalf_of(id("cart")).issue().await.unwrap();
    assert_eq!(own.svid.id(), &id("cart"));
}

#[tokio::test]
async fn a_token_names_whom_the_connections_certificate_names() {
    let served = Served::start();
    let cart = served.stranger();
    let audience = vec!["reports".to_owned()];
    let join = served.tokens.mint(&id("cart"), Duration::from_secs(60));
    let refused = served.remote(&cart, join.expose()).token(audience.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("verified certificates only (Unauthenticated)"), "{refused}");
    cart.source.publish(served.authority.issue_svid(&id("cart")).unwrap());
    let remote = served.remote(&cart, "");
    let token = remote.token(audience.clone()).await.unwrap();
    let bundles = remote.bundles().await.unwrap();
    let claims = mesh_ca::jwt::validate(token.expose(), "reports", &bundles, served.clock.wall()).unwrap();
    assert_eq!(claims.subject, id("cart"));
    let refused = remote.token(Vec::new()).await.unwrap_err().to_string();
    assert!(refused.contains("the audience is absent") && refused.contains("InvalidArgument"), "{refused}");
    let other = served.remote(&cart, "").on_behalf_of(id("other")).token(audience).await.unwrap_err();
    assert_eq!(other.to_string(), "tokens are not given here");
}

#[tokio::test]
async fn an_expired_svid_proves_nothing() {
    let served = Served::start();
    let cart = served.stranger();
    cart.source.publish(served.authority.issue_svid(&id("cart")).unwrap());
    served.clock.advance(Duration::from_secs(601));
    let server = served.authority.issue_svid(&id("ca")).unwrap();
    assert!(server.remaining(served.clock.wall()) > Duration::ZERO);
    let refused = Remote::at(served.address, id("ca"), &cart).unwrap().issue().await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken_into_use() {
    let served = Served::start();
    let cart = served.stranger();
    let token = served.tokens.mint(&id("thief"), Duration::from_secs(60));
    let remote = served.remote(&cart, token.expose());
    let rotation = Rotation::new(cart.source.clone(), cart.trust.clone(), remote).expecting(id("cart"));
    let refused = rotation.renew().await.unwrap_err().to_string();
    assert!(refused.contains("expected spiffe://cluster.local/ns/x/sa/cart"), "{refused}");
    assert!(cart.source.current().is_none());
}

#[tokio::test]
async fn a_server_that_is_not_the_authority_is_not_asked() {
    let served = Served::start();
    let cart = served.stranger();
    let refused = Remote::at(served.address, id("real-ca"), &cart).unwrap().issue().await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("the peer is spiffe://cluster.local/ns/x/sa/ca, expected"), "{refused}");
}

#[tokio::test]
async fn while_the_authority_is_away_the_last_svid_stays_and_its_return_is_noticed() {
    let mut served = Served::start();
    let cart = served.stranger();
    let token = served.tokens.mint(&id("cart"), Duration::from_secs(60));
    let remote = served.remote(&cart, token.expose());
    let rotation = Rotation::new(cart.source.clone(), cart.trust.clone(), remote);
    rotation.renew().await.unwrap();
    let first = cart.source.current().unwrap();
    served.stop().await;
    served.clock.advance(Duration::from_secs(300));
    let refused = rotation.renew().await.unwrap_err().to_string();
    assert!(refused.starts_with("the certificate authority cannot be reached: "), "{refused}");
    assert!(Arc::ptr_eq(&cart.source.current().unwrap(), &first));
    assert_eq!(cart.source.remaining(), Duration::from_secs(300));
    served.serve();
    rotation.renew().await.unwrap();
    assert_eq!(cart.source.remaining(), Duration::from_secs(600));
}

#[tokio::test]
async fn the_bundles_are_read_by_whoever_verified_the_server() {
    let served = Served::start();
    let remote = served.remote(&served.stranger(), "");
    assert_eq!(remote.bundles().await.unwrap(), *served.authority.trust().current());
    served.authority.rotate_root().unwrap();
    let own = remote.bundles().await.unwrap();
    assert_eq!(own.of(&served.authority.trust_domain()).unwrap().roots().len(), 2);
}

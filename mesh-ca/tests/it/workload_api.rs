//! The SPIFFE Workload API over its Unix socket, asked by a client with messages of its own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_ca::csr::Fresh;
use mesh_ca::jwt::Token;
use mesh_ca::rotate::{InProcess, Issuance, Issuing};
use mesh_ca::tls::{self, ClientAuth, PeerTls};
use mesh_ca::workload_api::{Callers, Endpoint, WorkloadApi};
use mesh_ca::{Authority, Policy, PrivateKey, Svid, SvidSource, TrustBundle, TrustBundles, TrustSource};
use mesh_rt::{Clock, ManualClock};
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pki::{connect, id, start};

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct SvidsAnswer {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<SvidAnswer>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    federated: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SvidAnswer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BundlesAnswer {
    #[prost(btree_map = "string, bytes", tag = "2")]
    bundles: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TokenRequest {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TokensAnswer {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<TokenAnswer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TokenAnswer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeysAnswer {
    #[prost(btree_map = "string, bytes", tag = "1")]
    bundles: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValidateRequest {
    #[prost(string, tag = "1")]
    audience: String,
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValidAnswer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    claims: Option<prost_types::Struct>,
}

/// Certificates that stand one after the other.
fn split(mut der: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).unwrap();
        all.push(CertificateDer::from(der[..der.len() - rest.len()].to_vec()));
        der = rest;
    }
    all
}

impl SvidAnswer {
    fn svid(&self) -> Svid {
        Svid::new(split(&self.chain), PrivateKey::from_pkcs8(&self.key).unwrap()).unwrap()
    }

    fn bundles(&self) -> TrustBundles {
        let domain = "cluster.local".parse().unwrap();
        [TrustBundle::new(domain, split(&self.bundle), 0).unwrap()].into_iter().collect()
    }
}

/// An authority that counts how often it is asked.
struct Counting(InProcess, Arc<AtomicU32>);

impl Issuance for Counting {
    fn issue(&self) -> Issuing<'_, Fresh> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.issue()
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        self.0.bundles()
    }

    fn token(&self, audience: Vec<String>) -> Issuing<'_, Token> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.token(audience)
    }
}

/// A workload whose socket is served.
struct Served {
    authority: Arc<Authority>,
    clock: Arc<ManualClock>,
    proxy: PeerTls,
    asked: Arc<AtomicU32>,
    path: PathBuf,
    _folder: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    fn start() -> Self {
        let served = Self::without_identity();
        served.proxy.source.publish(served.authority.issue_svid(&id("cart")).unwrap());
        served
    }

    fn without_identity() -> Self {
        let clock = start();
        let policy = Policy::scaled(Duration::from_secs(600));
        let authority =
            Authority::with_policy("cluster.local".parse().unwrap(), policy, clock.clone()).unwrap();
        let trust = TrustSource::new([authority.bundle()].into_iter().collect());
        let proxy = PeerTls::new(SvidSource::empty(clock.clone()), trust);
        let asked = Arc::new(AtomicU32::new(0));
        let issuance = Counting(InProcess::new(authority.clone(), id("cart")), asked.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let endpoint = Endpoint::bind(&path, Callers::Anyone).unwrap();
        assert_eq!(endpoint.uri(), format!("unix://{}", path.display()));
        let api = WorkloadApi::new(proxy.clone(), issuance);
        let task = tokio::spawn(async move { endpoint.serve(api).await.unwrap() });
        Self { authority, clock, proxy, asked, path, _folder: folder, task }
    }

    async fn svids(&self) -> Result<Streaming<SvidsAnswer>, Status> {
        ask(&dial(&self.path).await.unwrap(), "FetchX509SVID", &["true"]).await
    }

    async fn token(&self, audience: &[&str], id: &str) -> Result<TokenAnswer, Status> {
        let audience = audience.iter().map(|one| (*one).to_owned()).collect();
        let asked = TokenRequest { audience, id: id.to_owned() };
        let answer: TokensAnswer = call(&dial(&self.path).await.unwrap(), "FetchJWTSVID", asked).await?;
        Ok(answer.svids.into_iter().next().expect("one at least"))
    }

    async fn validate(&self, audience: &str, token: &str) -> Result<ValidAnswer, Status> {
        let asked = ValidateRequest { audience: audience.to_owned(), token: token.to_owned() };
        call(&dial(&self.path).await.unwrap(), "ValidateJWTSVID", asked).await
    }

    async fn bundles(&self) -> Result<Streaming<BundlesAnswer>, Status> {
        ask(&dial(&self.path).await.unwrap(), "FetchX509Bundles", &["true"]).await
    }
}

async fn dial(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = path.to_owned();
    let open = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(open).await
}

async fn ask<M>(channel: &Channel, call: &str, marks: &[&'static str]) -> Result<Streaming<M>, Status>
where
    M: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(Nothing {});
    for mark in marks {
        request.metadata_mut().append("workload.spiffe.io", mark.parse().unwrap());
    }
    let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{call}").parse().unwrap();
    Ok(grpc.server_streaming(request, path, ProstCodec::<Nothing, M>::default()).await?.into_inner())
}

async fn call<Q, A>(channel: &Channel, call: &str, asked: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(asked);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    let path: PathAndQuery = format!("/SpiffeWorkloadAPI/{call}").parse().unwrap();
    Ok(grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
}

async fn next<M>(stream: &mut Streaming<M>) -> Result<M, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), stream.message());
    Ok(message.await.expect("in time")?.expect("the stream goes on"))
}

#[tokio::test]
async fn an_application_gets_the_workloads_name_under_a_key_of_its_own() {
    let served = Served::start();
    assert_eq!(served.asked.load(Ordering::SeqCst), 0, "nobody has wanted it yet");
    let told = next(&mut served.svids().await.unwrap()).await.unwrap();
    assert!(told.federated.is_empty());
    let [answer] = &told.svids[..] else { panic!("{} identities", told.svids.len()) };
    assert_eq!(answer.id, id("cart").to_string());
    let svid = answer.svid();
    assert_ne!(svid.key().public(), served.proxy.source.current().unwrap().key().public());
    // What came is enough to meet a workload of the mesh.
    let trust = TrustSource::new(answer.bundles());
    let cart = PeerTls::new(SvidSource::new(svid, served.clock.clone()), trust);
    let own = served.authority.issue_svid(&id("server")).unwrap();
    let server = PeerTls::new(SvidSource::new(own, served.clock.clone()), served.authority.trust());
    let client = tls::client_config(&cart, vec![id("server")], &[b"mesh-tcp/1"]).unwrap();
    let server = tls::server_config(&server, ClientAuth::Required, &[b"mesh-tcp/1"]).unwrap();
    assert_eq!(connect(client, server).await.unwrap().server_saw, Some(id("cart")));
    // Everybody else of this workload gets the same one.
    assert_eq!(next(&mut served.svids().await.unwrap()).await.unwrap(), told);
    assert_eq!(served.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_change_is_told_and_nothing_is_told_twice() {
    let served = Served::start();
    let mut svids = served.svids().await.unwrap();
    let mut bundles = served.bundles().await.unwrap();
    let first = next(&mut svids).await.unwrap();
    let trusted = next(&mut bundles).await.unwrap();
    assert!(trusted.bundles.keys().eq(["spiffe://cluster.local"]));
    assert_eq!(trusted.bundles["spiffe://cluster.local"], first.svids[0].bundle);
    // The same bundles again are no change.
    served.proxy.trust.publish((*served.proxy.trust.current()).clone());
    assert!(tokio::time::timeout(Duration::from_millis(200), svids.message()).await.is_err());
    served.authority.rotate_root().unwrap();
    served.proxy.trust.insert(served.authority.bundle());
    let rooted = next(&mut svids).await.unwrap();
    assert_eq!(split(&rooted.svids[0].bundle).len(), 2);
    assert_eq!(rooted.svids[0].chain, first.svids[0].chain);
    assert_eq!(next(&mut bundles).await.unwrap().bundles["spiffe://cluster.local"], rooted.svids[0].bundle);
    let foreign = Authority::in_memory("other.test".parse().unwrap(), served.clock.clone()).unwrap();
    served.proxy.trust.insert(foreign.bundle());
    let federated = next(&mut svids).await.unwrap();
    assert!(federated.federated.keys().eq(["spiffe://other.test"]));
    assert_eq!(next(&mut bundles).await.unwrap().bundles.len(), 2);
    served.proxy.trust.remove(foreign.bundle().trust_domain());
    assert!(next(&mut svids).await.unwrap().federated.is_empty(), "what is trusted no more is taken back");
    // Past 46 % of its life it is replaced; the clock is read every five seconds.
    served.clock.advance(Duration::from_secs(300));
    let renewed = next(&mut svids).await.unwrap();
    assert_ne!(renewed.svids[0].key, first.svids[0].key);
    assert_eq!(renewed.svids[0].bundle, rooted.svids[0].bundle);
}

#[tokio::test]
async fn whoever_does_not_carry_the_mark_is_refused() {
    let served = Served::start();
    let channel = dial(&served.path).await.unwrap();
    let marks: [&[&'static str]; 5] = [&[], &["True"], &["1"], &[""], &["true", "false"]];
    for marks in marks {
        for call in ["FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "Another"] {
            let refused = ask::<SvidsAnswer>(&channel, call, marks).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{call} {marks:?}");
        }
    }
    assert_eq!(served.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_profile_that_is_not_served_says_so() {
    let served = Served::start();
    let channel = dial(&served.path).await.unwrap();
    for call in ["FetchWITSVID", "FetchWITBundles", "Another"] {
        let refused = ask::<SvidsAnswer>(&channel, call, &["true"]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{call}");
    }
}

#[tokio::test]
async fn a_token_names_the_workload_to_its_audience() {
    let served = Served::start();
    let cart = id("cart").to_string();
    let given = served.token(&["reports", "ledger"], "").await.unwrap();
    assert_eq!(given.id, cart);
    for audience in ["reports", "ledger"] {
        let valid = served.validate(audience, &given.token).await.unwrap();
        let claims = valid.claims.unwrap().fields;
        let subject = prost_types::value::Kind::StringValue(cart.clone());
        assert_eq!((valid.id, claims["sub"].kind.clone()), (cart.clone(), Some(subject)));
        assert!(claims.contains_key("exp") && claims.contains_key("aud"));
    }
    let refused = [
        served.validate("another", &given.token).await.unwrap_err(),
        served.validate("", &given.token).await.unwrap_err(),
        served.validate("reports", &given.token[1..]).await.unwrap_err(),
        served.token(&[], "").await.unwrap_err(),
        served.token(&["a", ""], "").await.unwrap_err(),
    ];
    assert!(refused.iter().all(|status| status.code() == Code::InvalidArgument), "{refused:?}");
    assert_eq!(served.token(&["a"], &cart).await.unwrap().id, cart);
    let refused = served.token(&["a"], &id("other").to_string()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_young_token_is_given_again_and_an_old_one_replaced() {
    let served = Served::start();
    let first = served.token(&["b", "a"], "").await.unwrap();
    assert_eq!(served.token(&["a", "b", "a"], "").await.unwrap(), first);
    assert_eq!(served.asked.load(Ordering::SeqCst), 1);
    served.clock.advance(Duration::from_secs(160));
    let second = served.token(&["a", "b"], "").await.unwrap();
    assert_ne!(second, first);
    assert_eq!(served.asked.load(Ordering::SeqCst), 2);
    served.clock.advance(Duration::from_secs(301));
    let refused = served.validate("a", &second.token).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "it has expired"));
}

#[tokio::test]
async fn the_keys_of_tokens_are_told_and_follow_the_roots() {
    let served = Served::start();
    let channel = dial(&served.path).await.unwrap();
    let mut keys = ask::<KeysAnswer>(&channel, "FetchJWTBundles", &["true"]).await.unwrap();
    let told = |answer: &KeysAnswer| {
        assert!(answer.bundles.keys().eq(["spiffe://cluster.local"]));
        let set: serde_json::Value =
            serde_json::from_slice(&answer.bundles["spiffe://cluster.local"]).unwrap();
        let keys = set["keys"].as_array().unwrap().clone();
        assert!(
            keys.iter().all(|key| key["kty"] == "EC" && key["crv"] == "P-256" && key["use"] == "jwt-svid")
        );
        keys
    };
    let first = told(&next(&mut keys).await.unwrap());
    served.authority.rotate_root().unwrap();
    served.proxy.trust.insert(served.authority.bundle());
    let both = told(&next(&mut keys).await.unwrap());
    assert_eq!((first.len(), both.len(), &both[0]), (1, 2, &first[0]));
    // Whose keys are not told is not believed.
    let foreign = Authority::in_memory("other.test".parse().unwrap(), served.clock.clone()).unwrap();
    let stranger = "spiffe://other.test/x".parse().unwrap();
    let token = foreign.issue_token(&stranger, &["a".to_owned()]).unwrap();
    let refused = served.validate("a", token.expose()).await.unwrap_err();
    assert_eq!(refused.message(), "trust domain other.test is not trusted");
    served.proxy.trust.insert(foreign.bundle());
    assert_eq!(served.validate("a", token.expose()).await.unwrap().id, stranger.to_string());
}

#[tokio::test]
async fn without_an_identity_there_is_nothing_and_it_comes_by_itself() {
    let served = Served::without_identity();
    let refused = next(&mut served.svids().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(served.asked.load(Ordering::SeqCst), 0, "the proxy's identity is the proof");
    let mut svids = served.svids().await.unwrap();
    let mut bundles = served.bundles().await.unwrap();
    assert_eq!(served.token(&["a"], "").await.unwrap_err().code(), Code::PermissionDenied);
    served.proxy.source.publish(served.authority.issue_svid(&id("cart")).unwrap());
    assert_eq!(next(&mut svids).await.unwrap().svids[0].id, id("cart").to_string());
    assert_eq!(next(&mut bundles).await.unwrap().bundles.len(), 1);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_given_away() {
    let served = Served::without_identity();
    served.proxy.source.publish(served.authority.issue_svid(&id("other")).unwrap());
    let refused = next(&mut served.svids().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(served.asked.load(Ordering::SeqCst) > 0);
}

/// An authority that answers once.
struct Once(InProcess, AtomicU32);

impl Issuance for Once {
    fn issue(&self) -> Issuing<'_, Fresh> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return self.0.issue();
        }
        Box::pin(async { Err(mesh_ca::csr::RequestError::Connect("nobody there".to_owned())) })
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        self.0.bundles()
    }
}

#[tokio::test]
async fn what_has_expired_is_taken_back() {
    let clock = start();
    let policy = Policy::scaled(Duration::from_secs(600));
    let authority = Authority::with_policy("cluster.local".parse().unwrap(), policy, clock.clone()).unwrap();
    let own = SvidSource::new(authority.issue_svid(&id("cart")).unwrap(), clock.clone());
    let proxy = PeerTls::new(own, authority.trust());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let endpoint = Endpoint::bind(&path, Callers::SameUser).unwrap();
    let api = WorkloadApi::new(proxy, Once(InProcess::new(authority, id("cart")), AtomicU32::new(0)));
    let task = tokio::spawn(endpoint.serve(api));
    let mut svids: Streaming<SvidsAnswer> =
        ask(&dial(&path).await.unwrap(), "FetchX509SVID", &["true"]).await.unwrap();
    let svid = next(&mut svids).await.unwrap().svids[0].svid();
    clock.advance(Duration::from_secs(601));
    assert!(svid.not_after() < clock.wall());
    assert_eq!(next(&mut svids).await.unwrap_err().code(), Code::PermissionDenied);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!path.exists(), "the socket goes with the server");
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_ends_makes_room() {
    let served = Served::start();
    let mut open = Vec::new();
    for _ in 0..4 {
        let channel = dial(&served.path).await.unwrap();
        for _ in 0..16 {
            let mut stream = ask::<SvidsAnswer>(&channel, "FetchX509SVID", &["true"]).await.unwrap();
            next(&mut stream).await.unwrap();
            open.push(stream);
        }
    }
    assert_eq!(served.svids().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(served.bundles().await.unwrap_err().code(), Code::Unavailable);
    open.pop();
    while let Err(refused) = served.svids().await {
        assert_eq!(refused.code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn connections_are_bounded_and_one_that_ends_makes_room() {
    let served = Served::start();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(UnixStream::connect(&served.path).await.unwrap());
    }
    let mut late = UnixStream::connect(&served.path).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), late.read(&mut [0; 64])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    open.pop();
    while dial(&served.path).await.is_err() {}
}

#[tokio::test]
async fn only_a_socket_of_before_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // What a process that was killed leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let endpoint = Endpoint::bind(&path, Callers::Anyone).unwrap();
    assert_eq!(mode(&path), 0o666);
    drop(endpoint);
    assert!(!path.exists());
    let endpoint = Endpoint::bind(&path, Callers::SameUser).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(endpoint);
    std::fs::write(&path, "precious").unwrap();
    let refused = Endpoint::bind(&path, Callers::Anyone).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert!(Endpoint::bind(Path::new("api.sock"), Callers::Anyone).is_err());
}

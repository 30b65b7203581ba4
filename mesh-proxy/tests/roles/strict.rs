//! What does not enter a strict workload, and how running connections lose their rights.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mesh_ca::tls::{PeerTls, client_config, peer_name};
use mesh_ca::{SvidSource, TrustBundles, TrustSource};
use mesh_model::policy::{Action, AuthorizationPolicy, Patterns, PolicyRule, Source, TextPattern};
use mesh_model::{AppProtocol, Kind, Resource, ResourceKey};
use mesh_proxy::proxy::{ListenerId, Proxy, ProxyHandle};
use mesh_proxy::role::inbound::Plaintext;
use mesh_rt::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::world::*;

/// A sidecar of `cart` whose application greets, its inbound address, and its metrics.
async fn cart(world: &World, plaintext: Plaintext) -> (ProxyHandle, SocketAddr, impl Fn(&str) -> u64) {
    world.set([workload(world, "cart"), service("cart", AppProtocol::Tcp)]);
    let mut options = world.options("cart");
    options.inbound.push(inbound("cart", echo("hi ").await, plaintext));
    let telemetry = options.telemetry.clone();
    let proxy = Proxy::start(options).expect("threads");
    let address = proxy.addresses()[&ListenerId::Inbound(0)];
    (proxy, address, move |reason: &str| refused(&telemetry.encode(), reason))
}

/// A mesh TLS connection by hand: what a peer with this identity gets that sends some text.
async fn dial(peer: &PeerTls, world: &World, to: SocketAddr, alpn: &[u8]) -> std::io::Result<String> {
    let config = client_config(peer, vec![world.id("cart")], &[alpn]).expect("a configuration");
    let stream = TcpStream::connect(to).await?;
    in_time(async {
        let mut stream = TlsConnector::from(config).connect(peer_name(), stream).await?;
        stream.write_all(b"ping ").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
    .await
}

pub(super) fn policy(name_of: &str, action: Action, principals: &[&str]) -> Resource {
    let any = principals.iter().map(|p| TextPattern::from((*p).to_owned())).collect();
    let source = Source { principals: Patterns { any, none: Vec::new() }, ..Source::default() };
    Resource::Policy(Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name(name_of)),
        source: super::world::source("AuthorizationPolicy", name_of),
        action,
        selector: [(Arc::from("app"), Arc::from("cart"))].into(),
        rules: vec![PolicyRule { from: vec![source], ..PolicyRule::default() }],
    }))
}

#[tokio::test]
async fn only_a_verified_peer_of_the_mesh_enters() {
    let world = World::new();
    let (_proxy, at, refusals) = cart(&world, Plaintext::Strict).await;
    let good = world.identity("web");
    assert_eq!(dial(&good, &world, at, b"mesh-tcp/1").await.expect("served"), "hi ping bye");

    let nobody = PeerTls::new(SvidSource::empty(SystemClock::shared()), world.authority.trust());
    let stranger = World::of("other.example");
    let stranger = PeerTls::new(stranger.identity("web").source, world.authority.trust());
    for (who, peer) in [("no certificate", &nobody), ("another trust domain", &stranger)] {
        assert!(dial(peer, &world, at, b"mesh-tcp/1").await.is_err(), "{who}");
    }
    assert!(dial(&good, &world, at, b"h2").await.is_err(), "TLS without the mark of the mesh");
    assert!(ask(at, "ping").await.map_or(true, |answer| answer.is_empty()), "plain text");
    until(|| refusals("IdentityRequired") == 4).await;
}

#[tokio::test]
async fn a_permissive_port_takes_plain_text_and_does_not_wait_for_the_client() {
    let world = World::new();
    let (_proxy, at, _) = cart(&world, Plaintext::Permissive).await;
    assert_eq!(ask(at, "ping ").await.expect("served"), "hi ping bye");
    let mut silent = TcpStream::connect(at).await.expect("open");
    let mut greeting = [0; 3];
    in_time(silent.read_exact(&mut greeting)).await.expect("the server speaks first");
    assert_eq!(&greeting, b"hi ");
    // Policies hold for clients without identity too.
    world.set([policy("friends", Action::Allow, &["cluster.local/ns/shop/sa/web"])]);
    assert!(ask(at, "ping").await.map_or(true, |answer| answer.is_empty()));
}

#[tokio::test]
async fn plain_text_enters_until_its_end_and_what_entered_stays() {
    let world = World::new();
    let end = Arc::new(AtomicBool::new(false));
    let (_proxy, at, refusals) = cart(&world, Plaintext::Until(Arc::clone(&end))).await;
    let mut entered = TcpStream::connect(at).await.expect("open");
    let mut greeting = [0; 3];
    in_time(entered.read_exact(&mut greeting)).await.expect("the server speaks first");
    end.store(true, Ordering::Release);
    assert!(ask(at, "ping").await.map_or(true, |answer| answer.is_empty()), "plain text after its end");
    until(|| refusals("IdentityRequired") == 1).await;
    entered.write_all(b"ping ").await.expect("open");
    entered.shutdown().await.expect("open");
    let mut answer = String::new();
    in_time(entered.read_to_string(&mut answer)).await.expect("kept");
    assert_eq!(answer, "ping bye");
    assert_eq!(dial(&world.identity("web"), &world, at, b"mesh-tcp/1").await.expect("a peer"), "hi ping bye");
}

#[tokio::test]
async fn policies_decide_by_identity_about_opaque_connections() {
    let world = World::new();
    let (_proxy, at, refusals) = cart(&world, Plaintext::Strict).await;
    world.set([policy("friends", Action::Allow, &["cluster.local/ns/shop/sa/web"])]);
    let (web, bank) = (world.identity("web"), world.identity("bank"));
    assert_eq!(dial(&web, &world, at, b"mesh-tcp/1").await.expect("allowed"), "hi ping bye");
    assert!(dial(&bank, &world, at, b"mesh-tcp/1").await.map_or(true, |answer| answer.is_empty()));
    until(|| refusals("NotAllowedByPolicy") == 1).await;
}

#[tokio::test]
async fn a_workload_that_the_snapshot_does_not_know_admits_nobody() {
    let world = World::new();
    let (_proxy, at, refusals) = cart(&world, Plaintext::Strict).await;
    world.remove(&ResourceKey::local(Kind::Workload, name("cart")));
    let web = world.identity("web");
    assert!(dial(&web, &world, at, b"mesh-tcp/1").await.map_or(true, |answer| answer.is_empty()));
    until(|| refusals("PolicyPending") == 1).await;
}

/// What an application saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(usize, String)>>);

impl Seen {
    fn connections(&self) -> usize {
        self.0.lock().expect("no panic").0
    }

    fn text(&self) -> String {
        self.0.lock().expect("no panic").1.clone()
    }
}

/// An application that answers every end of a head, and remembers all it was sent.
async fn recorder() -> (SocketAddr, Seen) {
    let (listener, address) = listening();
    let seen = Seen::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            told.0.lock().expect("no panic").0 += 1;
            let told = told.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(some @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..some]).into_owned();
                    let ended = text.ends_with("\r\n\r\n");
                    told.0.lock().expect("no panic").1.push_str(&text);
                    if ended {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_peer_cannot_say_who_it_is_where_no_protocol_is_declared() {
    const HEAD: &str = " / HTTP/1.1\r\nhost: cart\r\nx-forwarded-client-cert: forged\r\n\r\n";
    /// What must have happened before the rest is sent.
    enum Until {
        Connected,
        Nothing,
        Seen(&'static str),
    }
    let cases = [
        ("at once", "", Until::Nothing, format!("GET{HEAD}"), true),
        ("after a silence", "", Until::Connected, format!("GET{HEAD}"), true),
        ("in pieces", "G", Until::Seen("G"), format!("ET{HEAD}"), false),
        ("spelled loosely", "", Until::Nothing, format!("get{HEAD}"), false),
        ("after a blank line", "\r\n", Until::Seen("\r\n"), format!("GET{HEAD}"), false),
        ("with a blank line", "", Until::Nothing, format!("\r\nGET{HEAD}"), false),
    ];
    for strict in [true, false] {
        let plaintext = if strict { Plaintext::Strict } else { Plaintext::Permissive };
        for (case, first, until_then, rest, served) in &cases {
            let (world, (application, seen)) = (World::new(), recorder().await);
            world.set([workload(&world, "cart")]);
            let mut options = world.options("cart");
            options.inbound.push(inbound("cart", application, plaintext.clone()));
            let proxy = Proxy::start(options).expect("threads");
            let to = proxy.addresses()[&ListenerId::Inbound(0)];
            let stream = TcpStream::connect(to).await.expect("open");
            let mut stream: Box<dyn Both> = match strict {
                false => Box::new(stream),
                true => {
                    let web = world.identity("web");
                    let config =
                        client_config(&web, vec![world.id("cart")], &[b"mesh-tcp/1"]).expect("valid");
                    Box::new(TlsConnector::from(config).connect(peer_name(), stream).await.expect("trusted"))
                }
            };
            stream.write_all(first.as_bytes()).await.expect("open");
            stream.flush().await.expect("open");
            match until_then {
                Until::Connected => until(|| seen.connections() == 1).await,
                Until::Nothing => {}
                Until::Seen(text) => until(|| seen.text() == *text).await,
            }
            stream.write_all(rest.as_bytes()).await.expect("open");
            stream.flush().await.expect("open");
            let mut answer = [0; 12];
            let answered =
                in_time(stream.read_exact(&mut answer)).await.is_ok_and(|_| &answer == b"HTTP/1.1 200");
            assert_eq!(answered, *served, "{case}, {plaintext:?}");
            let text = seen.text();
            assert!(!text.contains("forged"), "{case}, {plaintext:?}: {text}");
            let known = text.contains("URI=spiffe://cluster.local/ns/shop/sa/web");
            assert_eq!(known, *served && strict, "{case}: {text}");
        }
    }
}

/// A stream of either kind.
trait Both: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Both for T {}

#[tokio::test]
async fn withdrawn_trust_cuts_running_connections_and_other_changes_of_trust_do_not() {
    for proxy in ["bank", "cart", "none"] {
        let (world, other) = (World::new(), World::of("other.example"));
        let own = |account: &str| {
            let trust = TrustSource::new(TrustBundles::clone(&world.authority.trust().current()));
            PeerTls { trust, ..world.identity(account) }
        };
        let (bank, cart) = (own("bank"), own("cart"));
        let (trust_bank, trust_cart) = (Arc::clone(&bank.trust), Arc::clone(&cart.trust));
        world.set([workload(&world, "cart"), service("cart", AppProtocol::Tcp)]);
        let mut options = world.options("cart");
        options.identity = cart;
        options.inbound.push(inbound("cart", echo("hi ").await, Plaintext::Strict));
        let server = Proxy::start(options).expect("threads");
        let address = server.addresses()[&ListenerId::Inbound(0)];
        world.set([endpoints("cart", [(address, Some(world.id("cart")))])]);
        let mut options = world.options("bank");
        options.identity = bank;
        options.outbound.push(outbound("cart"));
        let client = Proxy::start(options).expect("threads");
        let mut stream =
            TcpStream::connect(client.addresses()[&ListenerId::Outbound(0)]).await.expect("open");
        let mut some = [0; 3];
        in_time(stream.read_exact(&mut some)).await.expect("served");

        let trust_domain = world.authority.trust_domain();
        for trust in [&trust_bank, &trust_cart] {
            let added = other.authority.trust().current();
            trust.insert(added.of(&other.authority.trust_domain()).expect("a bundle").clone());
        }
        stream.write_all(b"abc").await.expect("open");
        in_time(stream.read_exact(&mut some)).await.expect("more trust cuts nothing");
        match proxy {
            "bank" => trust_bank.remove(&trust_domain),
            "cart" => trust_cart.remove(&trust_domain),
            _ => trust_cart.remove(&other.authority.trust_domain()),
        }
        if proxy == "none" {
            stream.write_all(b"def").await.expect("open");
            in_time(stream.read_exact(&mut some)).await.expect("the trust of others cuts nothing");
            continue;
        }
        let cut = tokio::time::timeout(std::time::Duration::from_secs(1), stream.read(&mut some)).await;
        assert!(cut.expect("cut in time").map_or(true, |some| some == 0), "{proxy}: still open");
    }
}

#[tokio::test]
async fn a_new_deny_cuts_running_connections_of_whom_it_names_and_nobody_else() {
    let world = World::new();
    let (_proxy, _) = world.sidecar("cart", echo("hi ").await, AppProtocol::Tcp);
    let (_web, web) = world.client("web", "cart");
    let (_bank, bank) = world.client("bank", "cart");
    let (mut web, mut bank) =
        (TcpStream::connect(web).await.expect("open"), TcpStream::connect(bank).await.expect("open"));
    let mut greeting = [0; 3];
    web.read_exact(&mut greeting).await.expect("served");
    bank.read_exact(&mut greeting).await.expect("served");

    let began = tokio::time::Instant::now();
    world.set([policy("not-web", Action::Deny, &["cluster.local/ns/shop/sa/web"])]);
    let cut = in_time(web.read(&mut greeting)).await;
    assert!(cut.map_or(true, |some| some == 0), "the connection still carries bytes");
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());

    bank.write_all(b"abc").await.expect("open");
    in_time(bank.read_exact(&mut greeting)).await.expect("still served");
    assert_eq!(&greeting, b"abc");
}

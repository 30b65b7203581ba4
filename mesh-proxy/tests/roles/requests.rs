//! HTTP from a gateway, or a client's own proxy, through mutual TLS to an application.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_ca::tls::{ClientAuth, server_config};
use mesh_model::policy::{Action, AuthorizationPolicy, Operation, Patterns, PolicyRule, TextPattern};
use mesh_model::tls::{ClientCertificate, PrivateKey, Roots};
use mesh_model::{
    AppProtocol, BackendTls, Certificate, Kind, ListenerProtocol, ListenerTls, Resource, ResourceKey,
    RouteKind, Transport,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::world::*;

/// An HTTP/1.1 application that answers with the head it received.
pub(super) async fn application() -> SocketAddr {
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    address
}

async fn answer_all(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let head = read_head(&mut stream).await?;
        if head.is_empty() {
            return Ok(());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Status and body of a GET on a connection that stays open.
pub(super) async fn get(stream: &mut BufReader<TcpStream>, host: &str, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    in_time(async {
        stream.write_all(request.as_bytes()).await.expect("open");
        let head = read_head(stream).await.expect("an answer");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    })
    .await
}

pub(super) async fn connect(to: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(to).await.expect("open"))
}

#[tokio::test]
async fn a_request_passes_gateway_and_sidecar_with_the_identity_of_each_hop() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", application().await, AppProtocol::Http1);
    let http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
    world.set([
        Resource::Listener(Arc::new(http.clone())),
        route("cart", RouteKind::Http, &http, &[("cart", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = gateway.gateway_address(Transport::Tcp, 8080).expect("open");
    let mut client = connect(to).await;
    for path in ["/a", "/b?c=d"] {
        let (status, head) = get(&mut client, "shop.example", path).await;
        assert_eq!(
            (status, head.lines().next()),
            (200, Some(format!("GET {path} HTTP/1.1").as_str())),
            "{head}"
        );
        assert!(head.contains("shop.example"), "{head}");
    }
}

#[tokio::test]
async fn a_request_passes_both_sidecars_and_policies_read_it() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", application().await, AppProtocol::Detect);
    let (_client, dial) = world.client("web", "cart");
    let paths = Patterns { any: vec![TextPattern::from("/admin*".to_owned())], none: Vec::new() };
    world.set([Resource::Policy(Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name("no-admin")),
        source: source("AuthorizationPolicy", "no-admin"),
        action: Action::Deny,
        selector: [(Arc::from("app"), Arc::from("cart"))].into(),
        rules: vec![PolicyRule {
            to: vec![Operation { paths, ..Operation::default() }],
            ..PolicyRule::default()
        }],
    }))]);
    let mut client = connect(dial).await;
    let (status, head) = get(&mut client, "cart", "/items").await;
    assert_eq!((status, head.lines().next()), (200, Some("GET /items HTTP/1.1")), "{head}");
    assert_eq!(get(&mut client, "cart", "/admin/x").await.0, 403);
    assert_eq!(get(&mut client, "cart", "/items").await.0, 200);
}

#[tokio::test]
async fn a_gateway_ends_tls_for_http_and_speaks_tls_to_a_backend_by_policy() {
    let world = World::new();
    let own = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).expect("a certificate");
    let theirs = rcgen::generate_simple_self_signed(["inside.example".to_owned()]).expect("a certificate");
    let secret = Resource::Certificate(Arc::new(Certificate {
        key: ResourceKey::local(Kind::Certificate, name("own")),
        source: source("Secret", "own"),
        chain: vec![Arc::from(own.cert.der().as_ref())],
        private_key: PrivateKey::from_der(own.signing_key.serialize_der()),
    }));
    let policy = |hostname: &str| {
        Resource::BackendTls(Arc::new(BackendTls {
            key: ResourceKey::local(Kind::BackendTls, name("cart")),
            source: source("BackendTLSPolicy", "cart"),
            service: name("cart"),
            port: None,
            hostname: Arc::from(hostname),
            names: Vec::new(),
            roots: Roots::Bundle(vec![Arc::from(theirs.cert.der().as_ref())]),
            client: None,
        }))
    };
    let certificates = vec![ResourceKey::local(Kind::Certificate, name("own"))];
    let tls = ListenerTls::Terminate { certificates, client: None };
    let https = listener("https", 8443, ListenerProtocol::Https, ("shop.example", Some(tls)));
    let backend = tls_application(&theirs).await;
    world.set([
        secret,
        policy("inside.example"),
        Resource::Listener(Arc::new(https.clone())),
        service("cart", AppProtocol::Http1),
        endpoints("cart", [(backend, None)]),
        route("cart", RouteKind::Http, &https, &[("cart", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = gateway.gateway_address(Transport::Tcp, 8443).expect("open");
    let (status, head) = get_tls(to, own.cert.der()).await;
    assert_eq!((status, head.lines().next()), (200, Some("GET /a HTTP/1.1")), "{head}");
    // A backend that proves another name gets nothing.
    world.set([policy("other.example")]);
    assert_eq!(get_tls(to, own.cert.der()).await.0, 503);
}

#[tokio::test]
async fn a_gateway_shows_its_own_certificate_to_backends_that_ask_for_one() {
    let world = World::new();
    let own = rcgen::generate_simple_self_signed(["edge.example".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["edge.example".to_owned()]).expect("a certificate");
    let theirs = rcgen::generate_simple_self_signed(["inside.example".to_owned()]).expect("a certificate");
    let secret = |object: &str, made: &Made| {
        Resource::Certificate(Arc::new(Certificate {
            key: ResourceKey::local(Kind::Certificate, name(object)),
            source: source("Secret", object),
            chain: vec![Arc::from(made.cert.der().as_ref())],
            private_key: PrivateKey::from_der(made.signing_key.serialize_der()),
        }))
    };
    let shows = |object: Option<&str>| {
        let mut http = listener("http", 8080, ListenerProtocol::Http, ("*", None));
        http.backend_certificate = object.map(|object| ResourceKey::local(Kind::Certificate, name(object)));
        http
    };
    let backend = tls_application_for(&theirs, Some(&own)).await;
    let policy = |own: Option<&str>| {
        let client = own.map(|own| ClientCertificate {
            certificate: ResourceKey::local(Kind::Certificate, name(own)),
            gateways: vec![name("edge")],
        });
        Resource::BackendTls(Arc::new(BackendTls {
            key: ResourceKey::local(Kind::BackendTls, name("cart")),
            source: source("BackendTLSPolicy", "cart"),
            service: name("cart"),
            port: None,
            hostname: Arc::from("inside.example"),
            names: Vec::new(),
            roots: Roots::Bundle(vec![Arc::from(theirs.cert.der().as_ref())]),
            client,
        }))
    };
    world.set([
        secret("own", &own),
        secret("other", &other),
        policy(None),
        Resource::Listener(Arc::new(shows(Some("own")))),
        service("cart", AppProtocol::Http1),
        endpoints("cart", [(backend, None)]),
        route("cart", RouteKind::Http, &shows(None), &[("cart", 1)]),
    ]);
    let gateway = world.gateway(1);
    let to = gateway.gateway_address(Transport::Tcp, 8080).expect("open");
    let mut client = connect(to).await;
    assert_eq!(get(&mut client, "shop.example", "/a").await.0, 200);
    // Without a certificate, or with another one, nothing arrives: not even over a connection that waits.
    for shown in [None, Some("other"), Some("missing")] {
        world.set([Resource::Listener(Arc::new(shows(shown)))]);
        let (status, _) = get(&mut client, "shop.example", "/a").await;
        assert!((502..=503).contains(&status), "{shown:?}: {status}");
    }
    world.set([Resource::Listener(Arc::new(shows(Some("own"))))]);
    assert_eq!(get(&mut client, "shop.example", "/a").await.0, 200);
    // What is for one backend stands in place of what the gateway shows to all.
    for (of_all, of_backend, served) in
        [("own", "other", false), ("other", "own", true), ("own", "gone", false)]
    {
        world.set([Resource::Listener(Arc::new(shows(Some(of_all)))), policy(Some(of_backend))]);
        let (status, _) = get(&mut client, "shop.example", "/a").await;
        assert_eq!(status == 200, served, "{of_all} {of_backend}: {status}");
    }
}

/// A proxy of the mesh that answers every request with success, its own mark included or not.
async fn agreeing(world: &World, mark: bool) -> SocketAddr {
    let tls = server_config(&world.identity("cart"), ClientAuth::Required, &[b"mesh-h2/1"]).expect("valid");
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&tls));
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(acceptor.accept(stream).await?);
                let service = hyper::service::service_fn(move |_| async move {
                    let mut answer = hyper::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
                    if mark {
                        answer.headers_mut().insert("x-mesh-status", http::HeaderValue::from_static("101"));
                    }
                    Ok::<_, std::convert::Infallible>(answer)
                });
                let mut builder =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let served = builder.enable_connect_protocol().serve_connection(stream, service).await;
                served.map_err(std::io::Error::other)
            });
        }
    });
    address
}

#[tokio::test]
async fn a_protocol_is_changed_only_when_the_other_proxy_says_so() {
    for (mark, expected) in [(true, "HTTP/1.1 101"), (false, "HTTP/1.1 502")] {
        let world = World::new();
        let address = agreeing(&world, mark).await;
        world.set([
            service("cart", AppProtocol::Http1),
            endpoints("cart", [(address, Some(world.id("cart")))]),
        ]);
        let (_client, dial) = world.client("web", "cart");
        let mut stream = connect(dial).await;
        let wish = "GET / HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(wish.as_bytes()).await.expect("open");
        let head = in_time(read_head(&mut stream)).await.expect("an answer");
        assert!(head.starts_with(expected), "{mark}: {head}");
        assert!(!head.contains("x-mesh-status"), "{head}");
    }
}

#[tokio::test]
async fn a_post_that_asks_for_another_protocol_passes_both_sidecars_as_a_post() {
    let world = World::new();
    let (_server, _) = world.sidecar("cart", application().await, AppProtocol::Http1);
    let (_client, dial) = world.client("web", "cart");
    for method in ["POST", "GET"] {
        let mut stream = connect(dial).await;
        let wish = "host: cart\r\ncontent-length: 0\r\nconnection: upgrade\r\nupgrade: tcp\r\n";
        let head = format!("{method} /exec HTTP/1.1\r\n{wish}\r\n");
        stream.write_all(head.as_bytes()).await.expect("open");
        let answer = in_time(read_head(&mut stream)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = in_time(read_head(&mut stream)).await.expect("what the application saw").to_lowercase();
        assert!(seen.starts_with(&format!("{method} /exec http/1.1").to_lowercase()), "{seen}");
        assert!(seen.contains("upgrade: tcp"), "{seen}");
    }
}

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

/// The application behind TLS of its own.
async fn tls_application(made: &Made) -> SocketAddr {
    tls_application_for(made, None).await
}

/// The same, for clients with this certificate only.
async fn tls_application_for(made: &Made, client: Option<&Made>) -> SocketAddr {
    let plain = application().await;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = match client {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.cert.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listening();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut behind = TcpStream::connect(plain).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut behind).await
            });
        }
    });
    address
}

/// Status and body of a GET over TLS.
async fn get_tls(to: SocketAddr, trusted: &CertificateDer<'static>) -> (u16, String) {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let host = ServerName::try_from("shop.example").expect("a name");
    in_time(async {
        let stream = TcpStream::connect(to).await.expect("open");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(host, stream).await.expect("trusted");
        let request = "GET /a HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut answer = Vec::new();
        // The end may come without a farewell; the answer is whole by then.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    })
    .await
}

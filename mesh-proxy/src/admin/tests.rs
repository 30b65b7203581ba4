//! What the ports show and to whom.

use std::sync::Arc;

use http_body_util::BodyExt;
use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, SvidSource, SystemClock};
use mesh_model::tls::PrivateKey;
use mesh_model::{Certificate, Kind, Mesh, ObjectName, Origin, Resource, ResourceKey, SourceRef};

use super::*;
use crate::proxy::{Proxy, ProxyOptions};

const SECRET: &[u8] = b"canary-private-key";

fn admin() -> Admin {
    let authority = Authority::in_memory("cluster.local".parse().expect("a domain"), SystemClock::shared());
    let identity = PeerTls::new(SvidSource::empty(SystemClock::shared()), authority.expect("one").trust());
    let object = ObjectName::new("shop", "own");
    let certificate = Certificate {
        key: ResourceKey::local(Kind::Certificate, object.clone()),
        source: SourceRef::new("Secret", object, Origin::Builtin),
        chain: Vec::new(),
        private_key: PrivateKey::from_der(SECRET),
    };
    let mesh = SharedMesh::new(Mesh::from_resources([Resource::Certificate(Arc::new(certificate))]));
    let proxy = Proxy::start(ProxyOptions::new("admin", mesh.clone(), identity)).expect("threads");
    Admin { mesh, probes: Arc::default(), proxy, telemetry: Telemetry::default() }
}

async fn ask(admin: &Admin, surface: Surface, (method, path, host): (Method, &str, &str)) -> (u16, String) {
    let host = HeaderValue::from_str(host).expect("a value");
    let answer = admin.answer(surface, &method, path, Some(&host));
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn each_port_shows_what_it_is_for() {
    let admin = admin();
    let cases = [
        (Surface::Admin, Method::GET, "/healthz", "localhost:15000", 200),
        (Surface::Admin, Method::GET, "/config_dump", "127.0.0.1:15000", 200),
        (Surface::Admin, Method::GET, "/config_dump", "[::1]:15000", 200),
        (Surface::Admin, Method::GET, "/config_dump", "evil.example", 403),
        (Surface::Admin, Method::GET, "/config_dump", "10.0.0.1", 403),
        (Surface::Admin, Method::GET, "/decisions/0", "localhost", 404),
        (Surface::Admin, Method::GET, "/decisions/../config_dump", "localhost", 404),
        (Surface::Admin, Method::POST, "/healthz", "localhost", 405),
        (Surface::Admin, Method::DELETE, "/config_dump", "localhost", 405),
        (Surface::Admin, Method::GET, "/quitquitquit", "localhost", 404),
        (Surface::Metrics, Method::GET, "/metrics", "10.0.0.1:15020", 200),
        (Surface::Metrics, Method::GET, "/ready", "10.0.0.1:15020", 503),
        (Surface::Metrics, Method::GET, "/config_dump", "localhost", 404),
        (Surface::Metrics, Method::PUT, "/metrics", "localhost", 405),
    ];
    for (surface, method, path, host, expected) in cases {
        let (status, _) = ask(&admin, surface, (method.clone(), path, host)).await;
        assert_eq!(status, expected, "{surface:?} {method} {path} {host}");
    }
}

#[tokio::test]
async fn a_dump_holds_no_secret() {
    let admin = admin();
    let (_, dump) = ask(&admin, Surface::Admin, (Method::GET, "/config_dump", "localhost")).await;
    assert!(dump.contains("local/shop/Certificate/own"), "{dump}");
    let bytes = SECRET.iter().map(u8::to_string).collect::<Vec<_>>();
    for form in ["canary".to_owned(), bytes.join(","), bytes.join(",\n")] {
        assert!(!dump.replace(' ', "").contains(&form), "{dump}");
    }
}

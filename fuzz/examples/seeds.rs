//! Writes the seeds that are not text: `cargo run --no-default-features --example seeds`. Their content differs
//! from run to run, so run it only for a new format.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use mesh_ca::csr;
use mesh_ca::store::{SealingKey, seal};
use mesh_ca::{Authority, SystemClock};
use mesh_controller::local::Replica;
use mesh_controller::objects::Process;
use mesh_controller::source;
use mesh_controller::store::ObjectStore;
use mesh_controller::translate::{Changes, Settings, Translator};
use mesh_model::Kind;
use mesh_xds::native;
use mesh_xds::proto::DeltaDiscoveryRequest;
use prost::Message as _;

/// Where the seeds of the resources come from.
const FILES: &[(&str, &str)] = &[
    ("bookinfo", "gateway.yaml"),
    ("bookinfo", "local.yaml"),
    ("bookinfo", "policies.yaml"),
    ("bookinfo", "routes.yaml"),
    ("bookinfo", "services.yaml"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::in_memory("cluster.local".parse()?, SystemClock::shared())?;
    let svid = authority.issue_svid(&"spiffe://cluster.local/ns/shop/sa/web".parse()?)?;
    write("certificate", "leaf", &svid.chain()[0])?;
    write("certificate", "public-key", svid.key().public().spki())?;
    let bundle = authority.bundle();
    let root = bundle.roots().next().ok_or("a bundle has a root")?;
    write("certificate", "root", root)?;
    write("certificate_request", "request", &csr::request(svid.key()))?;
    write("certificate_request", "certificate", &svid.chain()[0])?;
    let cart = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
    let token = authority.issue_token(&cart, &["reports".to_owned()])?;
    write("jwt_svid", "token", token.expose().as_bytes())?;
    let other = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzcGlmZmU6Ly9jbHVzdGVyLmxvY2FsL2EiLCJhdWQiOiJyZXBvcnRzIn0.";
    write("jwt_svid", "other-algorithm", other.as_bytes())?;
    let key = SealingKey::from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")?;
    write("sealed_store", "sealed", &seal(b"content", &key, "fuzz", 7))?;
    write("sealed_store", "other-purpose", &seal(b"content", &key, "other", 7))?;
    write("sealed_store", "other-key", &seal(b"content", &SealingKey::generate(), "fuzz", 1))?;
    write("client_hello", "two-protocols", &hello(&["mesh-h2/1", "h2"])?)?;
    write("client_hello", "no-protocol", &hello(&[])?)?;
    write("client_hello", "http", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
    requests()?;
    resources()
}

/// One resource of each kind that the sample application has, its kind in the first byte.
fn resources() -> Result<(), Box<dyn Error>> {
    let mut objects = Vec::new();
    for (folder, file) in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(folder).join(file);
        objects.extend(source::load(&fs::read(path)?, &Arc::from(*file)).objects);
    }
    let store: ObjectStore = objects.into_iter().collect();
    let mut translator = Translator::new(Settings::default());
    let mut changes = Changes::between(&ObjectStore::default(), &store);
    for (n, (stored, _)) in store.all::<Process>().enumerate() {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(n + 1)?));
        changes.replicas.push((stored.name().clone(), vec![Replica::new(0, address, true)]));
    }
    translator.update(changes);
    for (at, kind) in Kind::ALL.iter().enumerate() {
        let translation = translator.translation();
        let of_kind = translation.resources.values().find(|resource| resource.key().kind == *kind);
        let Some(resource) = of_kind else { continue };
        let seed = [&[u8::try_from(at)?], &*native::encode(resource)].concat();
        write("native", kind.as_str(), &seed)?;
    }
    Ok(())
}

fn requests() -> Result<(), Box<dyn Error>> {
    let type_url = mesh_xds::Types::mesh().at(0).as_str().to_owned();
    let first = DeltaDiscoveryRequest {
        type_url: type_url.clone(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let second = DeltaDiscoveryRequest {
        type_url,
        resource_names_unsubscribe: vec!["local/shop/Route/cart".to_owned()],
        response_nonce: "1".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    write("xds_request", "subscribe", &first.encode_to_vec())?;
    let both = [first.encode_to_vec(), second.encode_to_vec()].join(&0xff);
    write("xds_request", "unsubscribe", &both)
}

fn hello(protocols: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), "cart.shop.test".try_into()?)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

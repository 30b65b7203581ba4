//! Real rustls handshakes in memory: who gets in, who does not, and that nothing is resumed.

use std::time::Duration;

use crate::pki::{blind_client_of, connect, id, start};
use mesh_ca::tls::{self, ClientAuth, PeerTls};
use mesh_ca::{Authority, SvidSource};

#[tokio::test]
async fn two_peers_of_one_trust_domain_know_each_other() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let client = SvidSource::new(authority.issue_svid(&id("a")).unwrap(), clock.clone());
    let server = SvidSource::new(authority.issue_svid(&id("b")).unwrap(), clock);
    let (client, server) = (PeerTls::new(client, authority.trust()), PeerTls::new(server, authority.trust()));
    let config = tls::client_config(&client, vec![id("b")], &[b"mesh-h2/1"]).unwrap();
    let accept = tls::server_config(&server, ClientAuth::Required, &[b"mesh-h2/1"]).unwrap();
    let met = connect(config, accept).await.unwrap();
    assert_eq!((met.client_saw, met.server_saw), (Some(id("b")), Some(id("a"))));
    assert_eq!(met.group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(met.alpn.as_deref(), Some(&b"mesh-h2/1"[..]));
}

#[tokio::test]
async fn a_client_refuses_everybody_but_the_expected() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let server = SvidSource::new(authority.issue_svid(&id("b")).unwrap(), clock);
    let peer = PeerTls::new(server, authority.trust());
    let accept = tls::server_config(&peer, ClientAuth::Required, &[]).unwrap();
    let config = tls::client_config(&peer, vec![id("c")], &[]).unwrap();
    let refused = connect(config, accept).await.unwrap_err();
    assert!(refused.contains("the peer is spiffe://cluster.local/ns/x/sa/b, expected"), "{refused}");
    assert!(tls::client_config(&peer, vec![], &[]).is_err());
}

#[tokio::test]
async fn an_expired_svid_is_not_presented() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let source = SvidSource::new(authority.issue_svid(&id("b")).unwrap(), clock.clone());
    assert_eq!(source.remaining(), Duration::from_secs(12 * 3600));
    clock.advance(Duration::from_secs(12 * 3600 + 1));
    assert_eq!(source.remaining(), Duration::ZERO);
    let peer = PeerTls::new(source, authority.trust());
    let accept = tls::server_config(&peer, ClientAuth::Required, &[]).unwrap();
    let config = tls::client_config(&peer, vec![id("b")], &[]).unwrap();
    assert!(connect(config, accept).await.is_err());
}

#[tokio::test]
async fn a_second_connection_is_not_resumed() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let server = SvidSource::new(authority.issue_svid(&id("b")).unwrap(), clock.clone());
    let client = SvidSource::new(authority.issue_svid(&id("a")).unwrap(), clock);
    let server = PeerTls::new(server, authority.trust());
    let client = PeerTls::new(client, authority.trust());
    let accept = tls::server_config(&server, ClientAuth::Required, &[]).unwrap();
    let config = tls::client_config(&client, vec![id("b")], &[]).unwrap();
    // A client that would resume if it were given a ticket: rustls's default store of sessions.
    let mut willing = (*config).clone();
    willing.resumption = rustls::client::Resumption::default();
    let willing = std::sync::Arc::new(willing);
    for config in [&config, &willing] {
        for _ in 0..3 {
            let met = connect(config.clone(), accept.clone()).await.unwrap();
            assert_eq!(met.kind, rustls::HandshakeKind::Full);
        }
    }
    // Trust withdrawn between two connections of the same client ends it at once.
    authority.trust().remove(&"cluster.local".parse().unwrap());
    let refused = connect(willing, accept).await.unwrap_err();
    assert!(refused.contains("trust domain cluster.local is not trusted"), "{refused}");
}

#[tokio::test]
async fn older_protocols_are_refused_and_classical_key_exchange_still_works() {
    let clock = start();
    let authority = Authority::in_memory("cluster.local".parse().unwrap(), clock.clone()).unwrap();
    let svid = authority.issue_svid(&id("b")).unwrap();
    let (chain, key) = (svid.chain().to_vec(), svid.key().pkcs8().to_vec());
    let peer = PeerTls::new(SvidSource::new(svid, clock.clone()), authority.trust());
    let accept = tls::server_config(&peer, ClientAuth::Required, &[]).unwrap();
    let old = blind_client_of(chain.clone(), &key, (&rustls::version::TLS12, None));
    let refused = connect(old, accept.clone()).await.unwrap_err();
    assert!(refused.contains("received fatal alert: ProtocolVersion"), "{refused}");
    let group = rustls::crypto::aws_lc_rs::kx_group::X25519;
    let classical = blind_client_of(chain, &key, (&rustls::version::TLS13, Some(group)));
    assert!(connect(classical, accept).await.is_ok());
}

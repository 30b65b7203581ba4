//! ClientHellos whole, in pieces, too long, never-ending and broken.

use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncWriteExt, duplex};

use super::*;

/// The first flight of a real client.
fn client_hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a good name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector takes everything");
    }
    bytes
}

/// The same handshake message in records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).expect("small").to_be_bytes();
        [&[HANDSHAKE, 3, 1], length.as_slice(), part].concat()
    };
    hello[5..].chunks(size).flat_map(record).collect()
}

fn expected(name: &str, alpn: &[&[u8]]) -> FirstBytes {
    let sni = (!name.is_empty()).then(|| Arc::from(name));
    FirstBytes::Tls(Hello { sni, alpn: alpn.iter().map(|p| p.to_vec()).collect() })
}

#[test]
fn server_name_and_protocols_are_those_of_the_hello() {
    let cases: [(&str, &str, &[&[u8]]); 4] = [
        ("shop.example", "shop.example", &[b"h2", b"http/1.1"]),
        ("Shop.Example", "shop.example", &[]),
        ("192.0.2.1", "", &[b"mesh-tcp/1"]),
        ("a.b.c", "a.b.c", &[b"mesh-h2/1"]),
    ];
    for (name, sni, alpn) in cases {
        let hello = client_hello(name, alpn);
        assert_eq!(look(&hello).expect("a good hello"), Some(expected(sni, alpn)), "{name}");
    }
}

#[test]
fn every_prefix_of_a_hello_asks_for_more() {
    let hello = client_hello("shop.example", &[b"h2"]);
    for end in 0..hello.len() {
        assert!(matches!(look(&hello[..end]), Ok(None)), "{end} of {} bytes", hello.len());
    }
}

#[tokio::test]
async fn a_hello_in_records_of_one_byte_is_read_byte_by_byte() {
    let hello = in_records(&client_hello("shop.example", &[b"h2"]), 1);
    let (mut client, mut server) = duplex(1);
    let write = async { client.write_all(&hello).await.expect("open") };
    let by = Instant::now() + Duration::from_secs(10);
    let ((), read) = tokio::join!(write, read_first(&mut server, by, by));
    let (found, ahead) = read.expect("a good hello");
    assert_eq!((found, &ahead[..]), (expected("shop.example", &[b"h2"]), &hello[..]));
}

#[test]
fn a_hello_longer_than_the_limit_is_refused() {
    // A message that announces 16 MiB and keeps coming.
    let mut endless = vec![1, 0xff, 0xff, 0xff];
    endless.resize(100_000, 0);
    let padded = [&[0; 5], endless.as_slice()].concat();
    assert!(matches!(
        look(&in_records(&padded, 16_000)),
        Err(HelloError::Malformed(_) | HelloError::TooLong)
    ));
    assert!(matches!(look(&in_records(&padded, 1)), Err(HelloError::Malformed(_) | HelloError::TooLong)));
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_does_not_end_is_given_up() {
    let hello = client_hello("shop.example", &[]);
    let (mut client, mut server) = duplex(hello.len());
    let by = Instant::now() + Duration::from_secs(10);
    client.write_all(&hello[..hello.len() - 1]).await.expect("open");
    assert!(matches!(read_first(&mut server, by, by).await, Err(HelloError::TimedOut)));
    assert_eq!(Instant::now(), by);
    drop(client);
    assert!(matches!(read_first(&mut server, by, by).await, Ok((FirstBytes::Other, _))));
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_tls_where_the_server_may_speak_first() {
    let (_client, mut server) = duplex(16);
    let began = Instant::now();
    let (first_by, whole_by) = (began + Duration::from_millis(30), began + Duration::from_secs(10));
    let (found, ahead) = read_first(&mut server, first_by, whole_by).await.expect("silence");
    assert_eq!((found, ahead.len(), began.elapsed()), (FirstBytes::Other, 0, Duration::from_millis(30)));
}

#[test]
fn what_is_not_tls_is_known_by_its_first_byte() {
    for bytes in [b"G".as_slice(), b"\x16GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x00", b"\x80\x2e\x01"] {
        match (bytes[0], look(bytes)) {
            (HANDSHAKE, Err(HelloError::Malformed(_)) | Ok(None)) => {}
            (HANDSHAKE, other) => panic!("{bytes:?} gave {other:?}"),
            (_, found) => assert_eq!(found.expect("no error"), Some(FirstBytes::Other), "{bytes:?}"),
        }
    }
}

#[test]
fn random_bytes_after_a_handshake_header_never_panic() {
    let mut random = mesh_rt::random::Fast::seeded(11);
    let hello = client_hello("shop.example", &[b"h2"]);
    for _ in 0..2_000 {
        let mut broken = hello.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(hello.len() as u64) as usize;
            broken[at] = random.next_u64() as u8;
        }
        drop(look(&broken));
    }
}

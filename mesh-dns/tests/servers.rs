//! The resolver against name servers on loopback: UDP, TCP when an answer is cut short, and servers that fail.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_dns::{Found, Lookup, LookupError, Resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const TRUNCATED: u8 = 2;

/// What a server does.
#[derive(Clone, Copy, PartialEq)]
enum Temper {
    Answers,
    CutsShort,
    Refuses,
    KnowsNothing,
    /// Sends answers that others might have made up before its own.
    SpoofedFirst,
}

/// The answer to a question: address 198.51.100.7, or 127.0.0.1 for names that begin with `own`; none of IPv6.
fn answer(asked: &[u8], flags: u8, code: u8) -> Vec<u8> {
    let end = asked[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let is_four = asked[end - 3] == 1;
    let count = u8::from(is_four && code == 0 && flags & TRUNCATED == 0);
    let mut message = asked[..end].to_vec();
    message[2..12].copy_from_slice(&[0x81 | flags, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    if count == 1 {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        message.extend(if asked[13..].starts_with(b"own") { [127, 0, 0, 1] } else { [198, 51, 100, 7] });
    }
    message
}

/// A port that is free for both: the system chooses it for datagrams, and a connection may have the same number.
fn both() -> (UdpSocket, TcpListener) {
    for _ in 0..20 {
        let socket = mesh_rt::net::bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        if let Ok(listener) = mesh_rt::net::listen_tcp(socket.local_addr().unwrap(), false) {
            return (UdpSocket::from_std(socket).unwrap(), TcpListener::from_std(listener).unwrap());
        }
    }
    panic!("no port is free for both");
}

async fn server(temper: Temper) -> SocketAddr {
    let (socket, listener) = both();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = &buffer[..length];
            let sent = match temper {
                Temper::Answers | Temper::SpoofedFirst => answer(asked, 0, 0),
                Temper::CutsShort => answer(asked, TRUNCATED, 0),
                Temper::Refuses => answer(asked, 0, 5),
                Temper::KnowsNothing => answer(asked, 0, 3),
            };
            if temper == Temper::SpoofedFirst {
                let mut other = answer(asked, 0, 3);
                other[1] ^= 1;
                socket.send_to(&other, from).await.unwrap();
                socket.send_to(b"nonsense", from).await.unwrap();
            }
            socket.send_to(&sent, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut asked = vec![0; usize::from(length)];
            stream.read_exact(&mut asked).await.unwrap();
            let sent = answer(&asked, 0, 0);
            stream.write_u16(u16::try_from(sent.len()).unwrap()).await.unwrap();
            stream.write_all(&sent).await.unwrap();
        }
    });
    address
}

async fn look(servers: &[SocketAddr], name: &str) -> Result<Found, LookupError> {
    Resolver::at(servers.iter().copied()).lookup(Arc::from(name)).await
}

fn addresses(found: Result<Found, LookupError>) -> Vec<IpAddr> {
    let found = found.expect("it is found");
    assert_eq!(found.ttl.as_secs(), 30);
    found.addresses
}

#[tokio::test]
async fn an_answer_is_taken_over_udp_and_over_tcp_when_it_is_cut_short() {
    for temper in [Temper::Answers, Temper::CutsShort, Temper::SpoofedFirst] {
        let at = server(temper).await;
        assert_eq!(addresses(look(&[at], "api.example.com").await), [IpAddr::from([198, 51, 100, 7])]);
    }
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_and_not_when_the_name_is_unknown() {
    let (refuses, answers) = (server(Temper::Refuses).await, server(Temper::Answers).await);
    assert_eq!(addresses(look(&[refuses, answers], "api.example.com").await).len(), 1);
    let knows_nothing = server(Temper::KnowsNothing).await;
    assert_eq!(look(&[knows_nothing, answers], "api.example.com").await, Err(LookupError::NoAddress));
    assert!(matches!(look(&[refuses], "api.example.com").await, Err(LookupError::Failed(_))));
    assert!(matches!(look(&[], "api.example.com").await, Err(LookupError::Failed(_))));
}

#[tokio::test]
async fn a_name_does_not_lead_to_the_proxys_own_host() {
    let at = server(Temper::Answers).await;
    assert_eq!(look(&[at], "own.example.com").await, Err(LookupError::Local));
    let local = Resolver::at([at]).with_local().lookup(Arc::from("own.example.com")).await;
    assert_eq!(addresses(local), [IpAddr::from([127, 0, 0, 1])]);
    assert!(matches!(look(&[at], "no name").await, Err(LookupError::Name(_))));
}

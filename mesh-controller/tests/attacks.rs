//! The control plane's port under attack: a row for every way in or around. Each is refused or bounded and leaves its
//! reason in the log where there is one, and after each a proxy that was there is told of an edit, and another one
//! comes and is told everything.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "attacks/peer.rs"]
mod peer;
#[path = "attacks/port.rs"]
mod port;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_model::SpiffeId;
use mesh_rt::{Clock as _, SystemClock};
use mesh_xds::proto::{DeltaDiscoveryRequest, Node, Status as ErrorDetail};
use rcgen::SanType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use peer::{Ads, IssueRequest, flood, frame, issue, presenting};
use port::{Port, Tls, account, issuer, keep_log, log, set_life};

const LISTENER: &str = "type.googleapis.com/mesh.v1.Listener";
const CERTIFICATE: &str = "type.googleapis.com/mesh.v1.Certificate";

/// The name of a flood, and its frames by their number.
type Flood<'f> = (&'static str, &'f dyn Fn(u32) -> Vec<u8>);

/// What an attack got out of it.
type Outcome = Result<(), String>;

/// Plays one attack, then looks for its reason in what was logged since, and at those who keep the rules.
async fn row(port: &mut Port, name: &str, reason: Option<&str>, attack: impl AsyncFnOnce(&Port) -> Outcome) {
    let before = log().len();
    let outcome = attack(port).await;
    assert_eq!(outcome, Ok(()), "{name}");
    port.serves().await;
    if let Some(reason) = reason {
        let new = log().split_off(before);
        assert!(new.contains(reason), "{name}: {reason:?} is not in the log:\n{new}");
    }
}

/// The code of a call's refusal, or that there was none.
fn refused(name: &str, answer: Result<impl Sized, tonic::Status>, code: Code) -> Outcome {
    match answer {
        Ok(_) => Err(format!("{name}: it was let in")),
        Err(status) if status.code() == code => Ok(()),
        Err(status) => Err(format!("{name}: {status}")),
    }
}

/// Subscribes under a certificate; what the refusal was, if it came to that.
async fn let_in(port: &Port, config: Arc<rustls::ClientConfig>) -> Result<(), String> {
    let channel = port.channel(config).await?;
    let mut ads = Ads::open(channel).await.map_err(|status| status.to_string())?;
    ads.send(Ads::subscribe(LISTENER, &[])).await?;
    ads.next().await.map(drop).map_err(|status| status.to_string())
}

fn uri(id: &str) -> SanType {
    SanType::URI(id.to_owned().try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_proves_no_identity_of_the_mesh_learns_nothing() {
    keep_log();
    let mut port = Port::open().await;
    row(&mut port, "no certificate", Some("a verified SPIFFE identity is needed"), async |port| {
        let channel = port.channel(port.config(&port.anonymous())).await?;
        refused("discovery", Ads::open(channel).await, Code::Unauthenticated)
    })
    .await;
    let good = account("shop-web").to_string();
    let cases = [
        (
            "another trust domain",
            "is not trusted",
            [-1, 1],
            vec![uri("spiffe://elsewhere/ns/default/sa/shop-web")],
        ),
        ("expired", "expired", [-2, -1], vec![uri(&good)]),
        ("not valid yet", "becomes valid", [1, 2], vec![uri(&good)]),
        ("two names", "SPIFFE profile", [-1, 1], vec![uri(&good), uri(&account("edge-mesh").to_string())]),
        ("no name", "SPIFFE profile", [-1, 1], vec![]),
    ];
    for (name, reason, life, names) in cases {
        row(&mut port, name, Some(reason), async |port| {
            let config = presenting(&port.leaked, |params| {
                set_life(params, life);
                params.subject_alt_names.clone_from(&names);
            });
            let_in(port, config).await.err().map(drop).ok_or("it was let in".to_owned())
        })
        .await;
    }
    row(&mut port, "another root", Some("no path from"), async |port| {
        let config = presenting(&issuer().0, |params| params.subject_alt_names = vec![uri(&good)]);
        let_in(port, config).await.err().map(drop).ok_or("it was let in".to_owned())
    })
    .await;
    // The same with nothing wrong: what is refused above is refused for what is wrong with it.
    let config = presenting(&port.leaked, |params| params.subject_alt_names = vec![uri(&good)]);
    assert_eq!(let_in(&port, config).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_gateway_reach_that_gateway_only() {
    let mut port = Port::open().await;
    let name = "local/default/Certificate/web";
    for (who, expected) in [("edge-mesh", true), ("other-mesh", false), ("shop-web", false)] {
        row(&mut port, who, None, async |port| {
            for asked in [vec![], vec![name], vec!["*", name]] {
                let mut ads = Ads::open(port.channel(port.config(&port.tls(who))).await?).await.unwrap();
                // Whoever it says it is makes no difference.
                let mut request = Ads::subscribe(CERTIFICATE, &asked);
                request.node =
                    Some(Node { id: "edge".into(), cluster: "edge-mesh".into(), ..Node::default() });
                ads.send(request).await?;
                let answer = ads.next().await.map_err(|status| status.to_string())?;
                let got = answer.resources.iter().any(|resource| resource.name == name);
                if got != expected {
                    return Err(format!("asked for {asked:?}: {:?}", answer.removed_resources));
                }
            }
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_endless_messages_end_their_own_stream() {
    keep_log();
    let mut port = Port::open().await;
    let large = "n".repeat(10 << 20);
    let with = |change: &dyn Fn(&mut DeltaDiscoveryRequest)| {
        let mut request = Ads::subscribe(LISTENER, &[]);
        change(&mut request);
        request
    };
    let requests = [
        (
            "a name of 10 MB",
            "a resource name has",
            with(&|r| r.resource_names_subscribe = vec![large.clone()]),
        ),
        (
            "a node of 10 MB",
            "the node's name has",
            with(&|r| r.node = Some(Node { id: large.clone(), ..Node::default() })),
        ),
        (
            "too many names",
            "names are subscribed",
            with(&|r| r.resource_names_subscribe = (0..300_000).map(|n| n.to_string()).collect()),
        ),
        (
            "too many versions",
            "names are subscribed",
            with(&|r| {
                r.initial_resource_versions = (0..300_000).map(|n| (n.to_string(), String::new())).collect()
            }),
        ),
        ("20 MB", "too large", with(&|r| r.resource_names_subscribe = vec![large.clone(), large.clone()])),
    ];
    for (name, reason, request) in requests {
        row(&mut port, name, Some(reason), async |port| {
            let mut ads = Ads::open(port.channel(port.config(&port.tls("shop-web"))).await?).await.unwrap();
            ads.send(request.clone()).await?;
            refused(name, ads.next().await, Code::ResourceExhausted)
        })
        .await;
    }
    row(&mut port, "a certificate request of 10 MB", None, async |port| {
        let channel = port.channel(port.config(&port.anonymous())).await?;
        let request = IssueRequest { csr: vec![7; 10 << 20], ..IssueRequest::default() };
        refused("issue", issue(channel, request).await, Code::OutOfRange)
    })
    .await;
    row(&mut port, "answers to what was never sent", None, async |port| {
        let mut ads = Ads::open(port.channel(port.config(&port.tls("shop-web"))).await?).await.unwrap();
        for n in 0..20_000 {
            let mut request = Ads::subscribe(LISTENER, &[]);
            request.response_nonce = format!("nonce-{n}");
            let message = format!("local/default/Listener/edge/plain: {}", "no ".repeat(300));
            request.error_detail = Some(ErrorDetail { code: 3, message, details: Vec::new() });
            ads.send(request).await?;
        }
        // It is still answered, once, and nothing of it is held against the resources.
        ads.next().await.map(drop).map_err(|status| status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_get_anywhere_keep_nobody_out() {
    keep_log();
    let mut port = Port::open().await;
    let crowded = Some("too many clients without an identity");
    let mut held = Vec::new();
    row(&mut port, "half-open handshakes", crowded, async |port| {
        for n in 0..1_000 {
            let mut stream = TcpStream::connect(port.at).await.map_err(|error| error.to_string())?;
            // Nothing, or the beginning of a ClientHello that does not come.
            let begin: &[u8] = if n % 2 == 0 { b"" } else { b"\x16\x03\x01\x02\x00\x01" };
            stream.write_all(begin).await.map_err(|error| error.to_string())?;
            held.push(stream);
        }
        Ok(())
    })
    .await;
    let mut first = [0; 1];
    let gone = tokio::time::timeout(Duration::from_secs(5), held[0].read(&mut first)).await;
    assert!(gone.expect("the oldest is closed").map_or(true, |read| read == 0));

    let mut resting = Vec::<Tls>::new();
    row(&mut port, "settings and nothing else", crowded, async |port| {
        let config = port.config(&port.anonymous());
        for _ in 0..520 {
            let mut stream = port.raw(Arc::clone(&config)).await.map_err(|error| error.to_string())?;
            stream.write_all(peer::HELLO).await.map_err(|error| error.to_string())?;
            resting.push(stream);
        }
        Ok(())
    })
    .await;
    let end = async {
        let mut all = Vec::new();
        let _ = resting[0].read_to_end(&mut all).await;
    };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the oldest is closed");
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_connection() {
    let mut port = Port::open().await;
    // POST / over https to `a`, in the static table of RFC 7541.
    const HEAD: &[u8] = b"\x83\x87\x84\x41\x01a";
    let reset = |n: u32| {
        let mut out = Vec::new();
        frame(&mut out, [1, 4], 2 * n + 1, HEAD);
        frame(&mut out, [3, 0], 2 * n + 1, &8_u32.to_be_bytes());
        out
    };
    let continued = |n: u32| {
        let mut out = Vec::new();
        let block = [&b"\0\x01x\x7f\x80\x7f"[..], &[b'y'; 16_000]].concat();
        frame(&mut out, [if n == 0 { 1 } else { 9 }, 0], 1, &block);
        out
    };
    let empty = |n: u32| {
        let mut out = Vec::new();
        if n == 0 {
            frame(&mut out, [1, 4], 1, HEAD);
        }
        frame(&mut out, [0, 0], 1, &[]);
        out
    };
    let rows: [Flood<'_>; 3] =
        [("rapid reset", &reset), ("endless continuation", &continued), ("empty data", &empty)];
    for (name, frames) in rows {
        for who in [port.anonymous(), port.tls("shop-web")] {
            row(&mut port, name, None, async |port| {
                let stream = port.raw(port.config(&who)).await.map_err(|error| error.to_string())?;
                let (ended, taken) = flood(stream, frames, 400_000).await;
                if ended && taken <= 8 << 20 { Ok(()) } else { Err(format!("ended {ended}, {taken} bytes")) }
            })
            .await;
        }
    }
}

/// A request for a certificate with a key of its own, naming `wish`.
fn wishing(wish: &SpiffeId, token: &str) -> IssueRequest {
    let mut params = rcgen::CertificateParams::new(["admin".to_owned()]).unwrap();
    params.subject_alt_names.push(uri(&wish.to_string()));
    let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
    IssueRequest { csr: request.der().to_vec(), token: token.to_owned(), life: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_for_whom_the_proof_names_and_for_nobody_else() {
    keep_log();
    let mut port = Port::open().await;
    let now: SystemTime = SystemClock.wall();
    let minute = Duration::from_secs(60);
    let admin = account("edge-mesh");
    row(&mut port, "a request that names another", None, async |port| {
        let token = port.tokens.mint(&account("shop-web"), now, minute);
        let channel = port.channel(port.config(&port.anonymous())).await?;
        let answer =
            issue(channel, wishing(&admin, token.expose())).await.map_err(|status| status.to_string())?;
        let names = peer::names(&answer.chain[0]);
        if names == [account("shop-web").to_string()] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let refusals = [
        ("nothing", "neither a token nor a verified certificate", String::new(), Code::Unauthenticated),
        (
            "a made-up token",
            "was not made here",
            format!("mesh1.{}", "0".repeat(200)),
            Code::PermissionDenied,
        ),
        (
            "an old token",
            "join token is refused",
            port.tokens.mint(&admin, now - 10 * minute, minute).expose().to_owned(),
            Code::PermissionDenied,
        ),
    ];
    for (name, reason, token, code) in refusals {
        row(&mut port, name, Some(reason), async |port| {
            let channel = port.channel(port.config(&port.anonymous())).await?;
            refused(name, issue(channel, wishing(&admin, &token)).await, code)
        })
        .await;
    }
    row(&mut port, "one token for many keys at once", Some("it was used before"), async |port| {
        let token = port.tokens.mint(&admin, now, minute);
        let channel = port.channel(port.config(&port.anonymous())).await?;
        let asked = (0..50).map(|_| issue(channel.clone(), wishing(&admin, token.expose())));
        let answers = futures_util::future::join_all(asked).await;
        let good = answers.iter().filter(|answer| answer.is_ok()).count();
        if good == 1 { Ok(()) } else { Err(format!("{good} keys got the identity")) }
    })
    .await;
    row(&mut port, "no request at all", Some("not a certificate request"), async |port| {
        let channel = port.channel(port.config(&port.tls("shop-web"))).await?;
        let request = IssueRequest { csr: vec![0x30; 4_000], ..IssueRequest::default() };
        refused("issue", issue(channel, request).await, Code::InvalidArgument)
    })
    .await;
}

//! The strictness table: one row for every probe, as raw bytes to a gateway listening on loopback. A row that
//! the codec cannot meet is marked, and its test fails as soon as it is met.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mesh_model::AppProtocol;
use mesh_proxy::http::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::*;
use crate::net::*;

/// What a probe must lead to.
enum Expect {
    /// This status from the proxy; nothing reaches the backend.
    Answer(u16),
    /// The backend sees these lines and none of those.
    Backend(&'static [&'static str], &'static [&'static str]),
    /// Anything but an answer of the backend.
    Refused,
}

use Expect::{Answer, Backend, Refused};

struct Row {
    probe: &'static str,
    send: Vec<u8>,
    expect: Expect,
    expected_failure: bool,
}

fn row(probe: &'static str, send: impl Into<Vec<u8>>, expect: Expect) -> Row {
    Row { probe, send: send.into(), expect, expected_failure: false }
}

fn unmet(probe: &'static str, send: impl Into<Vec<u8>>, expect: Expect) -> Row {
    Row { expected_failure: true, ..row(probe, send, expect) }
}

/// A GET with these header lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")
}

fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn http1_rows() -> Vec<Row> {
    let many = |count: usize| (1..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    vec![
        row("B2 no Host", get(""), Answer(400)),
        row("B2 two Hosts", get("Host: a\r\nHost: a\r\n"), Answer(400)),
        row("B2 empty Host", get("Host:\r\n"), Answer(400)),
        row("B2 list of hosts", get("Host: a, b\r\n"), Answer(400)),
        row("B2 user in Host", get("Host: u@h\r\n"), Answer(400)),
        row(
            "B3 length and chunks",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            Answer(400),
        ),
        row(
            "B3 chunks and length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            Answer(400),
        ),
        row(
            "B4 chunked twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            Answer(400),
        ),
        row("B4 empty coding", post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), Answer(400)),
        row("B5 length twice", post("Content-Length: 1\r\nContent-Length: 1\r\n", "a"), Answer(400)),
        row("B6 bare LF in the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", Answer(400)),
        row("B6 bare LF in a header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Answer(400)),
        row("B7 folded header", get("Host: a\r\nX: y\r\n z\r\n"), Answer(400)),
        row("B7 bare CR in a value", get("Host: a\r\nX: y\rz\r\n"), Answer(400)),
        row(
            "B8 blank behind a chunk's size",
            post("Transfer-Encoding: chunked\r\n", "1 \r\na\r\n0\r\n\r\n"),
            Answer(400),
        ),
        row(
            "B8 bare LF behind a chunk's size",
            post("Transfer-Encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"),
            Answer(400),
        ),
        row(
            "B9 framing in trailers",
            post(
                "Transfer-Encoding: chunked\r\nTrailer: x-good\r\n",
                "1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nx-good: 1\r\n\r\n",
            ),
            Backend(&["trailer x-good"], &["trailer transfer-encoding", "trailer host"]),
        ),
        row("B10 no slash", target("!"), Answer(400)),
        row("B10 broken encoding", target("/%zz"), Answer(400)),
        row("B10 encoded NUL", target("/%00"), Answer(400)),
        row("B10 raw UTF-8", target("/\u{e9}"), Answer(400)),
        row("B10 raw UTF-8 in the query", target("/?\u{e9}"), Answer(400)),
        row("B11 fragment", target("/a#b"), Answer(400)),
        row("B12 double slash", target("//a//b?q=//"), Backend(&[" /a/b?q=//\n"], &[])),
        row("B12 dots", target("/a/../../b/./c"), Backend(&[" /b/c\n"], &[])),
        row("B12 encoded dots", target("/a/%2e%2e/b"), Backend(&[" /b\n"], &[])),
        row("B12 encoded slash", target("/a%2fb"), Backend(&[" /a%2Fb\n"], &[])),
        row("B12 backslash", target("/a\\b"), Backend(&[" /a/b\n"], &[])),
        row("B12 parameters", target("/a;b=c/d"), Backend(&[" /a;b=c/d\n"], &[])),
        row("B12 dots with parameters", target("/a/..;b/c"), Answer(400)),
        row("B12 encoded dots with parameters", target("/a/%2e%2e;/c"), Answer(400)),
        row("B12 dots with an encoded semicolon", target("/a/..%3b/c"), Answer(400)),
        row("B13 64 KB header", get(&format!("Host: a\r\nX: {}\r\n", "y".repeat(64 * 1024))), Answer(431)),
        row("B13 101 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(101)), Answer(431)),
        row(
            "B13 96 headers",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(96)),
            Backend(&["x-95"], &[]),
        ),
        row("B14 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Answer(405)),
        row("B14 CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Answer(404)),
        row("B14 unknown expectation", get("Host: a\r\nExpect: more\r\n"), Answer(417)),
        row(
            "S3 chunks in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Answer(400),
        ),
        row(
            "S6 Connection names a reserved header",
            get("Host: a\r\nConnection: X-Forwarded-For\r\n"),
            Answer(400),
        ),
        row(
            "S6 Connection names a header of its hop",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Stay: 1\r\n\r\n",
            Backend(&["x-stay"], &["x-hop", "connection"]),
        ),
        row(
            "S7 upgrade to h2c",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
            Backend(&["host: a"], &["upgrade", "http2-settings"]),
        ),
        row("S8 underscore", get("Host: a\r\nX_User: root\r\n"), Answer(400)),
        row(
            "P7 P8 forged origin",
            get(
                "Host: a\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-Client-Cert: x\r\nX-Mesh-Http1: 1\r\n",
            ),
            Backend(
                &["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"],
                &["1.1.1.1", "client-cert", "x-mesh"],
            ),
        ),
    ]
}

/// The start of a connection of HTTP/2, then a request of these header lines on stream 1.
fn http2(lines: &[(&str, &str)]) -> Vec<u8> {
    http2_with(lines, None)
}

fn http2_with(lines: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, 4, 0, 0, &[]);
    let chunks: Vec<&[u8]> = block.chunks(16_000).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let end_headers = if at + 1 == chunks.len() { 4 } else { 0 };
        let end_stream = u8::from(at == 0 && body.is_none());
        frame(&mut out, if at == 0 { 1 } else { 9 }, end_headers | end_stream, 1, chunk);
    }
    if let Some(body) = body {
        frame(&mut out, 0, 1, 1, body);
    }
    out
}

/// An HPACK integer with a prefix of seven bits.
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn http2_rows() -> Vec<Row> {
    let head = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        all.extend_from_slice(more);
        http2(&all)
    };
    let exactly = |authority: Option<&'static str>, scheme: &'static str, path: &'static str| {
        let mut all = vec![(":method", "GET"), (":scheme", scheme), (":path", path)];
        all.extend(authority.map(|a| (":authority", a)));
        http2(&all)
    };
    let large = "y".repeat(64 * 1024);
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let with = |more: Vec<(&str, &str)>| {
        let mut all = vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        all.extend(more);
        http2(&all)
    };
    let lengths = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        all.extend_from_slice(more);
        http2_with(&all, Some(b"abc"))
    };
    vec![
        row("B1 broken preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Refused),
        // `h2` hands `:path` over as a `PathAndQuery` of `http`, which cuts a fragment off before anybody sees it; the
        // rest is what policies are asked about and what is forwarded.
        unmet("B11 fragment", exactly(Some("a"), "http", "/a#b"), Answer(400)),
        row("B12 dots", exactly(Some("a"), "http", "/a/../b//c"), Backend(&[" /b/c\n"], &[])),
        row("B12 dots with parameters", exactly(Some("a"), "http", "/a/..;/c"), Answer(400)),
        row("B13 64 KB header", with(vec![("x", &large)]), Answer(431)),
        row("B13 101 headers", with(many.iter().map(|name| (name.as_str(), "1")).collect()), Answer(431)),
        row("B15 Host against authority", head(&[("host", "b")]), Backend(&["host: a\n"], &["host: b"])),
        row("B16 neither authority nor Host", exactly(None, "http", "/"), Answer(400)),
        row("B16 two Hosts", head(&[("host", "a"), ("host", "a")]), Answer(400)),
        row("B17 spelling of the scheme", exactly(Some("a"), "HTtP", "/"), Backend(&["host: a\n"], &[])),
        row("B17 foreign scheme", exactly(Some("a"), "ftp", "/"), Answer(400)),
        row("B17 user in the authority", exactly(Some("u@a"), "http", "/"), Answer(400)),
        row("B18 no slash", exactly(Some("a"), "http", "admin"), Refused),
        row("B19 CR in a value", head(&[("x", "a\rb")]), Refused),
        row("B19 LF in a value", head(&[("x", "a\nb")]), Refused),
        row("B19 NUL in a value", head(&[("x", "a\0b")]), Refused),
        row("B19 transfer-encoding", head(&[("transfer-encoding", "chunked")]), Refused),
        row("B19 connection", head(&[("connection", "close")]), Refused),
        row("B19 length that is not the body's", lengths(&[("content-length", "5")]), Refused),
        row("B19 differing lengths", lengths(&[("content-length", "3"), ("content-length", "4")]), Refused),
        row(
            "B20 cookie crumbs",
            head(&[("cookie", "a=1"), ("cookie", "b=2")]),
            Backend(&["cookie: a=1; b=2\n"], &[]),
        ),
        row("B20 outer blanks", head(&[("x-blank", " v ")]), Backend(&["x-blank: v\n"], &[])),
        row("S8 underscore", head(&[("x_user", "root")]), Answer(400)),
        row(
            "B14 TRACE",
            http2(&[(":method", "TRACE"), (":scheme", "http"), (":authority", "a"), (":path", "/")]),
            Answer(405),
        ),
        row("B14 CONNECT", http2(&[(":method", "CONNECT"), (":authority", "a:80")]), Answer(404)),
    ]
}

/// A gateway on loopback in front of a backend that tells what it received.
async fn listen() -> (SocketAddr, Rc<std::cell::RefCell<String>>) {
    let net = Net::default();
    let seen = Rc::new(std::cell::RefCell::new(String::new()));
    let told = Rc::clone(&seen);
    net.backend(address(1, 80), move |request| {
        let told = Rc::clone(&told);
        async move {
            use http_body_util::BodyExt;
            let (parts, body) = request.into_parts();
            let whole = body.collect().await;
            let mut text = format!("{} {}\n", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            }
            for name in whole.as_ref().ok().and_then(|b| b.trailers()).iter().flat_map(|t| t.keys()) {
                text.push_str(&format!("trailer {name}\n"));
            }
            if whole.is_ok() {
                told.borrow_mut().push_str(&text);
            }
            http::Response::new(http_body_util::Full::from("the backend's answer"))
        }
    });
    let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    let proxy = Proxy::new(&net, resources);
    let listening = mesh_rt::net::listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("a port");
    let listening = TcpListener::from_std(listening).expect("a listener");
    let at = listening.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listening.accept().await {
            let mut downstream = gateway();
            downstream.facts.source = peer.ip();
            tokio::task::spawn_local(serve(
                stream,
                downstream,
                Rc::clone(&proxy.stack),
                (std::future::pending(), std::future::pending()),
            ));
        }
    });
    (at, seen)
}

/// Sends bytes and reads until the answer is complete, the connection ends, or nothing comes.
async fn exchange(at: SocketAddr, send: &[u8], http2: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).await.expect("the gateway accepts");
    stream.write_all(send).await.expect("the gateway reads");
    let mut all = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match tokio::time::timeout(Duration::from_millis(400), stream.read(&mut buffer)).await {
            Ok(Ok(count @ 1..)) => all.extend_from_slice(&buffer[..count]),
            _ => return all,
        }
        if if http2 { status2(&all).is_some() } else { all.windows(4).any(|w| w == b"\r\n\r\n") } {
            // The backend may still be telling.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return all;
        }
    }
}

fn status1(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

/// The status in the first HEADERS frame.
fn status2(mut bytes: &[u8]) -> Option<u16> {
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = rest.get(..length)?;
        if head[3] == 1 {
            return status_field(payload);
        }
        bytes = &rest[length..];
    }
    None
}

/// `:status` as an index of the static table, or as a literal, plain or in Huffman's code (RFC 7541).
fn status_field(block: &[u8]) -> Option<u16> {
    // A change of the table's size may come first.
    let block = if block.first()? >> 5 == 1 { &block[1..] } else { block };
    let (first, rest) = block.split_first()?;
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    if (0x88..=0x8e).contains(first) {
        return Some(indexed[usize::from(first - 0x88)]);
    }
    let (length, rest) = rest.split_first()?;
    let text = rest.get(..usize::from(length & 127))?;
    if length & 128 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let (mut code, mut count, mut status, mut digits) = (0u16, 0, 0u16, 0);
    for bit in bits {
        code = code << 1 | u16::from(bit);
        count += 1;
        let digit = match (count, code) {
            (5, 0..=2) => code,
            (6, 0x19..=0x1f) => code - 0x19 + 3,
            _ => continue,
        };
        (status, code, count, digits) = (status * 10 + digit, 0, 0, digits + 1);
        if digits == 3 {
            return Some(status);
        }
    }
    None
}

async fn met(
    at: SocketAddr,
    seen: &std::cell::RefCell<String>,
    row: &Row,
    http2: bool,
) -> Result<(), String> {
    seen.borrow_mut().clear();
    let answer = exchange(at, &row.send, http2).await;
    let status = if http2 { status2(&answer) } else { status1(&answer) };
    let seen = seen.borrow();
    let wrong = |what: &str| {
        Err(format!(
            "{}: {what}: status {status:?}, backend saw {seen:?}, answer {:?}",
            row.probe,
            String::from_utf8_lossy(&answer)
        ))
    };
    match row.expect {
        Answer(expected) if status != Some(expected) => wrong(&format!("wanted {expected}")),
        Answer(_) | Refused if !seen.is_empty() => wrong("it reached the backend"),
        Refused if status.is_some_and(|status| status < 400) => wrong("wanted a refusal"),
        Backend(wanted, unwanted) => {
            let lacks = wanted.iter().find(|line| !seen.contains(**line));
            let has = unwanted.iter().find(|line| seen.contains(**line));
            match (status, lacks, has) {
                (Some(200), None, None) => Ok(()),
                (_, lacks, has) => wrong(&format!("lacks {lacks:?}, has {has:?}")),
            }
        }
        Answer(_) | Refused => Ok(()),
    }
}

fn check(rows: Vec<Row>, http2: bool) {
    on_worker(async {
        let (at, seen) = listen().await;
        let mut complaints = Vec::new();
        for row in &rows {
            match (met(at, &seen, row, http2).await, row.expected_failure) {
                (Err(complaint), false) => complaints.push(complaint),
                (Ok(()), true) => complaints.push(format!("{}: is met now, take the mark away", row.probe)),
                (Ok(()), false) | (Err(_), true) => {}
            }
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    });
}

#[test]
fn every_probe_of_http1_is_met() {
    check(http1_rows(), false);
}

#[test]
fn every_probe_of_http2_is_met() {
    check(http2_rows(), true);
}

/// A client of HTTP/1 that is refused for its framing loses its connection.
#[test]
fn b3_a_refused_framing_ends_the_connection() {
    on_worker(async {
        let (at, _) = listen().await;
        let mut stream = TcpStream::connect(at).await.expect("the gateway accepts");
        let smuggled = post(
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        stream.write_all(smuggled.as_bytes()).await.expect("the gateway reads");
        let mut all = String::new();
        stream.read_to_string(&mut all).await.expect("the gateway closes");
        assert!(all.starts_with("HTTP/1.1 400 ") && all.matches("HTTP/1.1").count() == 1, "{all}");
    });
}

#[test]
fn b21_b22_b23_every_phase_has_its_deadline() {
    in_paused_time(async {
        let net = Net::default();
        net.backend(address(1, 80), |request| async {
            let _ = http_body_util::BodyExt::collect(request.into_body()).await;
            http::Response::default()
        });
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        let slow = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na";
        let idle = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (probe, send, seconds) in [
            ("B21 silence", "", 10),
            ("B22 part of a head", "GET / HTTP/1.1\r\nHo", 10),
            ("B22 idle after a request", idle, 300),
            ("B23 slow body", slow, 60),
            (
                "B23 preface of HTTP/2, then silence",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                20,
            ),
        ] {
            let mut io = proxy.open(gateway());
            io.write_all(send.as_bytes()).await.expect("the proxy reads");
            let began = tokio::time::Instant::now();
            let mut all = Vec::new();
            tokio::time::timeout(Duration::from_secs(1000), io.read_to_end(&mut all))
                .await
                .unwrap_or_else(|_| panic!("{probe}: still open"))
                .expect("a clean end");
            let took = began.elapsed().as_secs();
            assert!((seconds..=seconds + 2).contains(&took), "{probe}: {took} s");
            if probe.ends_with("slow body") {
                assert!(all.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&all));
            }
        }
    });
}

/// Sends frames until the other side closes; whether it said GOAWAY, and how many bytes it took.
async fn flood(proxy: &Proxy, frames: impl Fn(u32) -> Vec<u8>, most: u32) -> (bool, usize) {
    let (mut reads, mut writes) = tokio::io::split(proxy.open(gateway()));
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut hello, 4, 0, 0, &[]);
    let writing = async {
        let mut taken = hello.len();
        writes.write_all(&hello).await.expect("the proxy reads");
        for n in 0..most {
            let bytes = frames(n);
            if tokio::time::timeout(Duration::from_secs(5), writes.write_all(&bytes))
                .await
                .is_ok_and(|w| w.is_ok())
            {
                taken += bytes.len();
            } else {
                break;
            }
        }
        taken
    };
    let reading = async {
        let mut all = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), reads.read_to_end(&mut all)).await;
        let mut rest = &all[..];
        let mut goaway = false;
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            goaway |= head[3] == 7;
            rest = after.get(length..).unwrap_or_default();
        }
        goaway
    };
    let (taken, goaway) = tokio::join!(writing, reading);
    (goaway, taken)
}

#[test]
fn h1_h3_h6_floods_of_http2_end_their_connection_only() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let proxy = Proxy::new(&net, resources);
        let block = b"\x82\x86\x84\x41\x01a".as_slice();
        let reset = |n: u32| {
            let mut out = Vec::new();
            frame(&mut out, 1, 5, 2 * n + 1, block);
            frame(&mut out, 3, 0, 2 * n + 1, &8u32.to_be_bytes());
            out
        };
        let continued = |n: u32| {
            let mut out = Vec::new();
            frame(
                &mut out,
                if n == 0 { 1 } else { 9 },
                0,
                1,
                &[b"\0\x01x\x7f\x80\x7f".as_slice(), &[b'y'; 16_000]].concat(),
            );
            out
        };
        let empty = |n: u32| {
            let mut out = Vec::new();
            if n == 0 {
                frame(&mut out, 1, 4, 1, block);
            }
            frame(&mut out, 0, 0, 1, &[]);
            out
        };
        let mut client = proxy.gateway2().await;
        for (what, (goaway, taken), most) in [
            ("rapid reset", flood(&proxy, reset, 100_000).await, 2 << 20),
            ("endless continuation", flood(&proxy, continued, 10_000).await, 2 << 20),
            ("empty data", flood(&proxy, empty, 200_000).await, 2 << 20),
        ] {
            assert!(goaway && taken <= most, "{what}: GOAWAY {goaway}, {taken} bytes taken");
            assert_eq!(client.get("/").await.status, 200, "another client, after {what}");
        }
    });
}

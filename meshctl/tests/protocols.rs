//! What is not plain HTTP through `meshctl up examples/tcp-udp-tls`, in namespaces and on explicit ports: TCP whose
//! server speaks first, UDP, TLS closed and opened at the gateway, gRPC both ways and WebSocket.
#![allow(clippy::disallowed_methods, reason = "a test waits by the real clock and binds real ports")]

#[path = "up/harness.rs"]
#[allow(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_tungstenite::tungstenite::Message;

use harness::{Mesh, get};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn all_protocols_pass_captured_in_namespaces() {
    let mesh = Mesh::start("tcp-udp-tls", &["--capture", "namespaces"]);
    all_protocols_pass(&mesh);
}

#[test]
fn all_protocols_pass_on_explicit_ports() {
    // Without namespaces the programs share this machine's ports, also with the meshes of other tests.
    let edit =
        |name: &str, text: String| if name == "local.yaml" { text.replace("710", "2710") } else { text };
    let mesh = Mesh::start_edited("tcp-udp-tls", &["--capture", "ports"], edit);
    all_protocols_pass(&mesh);
}

fn all_protocols_pass(mesh: &Mesh) {
    tcp_is_echoed_behind_a_prompt_greeting(listener(mesh, "quotes"));
    datagrams_come_back(listener(mesh, "clock"));
    tls_passes_closed_by_its_name(listener(mesh, "sealed"));
    tls_is_opened_for_its_name(listener(mesh, "opened"));
    let web = listener(mesh, "web");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let all = async {
            a_grpc_call_is_answered_with_trailers(web).await;
            a_grpc_stream_goes_both_ways(web).await;
            a_websocket_echoes(web).await;
        };
        tokio::time::timeout(PATIENCE * 3, all).await.expect("the answers come in time");
    });
    let (status, answer) = get(&format!("http://{web}/x"), &["Host: web.mesh.test"]);
    assert_eq!((status, &answer["name"]), (200, &"echo".into()), "{answer}");
    let (status, _) = get(&format!("http://{web}/x"), &["Host: other.mesh.test"]);
    assert_eq!(status, 404);
}

/// Where a listener of the gateway is reached.
fn listener(mesh: &Mesh, name: &str) -> SocketAddr {
    let all = mesh.report["gateways"].as_array().expect("gateways");
    let found = all.iter().find(|g| g["listener"] == name).unwrap_or_else(|| panic!("no {name} in {all:?}"));
    let url = found["url"].as_str().expect("a URL");
    url.split("://").nth(1).and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{url}"))
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

fn line(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

fn tcp_is_echoed_behind_a_prompt_greeting(to: SocketAddr) {
    let mut quickest = PATIENCE;
    for _ in 0..5 {
        let begin = Instant::now();
        let mut stream = connect(to);
        let greeting = line(&mut stream);
        quickest = quickest.min(begin.elapsed());
        assert!(["quotes v1\n", "quotes v2\n"].contains(&greeting.as_str()), "{greeting:?}");
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut writer, expected) = (stream.try_clone().expect("a second handle"), sent.clone());
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).expect("written");
            // The end of one direction must not end the other.
            writer.shutdown(Shutdown::Write).expect("half closed");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("read to the end");
        writing.join().expect("writes");
        assert!(back == expected, "{} of {} bytes came back", back.len(), expected.len());
    }
    // A proxy that waits for the client to speak first would show its whole patience every time.
    assert!(quickest < Duration::from_secs(1), "the greeting took {quickest:?}");
}

fn datagrams_come_back(to: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(to).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let large = "x".repeat(1_200);
    for text in ["one", "two", large.as_str()] {
        socket.send(text.as_bytes()).expect("sent");
        let mut buffer = [0; 2_000];
        let length = socket.recv(&mut buffer).expect("an answer");
        assert_eq!(std::str::from_utf8(&buffer[..length]).expect("text"), format!("clock {text}"));
    }
}

/// `openssl s_client`, an implementation of TLS that is none of ours: what it printed.
fn s_client(to: SocketAddr, name: &str, arguments: &[&str], say: &str, until: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &to.to_string(), "-servername", name]).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts");
    let mut stdin = child.stdin.take().expect("its input");
    // It may have ended already, when the handshake was refused.
    let _ = stdin.write_all(say.as_bytes());
    let mut out = child.stdout.take().expect("its output");
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains(until) {
        let length = out.read(&mut buffer).expect("readable");
        if length == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..length]);
    }
    let _ = child.kill();
    child.wait().expect("it ended");
    String::from_utf8_lossy(&seen).into_owned()
}

fn tls_passes_closed_by_its_name(to: SocketAddr) {
    let request = "GET /x HTTP/1.1\r\nHost: sealed.mesh.test\r\nConnection: close\r\n\r\n";
    let said = s_client(to, "sealed.mesh.test", &["-quiet"], request, "server_name");
    assert!(said.contains("200 OK") && said.contains("\"server_name\": \"sealed.mesh.test\""), "{said}");
    let said = s_client(to, "other.mesh.test", &[], "", "END CERTIFICATE");
    assert!(!said.contains("CERTIFICATE"), "a name without a route got a certificate: {said}");
}

fn tls_is_opened_for_its_name(to: SocketAddr) {
    let said = s_client(to, "opened.mesh.test", &["-quiet"], "hello\n", "hello");
    assert_eq!(said, "ledger\nhello\n");
    let said = s_client(to, "opened.mesh.test", &["-showcerts"], "", "END CERTIFICATE");
    assert!(said.contains("CN = opened.mesh.test") || said.contains("CN=opened.mesh.test"), "{said}");
}

type Messages = tokio::sync::mpsc::Sender<Bytes>;

/// Begins a gRPC call over HTTP/2 with prior knowledge.
async fn call(to: SocketAddr, method: &str) -> (Messages, http::Response<hyper::body::Incoming>) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("connects");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receive);
    let frames = frames.map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes)));
    let request = http::Request::post(format!("http://grpc.mesh.test/mesh.demo.v1.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(frames));
    let first = message("first");
    send.send(first).await.expect("room");
    if method == "Say" {
        let answer = sender.send_request(request.expect("a request"));
        // The call is unary: nothing follows its message.
        let (closed, _) = tokio::sync::mpsc::channel(1);
        drop(send);
        return (closed, answer.await.expect("an answer"));
    }
    (send, sender.send_request(request.expect("a request")).await.expect("an answer"))
}

/// A gRPC frame with a message whose first field is a text shorter than 128 bytes.
fn message(text: &str) -> Bytes {
    let length = u8::try_from(text.len()).expect("short");
    let mut frame = vec![0, 0, 0, 0, length + 2, 0x0a, length];
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

async fn a_grpc_call_is_answered_with_trailers(to: SocketAddr) {
    let (_, response) = call(to, "Say").await;
    assert_eq!(response.status(), 200, "{response:?}");
    let whole = response.into_body().collect().await.expect("an answer to its end");
    assert_eq!(whole.trailers().expect("trailers")["grpc-status"], "0");
    let bytes = whole.to_bytes();
    assert_eq!(&bytes[5..12], &message("first")[5..], "{bytes:?}");
}

async fn a_grpc_stream_goes_both_ways(to: SocketAddr) {
    let (send, response) = call(to, "Chat").await;
    let mut body = response.into_body();
    for text in ["second", "third", ""] {
        // The answer to one message comes while the request is still open.
        let frame = body.frame().await.expect("more").expect("a frame");
        assert!(frame.is_data(), "{frame:?}");
        if !text.is_empty() {
            send.send(message(text)).await.expect("room");
        }
    }
    drop(send);
    let trailers = body.frame().await.expect("more").expect("a frame").into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
}

async fn a_websocket_echoes(to: SocketAddr) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("connects");
    let client = tokio_tungstenite::client_async("ws://web.mesh.test/ws", stream).await;
    let (mut socket, _) = client.expect("the protocol changes");
    for message in [Message::text("hello"), Message::binary(vec![0, 255]), Message::text("z".repeat(100_000))]
    {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(socket.next().await.expect("more").expect("a message"), message);
    }
    socket.close(None).await.expect("closed");
}

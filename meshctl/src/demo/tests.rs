//! The sample service over real sockets on loopback, seen from its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::grpc::{EchoReply, EchoRequest, frame};
use super::{Arguments, Running, http::duration};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

fn start(arguments: &[&str]) -> (Running, SocketAddr) {
    let line = CommandLine::try_parse_from([&["demo"], arguments].concat()).unwrap();
    let running = Running::start(line.arguments).unwrap();
    let address = running.addresses[0].1;
    (running, address)
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", "reviews:9080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()
}

async fn json(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_answer_says_who_answered_and_what_arrived() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0", "--name", "reviews", "--version", "v2"]);
    let answer = json(get(address, "/reviews/0?page=1", &[("x-a", "1"), ("x-a", "2")]).await).await;
    assert_eq!(answer["name"], "reviews");
    assert_eq!(answer["version"], "v2");
    assert_eq!(answer["method"], "GET");
    assert_eq!(answer["path"], "/reviews/0?page=1");
    assert_eq!(answer["protocol"], "HTTP/1.1");
    assert_eq!(answer["headers"]["x-a"], "1, 2");
    assert_eq!(answer["headers"]["host"], "reviews:9080");
}

#[tokio::test]
async fn downstreams_are_called_and_get_trace_and_cohort_but_nothing_else() {
    let (_ratings, ratings) = start(&["--listen", "127.0.0.1:0", "--name", "ratings"]);
    let call = format!("ratings=http://{ratings}/ratings/0");
    let (_reviews, reviews) = start(&["--listen", "127.0.0.1:0", "--call", &call]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("traceparent", parent), ("tracestate", "a=b"), ("x-cohort", "beta"), ("cookie", "secret")];
    for _ in 0..3 {
        let answer = json(get(reviews, "/", &headers).await).await;
        let call = &answer["calls"][0];
        assert_eq!(call["status"], 200);
        assert_eq!(call["answer"]["path"], "/ratings/0");
        let seen = &call["answer"]["headers"];
        assert_eq!(seen["traceparent"], parent);
        assert_eq!(seen["tracestate"], "a=b");
        assert_eq!(seen["x-cohort"], "beta");
        assert_eq!(seen["host"], ratings.to_string());
        assert_eq!(seen["cookie"], Value::Null);
    }
}

#[tokio::test]
async fn a_downstream_that_is_not_there_is_an_error_in_the_answer() {
    let (gone, address) = start(&["--listen", "127.0.0.1:0"]);
    gone.stop().await;
    let call = format!("ratings=http://{address}/");
    let (_running, reviews) = start(&["--listen", "127.0.0.1:0", "--call", &call]);
    let answer = json(get(reviews, "/", &[]).await).await;
    assert!(answer["calls"][0]["error"].as_str().unwrap().contains(&address.to_string()), "{answer}");
}

#[tokio::test]
async fn a_downstream_that_restarts_is_called_again() {
    let (first, address) = start(&["--listen", "127.0.0.1:0"]);
    let call = format!("ratings=http://{address}/");
    let (_running, reviews) = start(&["--listen", "127.0.0.1:0", "--call", &call]);
    assert_eq!(json(get(reviews, "/", &[]).await).await["calls"][0]["status"], 200);
    first.stop().await;
    let (_second, _) = start(&["--listen", &address.to_string(), "--name", "second"]);
    assert_eq!(json(get(reviews, "/", &[]).await).await["calls"][0]["answer"]["name"], "second");
}

#[tokio::test]
async fn paths_misbehave_as_asked() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    let status = async |path: &str| get(address, path, &[]).await.status().as_u16();
    assert_eq!(status("/status/503").await, 503);
    assert_eq!(status("/status/204").await, 204);
    assert_eq!(status("/status/100").await, 400);
    assert_eq!(status("/status/many").await, 400);
    assert_eq!(status("/delay/1ms").await, 200);
    assert_eq!(status("/delay/1h").await, 400);
    assert_eq!((status("/fail-once?a").await, status("/fail-once?a").await), (503, 200));
    assert_eq!((status("/fail-once?b").await, status("/fail-once?b").await), (503, 200));
    let body = get(address, "/bytes/100001", &[]).await.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 100_001);
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
    assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
    assert_eq!(duration("2"), None);
    assert_eq!(duration("-1s"), None);
}

type Http2 =
    hyper::client::conn::http2::SendRequest<http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>>;

async fn http2(address: SocketAddr) -> Http2 {
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A gRPC request whose messages come from the channel.
fn grpc(
    method: &str,
) -> (tokio::sync::mpsc::Sender<Bytes>, Request<impl hyper::body::Body<Data = Bytes, Error = hyper::Error>>) {
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receive).map(|bytes| Ok(Frame::data(bytes)));
    let request = Request::post(format!("http://echo/mesh.demo.v1.Echo/{method}"));
    let request =
        request.header("content-type", "application/grpc").header("te", "trailers").header("x-a", "1");
    (send, request.body(StreamBody::new(frames)).unwrap())
}

fn say(message: &str) -> Bytes {
    frame(&EchoRequest { message: message.to_owned() })
}

#[tokio::test]
async fn http2_without_tls_shares_the_port() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    let mut sender = http2(address).await;
    let request = Request::get("http://reviews:9080/a")
        .body(http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync());
    let answer = json(sender.send_request(request.unwrap()).await.unwrap()).await;
    assert_eq!(answer["protocol"], "HTTP/2.0");
    assert_eq!(answer["headers"]["host"], "reviews:9080");
}

#[tokio::test]
async fn a_unary_call_is_answered_with_trailers() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0", "--name", "echo"]);
    let (send, request) = grpc("Say");
    send.send(say("hello")).await.unwrap();
    drop(send);
    let response = http2(address).await.send_request(request.map(|body| body.boxed_unsync())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let whole = response.into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
    let reply = EchoReply::decode(&whole.to_bytes()[5..]).unwrap();
    assert_eq!((reply.message.as_str(), reply.name.as_str()), ("hello", "echo"));
    assert_eq!(reply.headers["x-a"], "1");
}

#[tokio::test]
async fn an_unknown_method_and_a_truncated_message_end_with_their_status() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    for (method, message, status) in
        [("Shout", say("a"), "12"), ("Say", say("abc").slice(..6), "3"), ("Say", Bytes::new(), "3")]
    {
        let (send, request) = grpc(method);
        send.send(message).await.unwrap();
        drop(send);
        let response =
            http2(address).await.send_request(request.map(|body| body.boxed_unsync())).await.unwrap();
        let whole = response.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], status, "{method}");
    }
}

#[tokio::test]
async fn a_stream_is_answered_message_by_message() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    let (send, request) = grpc("Chat");
    let response = http2(address).await.send_request(request.map(|body| body.boxed_unsync())).await.unwrap();
    let mut body = response.into_body();
    for word in ["one", "two", "three"] {
        // The answer comes before the next message is sent, and a message may come in pieces.
        let (head, tail) = (say(word).slice(..3), say(word).slice(3..));
        send.send(head).await.unwrap();
        send.send(tail).await.unwrap();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(EchoReply::decode(&piece[5..]).unwrap().message, word);
    }
    drop(send);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_websocket_echoes_text_and_bytes() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get("/ws").header("host", "echo");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    // The example of RFC 6455, section 1.3.
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

#[tokio::test]
async fn tcp_and_udp_echo_behind_their_greeting() {
    let (running, _) = start(&["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--greeting", "hi"]);
    let [("tcp", tcp), ("udp", udp)] = running.addresses[..] else { panic!("{:?}", running.addresses) };
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    let mut buffer = [0; 3];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hi\n", "the server speaks first");
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"abc");
    let socket =
        UdpSocket::from_std(mesh_rt::net::bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap()).unwrap();
    socket.send_to(b"abc", udp).await.unwrap();
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"hi abc");
}

#[tokio::test]
async fn tls_shows_a_certificate_for_the_name_and_tells_what_was_agreed() {
    let (_running, address) = start(&["--tls", "127.0.0.1:0", "--name", "secure.test"]);
    let seen = Arc::new(Accepting(std::sync::Mutex::default()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(seen.clone()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from("secure.test").unwrap();
    let stream = connector.connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "secure.test").body(Full::<Bytes>::default()).unwrap();
    let answer = json(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answer["tls"]["server_name"], "secure.test");
    assert_eq!(answer["tls"]["protocol"], "http/1.1");
    assert_eq!(seen.0.lock().unwrap().as_slice(), ["secure.test"]);
}

/// Accepts the certificate and notes the name that it is good for.
#[derive(Debug)]
struct Accepting(std::sync::Mutex<Vec<String>>);

impl rustls::client::danger::ServerCertVerifier for Accepting {
    fn verify_server_cert(
        &self,
        certificate: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        name: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, name)?;
        self.0.lock().unwrap().push(name.to_str().into_owned());
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_accepts_nothing_more() {
    let (running, address) = start(&["--listen", "127.0.0.1:0"]);
    let slow = tokio::spawn(async move { get(address, "/delay/200ms", &[]).await.status() });
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut buffer = BytesMut::with_capacity(1024);
    idle.read_buf(&mut buffer).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.stop().await;
    assert_eq!(slow.await.unwrap(), StatusCode::OK);
    assert_eq!(idle.read_buf(&mut buffer).await.unwrap(), 0, "an idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn arguments_that_cannot_work_are_refused() {
    let refused = |arguments: &[&str]| {
        CommandLine::try_parse_from([&["demo"], arguments].concat()).err().map(|e| e.to_string())
    };
    assert!(refused(&["--call", "ratings"]).unwrap().contains("NAME=http://"));
    assert!(refused(&["--call", "ratings=https://ratings/"]).unwrap().contains("only http://"));
    assert!(refused(&["--tls-cert", "a.pem"]).unwrap().contains("--tls-key"));
    assert!(refused(&["--call", "ratings=http://ratings:9080/ratings/0"]).is_none());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_running, address) = start(&["--listen", "127.0.0.1:0"]);
    let line = CommandLine::parse_from(["demo", "--listen", &address.to_string()]);
    let error = Running::start(line.arguments).err().unwrap().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    let nothing = CommandLine::parse_from(["demo"]);
    assert!(Running::start(nothing.arguments).is_err());
}

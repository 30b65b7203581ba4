//! Questions of the kubelet about the application, asked in its stead: it has no identity, so a strict port would not let
//! it in. As the kubelet does, certificates are not looked at, and any status below 400 is good.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest answer of a health service.
const LONGEST: usize = 64 << 10;

/// Questions by `<container>/<question>`.
pub type Probes = BTreeMap<String, Probe>;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// What is asked.
    pub kind: Kind,
    /// At which port of the pod.
    pub port: u16,
    /// The path of a request.
    #[serde(default)]
    pub path: String,
    /// Header lines of a request.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The service of which a gRPC server is asked.
    #[serde(default)]
    pub service: String,
    /// How long the answer may take.
    pub timeout_seconds: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `grpc.health.v1.Health/Check`.
    Grpc,
    /// A GET.
    Http,
    /// A GET over TLS.
    Https,
    /// Whether the port is open.
    Tcp,
}

impl Probe {
    /// Asks the application at an address of the pod. The status is what the kubelet gets.
    pub(super) async fn ask(&self, pod: IpAddr) -> (StatusCode, String) {
        let limit = Duration::from_secs(self.timeout_seconds.into());
        match tokio::time::timeout(limit, self.answer(SocketAddr::new(pod, self.port))).await {
            Ok(Ok(status)) => (status, format!("the application says {status}\n")),
            Ok(Err(problem)) => (StatusCode::BAD_GATEWAY, format!("the application: {problem}\n")),
            Err(_) => (StatusCode::GATEWAY_TIMEOUT, format!("no answer within {limit:?}\n")),
        }
    }

    async fn answer(&self, at: SocketAddr) -> io::Result<StatusCode> {
        let stream = TcpStream::connect(at).await?;
        match self.kind {
            Kind::Grpc => self.health(at, stream).await,
            Kind::Http => self.get(at, stream).await,
            Kind::Https => {
                let name = ServerName::from(at.ip());
                self.get(at, TlsConnector::from(any_certificate()?).connect(name, stream).await?).await
            }
            Kind::Tcp => Ok(StatusCode::OK),
        }
    }

    async fn get<S>(&self, at: SocketAddr, stream: S) -> io::Result<StatusCode>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut request = Request::get(&self.path).header(USER_AGENT, "kube-probe/mesh");
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str())) {
            request = request.header(HOST, at.to_string());
        }
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Full::<Bytes>::default()).map_err(io::Error::other)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let status = sender.send_request(request).await.map(|answer| answer.status());
        connection.abort();
        let status = status.map_err(io::Error::other)?;
        // Where a redirection leads is not asked: that it was answered is enough.
        Ok(if status.is_redirection() { StatusCode::OK } else { status })
    }

    async fn health(&self, at: SocketAddr, stream: TcpStream) -> io::Result<StatusCode> {
        let request = Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(health_request(&self.service)))
            .map_err(io::Error::other)?;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let answer = async {
            let answer = sender.send_request(request).await.map_err(io::Error::other)?;
            let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(body.to_bytes())
        };
        let answer = answer.await;
        connection.abort();
        let serves = is_serving(&answer?);
        Ok(if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    }
}

/// A message `HealthCheckRequest` in its frame: the service is field 1.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if let (false, Ok(length)) = (service.is_empty(), u8::try_from(service.len())) {
        // Names are shorter than 128 bytes: the length is one byte.
        message.extend([0x0a, length & 0x7f]);
        message.extend(service.as_bytes().iter().take((length & 0x7f).into()));
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// Whether a frame holds a `HealthCheckResponse` with status SERVING, which is field 1 with value 1.
fn is_serving(frame: &[u8]) -> bool {
    frame.get(5..).is_some_and(|message| message.starts_with(&[0x08, 0x01]))
}

fn any_certificate() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(schemes)));
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Takes any certificate: the question is whether the application answers, not who it is, and nothing secret is sent.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn probe(kind: Kind, port: u16) -> Probe {
        let headers = vec![("x-a".to_owned(), "b".to_owned())];
        Probe { kind, port, path: "/ok".to_owned(), headers, service: String::new(), timeout_seconds: 5 }
    }

    fn listener() -> TcpListener {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = mesh_rt::net::listen_tcp(at, false).expect("a port");
        TcpListener::from_std(listener).expect("a runtime")
    }

    /// An application that answers one connection with these bytes; returns what it was asked.
    async fn application(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = listener();
        let port = listener.local_addr().expect("bound").port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.expect("a question");
            stream.write_all(answer).await.expect("an answer");
            asked.truncate(length);
            asked
        });
        (port, task)
    }

    #[tokio::test]
    async fn the_answer_of_the_application_is_the_answer() {
        let table: [(&[u8], StatusCode); 3] = [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", StatusCode::OK),
            (b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", StatusCode::OK),
            (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", StatusCode::INTERNAL_SERVER_ERROR),
        ];
        for (answer, expected) in table {
            let (port, task) = application(answer).await;
            let (status, _) = probe(Kind::Http, port).ask(IpAddr::from([127, 0, 0, 1])).await;
            assert_eq!(status, expected);
            let asked = String::from_utf8(task.await.expect("it ends")).expect("text");
            assert!(asked.starts_with("GET /ok HTTP/1.1\r\n") && asked.contains("x-a: b"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_fails_and_an_open_one_is_enough_for_tcp() {
        let listener = listener();
        let port = listener.local_addr().expect("bound").port();
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(probe(Kind::Tcp, port).ask(here).await.0, StatusCode::OK);
        drop(listener);
        assert_eq!(probe(Kind::Tcp, port).ask(here).await.0, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn health_messages_have_their_form() {
        assert_eq!(health_request(""), [0, 0, 0, 0, 0].as_slice());
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b'].as_slice());
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 2, 8, 2]) && !is_serving(&[0, 0, 0, 0, 0]) && !is_serving(&[]));
    }
}

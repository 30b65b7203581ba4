//! An API server as JSON over HTTP: one call at a time, each on a connection of its own, which is enough for
//! somebody who waits at a terminal.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value as Json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Connection;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers longer than this are not read.
const LONGEST: usize = 64 << 20;
/// The form of answers.
const JSON: &str = "application/json";
/// The form of lists without what the objects hold.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// Certificates of public authorities, for a kubeconfig that names none.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An API server.
#[derive(Clone)]
pub struct Api {
    host: String,
    port: u16,
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Json,
    /// The server's clock, as its `Date` header writes it.
    pub date: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The connection's settings cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Settings(String),
    /// The server said no.
    #[error("{what}: {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// The status code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// Nothing came back.
    #[error("the API server at {server} does not answer: {problem}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What went wrong.
        problem: String,
    },
}

impl CallError {
    /// The status code of a server that answered.
    pub const fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Settings(_) | Self::Unreachable { .. } => None,
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({}:{})", self.host, self.port)
    }
}

impl Api {
    /// The server of a connection. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address or certificates cannot be used.
    pub fn new(connection: &Connection) -> Result<Self, CallError> {
        let unusable = |what: &str| CallError::Settings(format!("{what} in {:?}", connection.server));
        let uri: Uri = connection.server.parse().map_err(|_| unusable("no address"))?;
        let host = uri.host().ok_or_else(|| unusable("no host"))?.trim_matches(['[', ']']).to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(unusable("neither http nor https")),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = secure.then(|| tls(connection, &host)).transpose().map_err(CallError::Settings)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let authorization = connection.token.as_ref().map(|token| format!("Bearer {token}"));
        Ok(Self { host, port, prefix, tls, authorization })
    }

    /// Reads.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::GET, path, JSON, None).await
    }

    /// Whether a list has any object. What the objects hold is not sent.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn has_any(&self, path: &str) -> Result<bool, CallError> {
        let answer = self.call(Method::GET, path, METADATA, None).await?;
        Ok(answer.body["items"].as_array().is_some_and(|items| !items.is_empty()))
    }

    /// Reads what may not be there.
    ///
    /// # Errors
    /// When the server does not answer, or answers neither with success nor that there is none.
    pub async fn find(&self, path: &str) -> Result<Option<Json>, CallError> {
        match self.get(path).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object below a path.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn create(&self, path: &str, object: &Json) -> Result<Answer, CallError> {
        self.call(Method::POST, path, JSON, Some((JSON, object))).await
    }

    /// Applies the fields of an object; fields that another tool manages are a conflict.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn apply(&self, path: &str, object: &Json) -> Result<Answer, CallError> {
        let path = format!("{path}?fieldManager=meshctl");
        self.call(Method::PATCH, &path, JSON, Some(("application/apply-patch+yaml", object))).await
    }

    /// Changes some fields of an object (RFC 7396); a `resourceVersion` among them makes it the condition.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn merge(&self, path: &str, change: &Json) -> Result<Answer, CallError> {
        self.call(Method::PATCH, path, JSON, Some(("application/merge-patch+json", change))).await
    }

    /// Removes an object.
    ///
    /// # Errors
    /// When the server does not answer, or not with success.
    pub async fn delete(&self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::DELETE, path, JSON, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Json)>,
    ) -> Result<Answer, CallError> {
        let what = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.prefix));
        request = request.header(header::HOST, self.authority()).header(header::ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut bytes = Bytes::new();
        if let Some((kind, value)) = body {
            request = request.header(header::CONTENT_TYPE, kind);
            bytes = value.to_string().into();
        }
        let request =
            request.body(Full::new(bytes)).map_err(|error| CallError::Settings(error.to_string()))?;
        let unreachable = |problem: String| CallError::Unreachable { server: self.authority(), problem };
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let answer = answer.map_err(|_| unreachable("no answer in time".to_owned()))?.map_err(unreachable)?;
        if answer.code < 300 {
            return Ok(answer);
        }
        let message = answer.body["message"].as_str().map(str::to_owned);
        let message = message.unwrap_or_else(|| format!("status {}", answer.code));
        Err(CallError::Refused { what, code: answer.code, message })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| e.to_string())?;
        match &self.tls {
            None => exchange(TokioIo::new(stream), request).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|e| e.to_string())?;
                exchange(TokioIo::new(stream), request).await
            }
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| error.to_string())?.to_bytes();
    driver.abort();
    let date = head.headers.get(header::DATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // A refusal by something before the API server need not be JSON.
    let body = serde_json::from_slice(&body).unwrap_or(Json::Null);
    Ok(Answer { code: head.status.as_u16(), body, date })
}

fn tls(connection: &Connection, host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let pem = match &connection.authorities {
        Some(pem) => pem.clone(),
        None => std::fs::read(SYSTEM_ROOTS).map_err(|error| {
            format!("it names no certificate-authority, and {SYSTEM_ROOTS} cannot be read: {error}")
        })?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("certificate-authority: {error}"))?;
        // A file of public roots may hold some that are not understood.
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let config = match &connection.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let chain = chain.map_err(|error| format!("client-certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client-key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    let name = connection.server_name.clone().unwrap_or_else(|| host.to_owned());
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

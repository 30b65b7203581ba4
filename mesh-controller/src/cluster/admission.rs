//! The port at which the API server asks about new pods. It changes nothing and knows no secret, so it may be asked by
//! anybody; what is answered is decided by [`crate::inject`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_model::ObjectName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Api;
use crate::controller::View;
use crate::inject::{Because, Decision, Injection, Question, answer};
use crate::objects::Namespace;
use crate::objects::meta::TextMap;

/// Where questions about pods go.
pub(super) const PATH: &str = "/inject";
/// Longest question in bytes: twice what an API server stores.
const LONGEST: usize = 3 << 20;
/// Longest time for a handshake, a head, and a question.
const WITHIN: Duration = Duration::from_secs(10);
/// Connections at a time.
const CONNECTIONS: usize = 256;

/// What answers are made from.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) api: Api,
    pub(super) settings: Arc<Injection>,
    pub(super) view: watch::Receiver<View>,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, admission: Admission) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, admission) = (acceptor.clone(), admission.clone());
        tokio::spawn(async move {
            connection(acceptor, stream, admission).await;
            drop(place);
        });
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, admission: Admission) {
    let Ok(Ok(stream)) = tokio::time::timeout(WITHIN, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let admission = admission.clone();
        async move { Ok::<_, Infallible>(admission.answer(request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(WITHIN);
    // The client may leave at any time.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

impl Admission {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if (request.method(), request.uri().path()) != (&Method::POST, PATH) {
            return text(StatusCode::NOT_FOUND, format!("questions are posted to {PATH}\n"));
        }
        let body = Limited::new(request.into_body(), LONGEST).collect();
        let body = match tokio::time::timeout(WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the question did not come\n".to_owned()),
        };
        let question = match Question::read(&body) {
            Ok(question) => question,
            Err(why) => {
                tracing::warn!(why, "a question of the webhook cannot be answered");
                return text(StatusCode::BAD_REQUEST, format!("{why}\n"));
            }
        };
        let (review, decision) = self.decide(&question).await;
        let namespace = question.namespace.as_str();
        match &decision {
            Decision::Inject(_) => tracing::info!(namespace, "a pod gets a sidecar"),
            Decision::Leave(because) => tracing::info!(namespace, %because, "a pod gets no sidecar"),
            Decision::Refuse(why) => tracing::warn!(namespace, why, "a pod is refused"),
        }
        let mut response = text(StatusCode::OK, review.to_string());
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }

    /// The server asks only about pods that are to have a sidecar. Where we see it otherwise, a label may be younger than
    /// what we have heard of, so the namespace is read once more.
    async fn decide(&self, question: &Question) -> (serde_json::Value, Decision) {
        let known = answer(question, &self.labels(&question.namespace), &self.settings);
        let unsure = matches!(
            known.1,
            Decision::Leave(Because::NotAsked | Because::OnNode | Because::OptedOut | Because::OtherRevision)
        );
        if !unsure {
            return known;
        }
        match self.api.get(&format!("/api/v1/namespaces/{}", question.namespace)).await {
            Ok(namespace) => {
                let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
                let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
                answer(question, &labels, &self.settings)
            }
            Err(_) => known,
        }
    }

    fn labels(&self, namespace: &str) -> TextMap {
        let view = self.view.borrow();
        let object = view.store.one::<Namespace>(&ObjectName::new("", namespace));
        object.map(|(_, namespace)| namespace.metadata.labels.clone()).unwrap_or_default()
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

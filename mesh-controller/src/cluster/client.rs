//! The API server as JSON over HTTP: one call, or a watch. What is asked is up to the callers; no type of the
//! Kubernetes client leaves this file.

use std::fmt;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use http::{Method, Request};
use kube::core::WatchEvent;
use serde_json::Value;

/// How long a call may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API server. A copy shares its connections.
#[derive(Clone)]
pub(crate) struct Api(kube::Client);

/// Why a call failed, as far as a caller acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The object exists, or is not the version that was named (409).
    Conflict,
    /// This account may not (401, 403).
    Forbidden,
    /// The version that a watch or list was to start from is forgotten (410).
    Gone,
    /// There is no such object or kind (404).
    NotFound,
    /// The request is wrong and will stay so (400, 405, 413, 415, 422).
    Refused,
    /// Nothing came back, or that the server is busy or broken: try again.
    Unavailable,
}

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {text}")]
pub(crate) struct CallError {
    what: String,
    text: String,
    fault: Fault,
    fields: Vec<String>,
}

impl CallError {
    pub(crate) fn new(what: impl Into<String>, fault: Fault, text: impl Into<String>) -> Self {
        Self { what: what.into(), text: text.into(), fault, fields: Vec::new() }
    }

    /// What a caller can do about it.
    pub(crate) const fn fault(&self) -> Fault {
        self.fault
    }

    /// The fields that the server names, in one text.
    pub(crate) fn fields(&self) -> String {
        self.fields.join(", ")
    }

    fn of(what: String, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let fields =
                    causes.map(|cause| cause.field.clone()).filter(|field| !field.is_empty()).collect();
                Self { what, text: status.message.clone(), fault: fault(status.code), fields }
            }
            other => Self::new(what, Fault::Unavailable, chain(other)),
        }
    }
}

/// An error with what it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

const fn fault(code: u16) -> Fault {
    match code {
        401 | 403 => Fault::Forbidden,
        404 => Fault::NotFound,
        409 => Fault::Conflict,
        410 => Fault::Gone,
        400 | 405 | 413 | 415 | 422 => Fault::Refused,
        _ => Fault::Unavailable,
    }
}

/// One message of a watch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Everything up to this version has been sent.
    Bookmark(String),
    /// The object is gone; this was its last state.
    Deleted(Value),
    /// The object is new or changed.
    Set(Value),
}

impl Api {
    /// The API server of the pod that this runs in, or of the user's kubeconfig.
    ///
    /// # Errors
    /// When neither is there, or its credentials cannot be read.
    pub(crate) async fn connect() -> Result<Self, CallError> {
        let failed = |error: &dyn std::error::Error| {
            CallError::new("the API server is not known", Fault::Unavailable, chain(error))
        };
        let mut config = kube::Config::infer().await.map_err(|error| failed(&error))?;
        // Each caller has its own idea of when to try again.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        kube::Client::try_from(config).map(Self).map_err(|error| failed(&error))
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, None).await
    }

    /// Makes an object below a path.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, CallError> {
        self.call(Method::POST, path, Some(("application/json", object))).await
    }

    /// Replaces an object; its `resourceVersion` fences the write.
    pub(crate) async fn replace(&self, path: &str, object: &Value) -> Result<Value, CallError> {
        self.call(Method::PUT, path, Some(("application/json", object))).await
    }

    /// Server-side apply of the fields that are ours. `path` may end in `/status`.
    pub(crate) async fn apply(&self, path: &str, object: &Value) -> Result<Value, CallError> {
        let path = format!("{path}?fieldManager={}&force=true", super::FIELD_OWNER);
        self.call(Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await
    }

    /// Changes some fields (RFC 7396); a `resourceVersion` among them fences the write.
    pub(crate) async fn merge(&self, path: &str, change: &Value) -> Result<Value, CallError> {
        self.call(Method::PATCH, path, Some(("application/merge-patch+json", change))).await
    }

    /// Removes an object.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::DELETE, path, None).await
    }

    /// Removes this object and none that has taken its name since.
    pub(crate) async fn delete_exact(&self, path: &str, uid: &str) -> Result<Value, CallError> {
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid },
        });
        self.call(Method::DELETE, path, Some(("application/json", &options))).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, CallError> {
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(path);
        let (request, bytes) = match body {
            Some((kind, value)) => (request.header("content-type", kind), value.to_string().into_bytes()),
            None => (request, Vec::new()),
        };
        let request = request.header("accept", "application/json").body(bytes);
        let request = request.map_err(|error| CallError::new(&*what, Fault::Refused, error.to_string()))?;
        match tokio::time::timeout(PATIENCE, self.0.request(request)).await {
            Ok(outcome) => outcome.map_err(|error| CallError::of(what, &error)),
            Err(_) => Err(CallError::new(what, Fault::Unavailable, "no answer in time")),
        }
    }

    /// Follows what changes below a path, which names the version to start from. The stream ends when the
    /// server ends it, or after its first error.
    pub(crate) async fn watch(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + Send + use<>, CallError> {
        self.follow(path, "application/json").await
    }

    /// As [`Api::watch`], with the metadata of each object alone.
    pub(crate) async fn watch_metadata(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + Send + use<>, CallError> {
        self.follow(path, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await
    }

    async fn follow(
        &self,
        path: &str,
        form: &str,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + Send + use<>, CallError> {
        let what = format!("WATCH {path}");
        let request = Request::get(path).header("accept", form).body(Vec::new());
        let request = request.map_err(|error| CallError::new(&*what, Fault::Refused, error.to_string()))?;
        let opening = tokio::time::timeout(PATIENCE, self.0.request_events::<Value>(request)).await;
        let events = match opening {
            Ok(outcome) => outcome.map_err(|error| CallError::of(what.clone(), &error))?,
            Err(_) => return Err(CallError::new(what, Fault::Unavailable, "no answer in time")),
        };
        Ok(events.map(move |event: Result<WatchEvent<Value>, kube::Error>| match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Ok(Event::Set(object)),
            Ok(WatchEvent::Deleted(object)) => Ok(Event::Deleted(object)),
            Ok(WatchEvent::Bookmark(mark)) => Ok(Event::Bookmark(mark.metadata.resource_version)),
            Ok(WatchEvent::Error(status)) => {
                Err(CallError::new(&*what, fault(status.code), status.message.clone()))
            }
            Err(error) => Err(CallError::of(what.clone(), &error)),
        }))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! An API server in the test: a function from a request to an answer.

    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::Api;

    /// A request as the server sees it.
    #[derive(Debug, Clone)]
    pub(crate) struct Call {
        pub(crate) method: String,
        pub(crate) path: String,
        pub(crate) query: String,
        pub(crate) body: Value,
    }

    /// What the server answers: a status and a text.
    pub(crate) type Answer = (u16, String);

    /// An answer with a value.
    pub(crate) fn ok(value: Value) -> Answer {
        (200, value.to_string())
    }

    /// A failure in the server's form.
    pub(crate) fn status(code: u16) -> Answer {
        let value = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "message": format!("answered {code}"), "reason": "Test"});
        (code, value.to_string())
    }

    /// The messages of a watch, which ends after them.
    pub(crate) fn watch(messages: &[Value]) -> Answer {
        (200, messages.iter().map(|message| format!("{message}\n")).collect())
    }

    /// A server, and what it was asked.
    pub(crate) fn server(
        answer: impl FnMut(&Call) -> Answer + Send + 'static,
    ) -> (Api, Arc<Mutex<Vec<Call>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&calls), Arc::new(Mutex::new(answer)));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.expect("a body").to_bytes();
                let call = Call {
                    method: head.method.to_string(),
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&bytes).unwrap_or_default(),
                };
                seen.lock().expect("no panic before").push(call.clone());
                let (code, text) = (answer.lock().expect("no panic before"))(&call);
                let mut response = Response::new(Body::from(text.into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code).expect("a status");
                Ok::<_, Infallible>(response)
            }
        });
        (Api(kube::Client::new(service, "default")), calls)
    }
}

//! What the layers have in common: a service that has each request judged before the one behind sees it.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response, StatusCode};
use mesh_model::{ConnectionFacts, Reason, RequestHead};
use mesh_proxy::http::head::Sender;
use tower_service::Service;

use crate::read::{Head, refusal, unreadable};

/// Decides about requests.
pub trait Judge {
    /// What a request that passes carries among its extensions.
    type Decision: Clone + Send + Sync + 'static;

    /// Whose requests these are: what their heads may say follows from it.
    const SENDER: Sender;

    /// The decision, or the answer to a request that does not pass.
    ///
    /// # Errors
    /// The answer.
    fn judge<R: Default>(
        &self,
        facts: &ConnectionFacts,
        head: &RequestHead<'_>,
    ) -> Result<Self::Decision, Box<Response<R>>>;
}

/// A service behind a judge.
#[derive(Debug, Clone)]
pub struct Gate<J, S> {
    judge: J,
    inner: S,
}

impl<J: Judge, S> Gate<J, S> {
    pub(crate) fn new(judge: J, inner: S) -> Self {
        Self { judge, inner }
    }

    fn admit<B, R: Default>(&self, request: Request<B>) -> Result<Request<B>, Box<Response<R>>> {
        let (mut parts, body) = request.into_parts();
        let facts = parts.extensions.get::<ConnectionFacts>().cloned();
        // Who does not say where a request came from cannot have it judged, and a server name that protects something
        // would not be asked about.
        let facts =
            facts.ok_or_else(|| Box::new(refusal(StatusCode::FORBIDDEN, Reason::IdentityRequired)))?;
        let failed = |error| Box::new(unreadable(&error));
        let head = Head::read(&mut parts, J::SENDER).map_err(failed)?;
        let decision = self.judge.judge(&facts, &head.view())?;
        head.finish().map_err(failed)?;
        parts.extensions.insert(decision);
        Ok(Request::from_parts(parts, body))
    }
}

impl<J, S, B, R> Service<Request<B>> for Gate<J, S>
where
    J: Judge,
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.admit(request) {
            Ok(request) => Either::Left(self.inner.call(request)),
            Err(refusal) => Either::Right(ready(Ok(*refusal))),
        }
    }
}

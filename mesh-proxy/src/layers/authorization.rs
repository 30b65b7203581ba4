//! Asks an authorization service about a request (Gateway API, `HTTPExternalAuthFilter`). Whatever is not a clear
//! yes refuses: no answer, a late one, one that cannot be carried out.

mod grpc;
mod plain;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use mesh_model::backend::Target;
use mesh_model::filter::{AuthProtocol, ExternalAuth};

use super::exchange::exchange;
use super::forward::Plan;
use super::limits::within;
use crate::http::body::{Body, Unread};
use crate::http::call::Call;
use crate::http::{Downstream, Error, Stack};
use crate::upstream::Connect;
use mesh_filters::grant::Grant;

/// How long a service may take, all tries together.
const LONGEST: Duration = Duration::from_secs(5);

/// What a service said.
pub(crate) enum Outcome {
    /// The request may pass; the answer to the client gets these headers.
    Allowed(HeaderMap),
    /// The client gets this answer instead.
    Refused(Response<Body>),
}

/// What is asked, beside the request itself.
pub(crate) struct Question<'a> {
    pub(crate) auth: &'a ExternalAuth,
    pub(crate) downstream: &'a Downstream,
    /// What names the request in the service's logs.
    pub(crate) id: String,
}

/// Asks, and changes the request as the service wants.
///
/// # Errors
/// The request must not pass, and the service did not say so itself.
pub(crate) async fn ask<C: Connect>(
    stack: &Stack<C>,
    question: &Question<'_>,
    call: &mut Call,
) -> Result<Outcome, Error> {
    let auth = question.auth;
    let Target::Service { service, port } = &auth.target else { return Err(Error::NoBackend) };
    let body = read_body(stack, auth, call).await?;
    let grpc = matches!(auth.protocol, AuthProtocol::Grpc { .. });
    let plan = Plan::own((service, *port), grpc, &question.downstream.scope);
    let said = within(Some(LONGEST), pin!(put(stack, &plan, question, body, call))).await;
    match said {
        Ok(Said::Allowed(grant)) => {
            let head = &mut call.head;
            let granted = grant.apply(&mut head.headers, &mut head.uri).map_err(|_| Error::Authorizer)?;
            Ok(Outcome::Allowed(granted))
        }
        Ok(Said::Refused(answer)) => Ok(Outcome::Refused(answer)),
        Err(_) => Err(Error::Authorizer),
    }
}

/// An answer that could be read.
enum Said {
    Allowed(Grant),
    Refused(Response<Body>),
}

/// Puts the question in the service's protocol and reads the answer.
async fn put<C: Connect>(
    stack: &Stack<C>,
    plan: &Plan<'_>,
    question: &Question<'_>,
    body: Bytes,
    call: &Call,
) -> Result<Said, Error> {
    match &question.auth.protocol {
        AuthProtocol::Grpc { allowed } => {
            let authority = stack.mesh.current().authority_of(plan.service, plan.port);
            let message = grpc::message(question, stack.observer.wall(), (allowed, body), call);
            let answer = exchange(stack, plan, grpc::head(&authority)?, message).await?;
            grpc::read(answer, call.is_grpc())
        }
        AuthProtocol::Http { prefix, allowed, taken } => {
            let head = plain::head(&call.head, prefix, allowed, body.len())?;
            let answer = exchange(stack, plan, head, body).await?;
            plain::read(answer, taken, call.is_grpc())
        }
    }
}

/// The body that the service sees; it is kept for the backend.
async fn read_body<C: Connect>(
    stack: &Stack<C>,
    auth: &ExternalAuth,
    call: &mut Call,
) -> Result<Bytes, Error> {
    let (Some(received), true) = (&mut call.body, auth.max_body > 0) else { return Ok(Bytes::new()) };
    let read = received.read_ahead(auth.max_body as usize);
    match tokio::time::timeout(stack.limits.body_pause, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(Unread::TooLarge)) => Err(Error::BodyTooLarge),
        Ok(Err(Unread::Broken)) => Err(Error::Malformed(crate::http::Malformed::Framing)),
        Err(_) => Err(Error::SlowBody),
    }
}

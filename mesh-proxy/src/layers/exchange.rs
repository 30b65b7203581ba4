//! One request of the proxy's own and its answer, whole and bounded: a question to a service, or spans for one.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Limited};

use super::forward::{Plan, choose};
use crate::http::body::{Answered, Body};
use crate::http::call::{Head, Shape};
use crate::http::{Error, Stack};
use crate::upstream::Connect;

/// Most bytes of an answer's body.
const MOST: usize = 64 * 1024;
/// Tries in all. What is asked here may be asked again.
const TRIES: usize = 3;

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Asks an endpoint of the service; another one, or on another connection, when that fails.
pub(crate) async fn exchange<C: Connect>(
    stack: &Stack<C>,
    plan: &Plan<'_>,
    head: Head,
    body: Bytes,
) -> Result<Answer, Error> {
    let shape = Shape { grpc: plan.grpc, http2: false, direct: false, upgrade: false };
    let mut tried = Vec::new();
    let mut problem = Error::NoEndpoint;
    for count in 0..TRIES {
        let mesh = stack.mesh.current();
        let mut chosen = choose(stack, &mesh, plan, &shape, &tried)?;
        drop(mesh);
        let _in_flight = chosen.in_flight.take();
        tried.push(chosen.upstream.address);
        let lease = match count {
            0 => stack.pool.checkout(&chosen.upstream).await,
            // What waits in the pool may have been closed by its peer.
            _ => stack.pool.checkout_new(&chosen.upstream).await,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                problem = Error::Connect(error);
                continue;
            }
        };
        let body = Body::full(body.clone());
        match lease.send(&head, (&chosen.upstream, chosen.http1), body).await {
            Ok(answer) => return whole(answer).await,
            Err(_) => problem = Error::Reset { repeatable: false },
        }
    }
    Err(problem)
}

async fn whole(answered: Box<Answered>) -> Result<Answer, Error> {
    let Answered { response, mut tail } = *answered;
    let (head, incoming) = response.into_parts();
    let read = Limited::new(incoming, MOST).collect().await;
    let read = read.map_err(|_| Error::Reset { repeatable: false })?;
    tail.end();
    let trailers = read.trailers().cloned();
    Ok(Answer { head, body: read.to_bytes(), trailers })
}

//! Sends a request to an endpoint of its service, within its time limits and as often as its retries allow.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_http1_tokio::RawIo;
use mesh_model::backend::Endpoint;
use mesh_model::route::{Retry, Timeouts};
use mesh_model::{AppProtocol, Mesh, ObjectName, RetryBudget, Service, Transport};

use super::limits::{grpc_timeout, shorter, within};
use super::retry::{Next, Policy};
use super::session::Visit;
use crate::http::body::{Answered, Body, Replay, Tail};
use crate::http::call::{Agreed, Call, Reply, Shape};
use crate::http::record::Record;
use crate::http::{Error, Stack, names};
use crate::pool::{GiveBack, Lease, SendError};
use crate::scope::Scope;
use crate::upstream::{Connect, ConnectError, Security, Speaks, Upstream};
use mesh_balance::InFlight;

/// Where a request goes and within which limits.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'r> {
    pub(crate) service: &'r ObjectName,
    /// The service in the snapshot that decided, for the first try.
    pub(crate) known: Option<Arc<Service>>,
    pub(crate) port: u16,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Option<&'r Retry>,
    /// The rule is one of gRPC.
    pub(crate) grpc: bool,
    /// Where the request entered.
    pub(crate) scope: &'r Scope,
    /// The client's session with the service, where there may be one.
    pub(crate) visit: Option<Box<Visit>>,
}

impl<'r> Plan<'r> {
    /// A request of the proxy's own: without the limits and retries of a rule, and of no session.
    pub(crate) fn own((service, port): (&'r ObjectName, u16), grpc: bool, scope: &'r Scope) -> Self {
        let timeouts = Timeouts::default();
        Self { service, known: None, port, timeouts, retry: None, grpc, scope, visit: None }
    }
}

/// One endpoint, chosen for one try.
pub(crate) struct Chosen {
    pub(crate) upstream: Upstream,
    /// The application at the other end speaks HTTP/1.
    pub(crate) http1: bool,
    pub(crate) in_flight: Option<InFlight>,
    /// What is behind the endpoint.
    pub(crate) workload: Option<Arc<str>>,
}

/// The body between tries.
enum Outgoing {
    None,
    Once(Option<Body>),
    Replay(Replay),
}

impl Outgoing {
    fn new(call: &mut Call, may_resend: bool) -> Self {
        if let Some(teed) = call.teed.take() {
            return Self::Once(Some(teed));
        }
        match call.body.take() {
            None => Self::None,
            Some(received) if may_resend => Self::Replay(Replay::new(received)),
            Some(received) => Self::Once(Some(Body::received(received))),
        }
    }

    /// The body for another try, if it is still whole.
    fn take(&mut self) -> Option<Body> {
        match self {
            Self::None => Some(Body::empty()),
            Self::Once(body) => body.take(),
            Self::Replay(replay) => replay.is_whole().then(|| Body::replayed(replay.reader())),
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::None => true,
            Self::Once(body) => body.is_some(),
            Self::Replay(replay) => replay.is_whole(),
        }
    }
}

/// Sends a request and waits for the head of its answer.
///
/// # Errors
/// What the client is to be told when no try brought an answer.
pub(crate) async fn forward<C: Connect>(
    stack: &Stack<C>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<Reply, Error> {
    stack.budget.earn();
    let limit = shorter(plan.timeouts.request, call.is_grpc().then(|| grpc_timeout(&call.head)).flatten());
    let tries = pin!(tries(stack, mesh, call, plan, record));
    within(limit, tries).await
}

async fn tries<C: Connect>(
    stack: &Stack<C>,
    mesh: Arc<Mesh>,
    call: &mut Call,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<Reply, Error> {
    let policy = Policy::new(plan.retry, &call.head.method);
    let mut body = Outgoing::new(call, policy.may_resend());
    let mut tried: Vec<SocketAddr> = Vec::new();
    let limit = budget(stack, plan);
    let mut mesh = Some(mesh);
    for count in 1u32.. {
        // The first try uses the snapshot of the decision; a later one sees endpoints that came since.
        let snapshot = mesh.take().unwrap_or_else(|| stack.mesh.current());
        let mut chosen = choose(stack, &snapshot, plan, &call.shape(), &tried)?;
        drop(snapshot);
        record.tried(&chosen.upstream, chosen.workload.as_ref());
        let in_flight = chosen.in_flight.take();
        let outcome = {
            let of = Some((plan.service, plan.port));
            let sent = pin!(one_try(stack, call, (&chosen, of), &mut body, policy));
            within(plan.timeouts.backend_request, sent).await
        };
        let next = match &outcome {
            Ok(reply) => policy.after_status(status(reply), count),
            Err(error) => policy.after_error(error, count),
        };
        let Next::Again(pause) = next else { return outcome.map(|reply| counted(reply, in_flight)) };
        if !body.is_whole() || (limit.is_none() && !stack.budget.spend()) {
            return outcome.map(|reply| counted(reply, in_flight));
        }
        if limit.as_ref().is_some_and(|limit| !stack.budgets.retry(plan.service, limit, now())) {
            return Err(Error::RetryBudget);
        }
        stack.observer.telemetry.metrics.retries.inc();
        drop((outcome, in_flight));
        tried.push(chosen.upstream.address);
        tokio::time::sleep(stack.balancer.jitter(pause)).await;
    }
    Err(Error::NoEndpoint)
}

/// The budget of retries that a policy sets for the service; the request counts in it.
fn budget<C: Connect>(stack: &Stack<C>, plan: &Plan<'_>) -> Option<RetryBudget> {
    let limit = plan.known.as_ref()?.retry_budget.as_ref()?;
    stack.budgets.request(plan.service, limit, now());
    Some(limit.clone())
}

/// The time that budgets are counted in.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn status(reply: &Reply) -> StatusCode {
    match reply {
        Reply::Backend(answered) => answered.response.status(),
        Reply::Own(response) => response.status(),
        Reply::Tunnel(agreed) => agreed.response.status(),
    }
}

fn counted(mut reply: Reply, in_flight: Option<InFlight>) -> Reply {
    if let Some(tail) = reply.tail_mut() {
        tail.in_flight = in_flight;
    }
    reply
}

/// Sends the request once. A connection that had been used before and that its peer closed meanwhile does
/// not count as a try, when the request can be sent again.
pub(crate) async fn one_try_with<C: Connect>(
    stack: &Stack<C>,
    call: &mut Call,
    chosen: &Chosen,
) -> Result<Reply, Error> {
    let policy = Policy::new(None, &call.head.method);
    let mut body = Outgoing::new(call, policy.may_resend());
    one_try(stack, call, (chosen, None), &mut body, policy).await
}

async fn one_try<C: Connect>(
    stack: &Stack<C>,
    call: &mut Call,
    (chosen, of): (&Chosen, Option<(&ObjectName, u16)>),
    body: &mut Outgoing,
    policy: Policy<'_>,
) -> Result<Reply, Error> {
    let mut fresh = false;
    loop {
        let lease = leased(stack, &chosen.upstream, of, fresh).await?;
        let error = match send(call, chosen, body, lease).await? {
            Ok(answer) => {
                let mut reply = reply(answer, call.head.upgrade.is_some()).await?;
                if let Some(tail) = reply.tail_mut() {
                    tail.from_mesh = matches!(chosen.upstream.security, Security::Mesh(_));
                }
                restore(&mut reply);
                return Ok(reply);
            }
            Err(error) => error,
        };
        let stale = error.reused && !fresh && !error.garbled;
        let harmless = error.unsent.is_some() || error.unprocessed || policy.is_idempotent();
        if let (Some(unsent), Outgoing::Once(kept)) = (error.unsent, &mut *body) {
            *kept = Some(unsent);
        }
        if !(stale && harmless && body.is_whole()) {
            // A backend that ends cuts what it has begun; another one can still answer.
            let repeatable = error.unprocessed || (policy.is_idempotent() && !error.garbled);
            return Err(Error::Reset { repeatable });
        }
        fresh = true;
    }
}

/// A connection to an upstream, for as long as it stays among the endpoints of its service: what vanished may never
/// answer, and nothing was sent yet.
async fn leased<C: Connect>(
    stack: &Stack<C>,
    upstream: &Upstream,
    of: Option<(&ObjectName, u16)>,
    fresh: bool,
) -> Result<Lease, ConnectError> {
    let open = async {
        match fresh {
            false => stack.pool.checkout(upstream).await,
            true => stack.pool.checkout_new(upstream).await,
        }
    };
    let gone = async {
        match of {
            Some(of) => stack.mesh.left_by(of, upstream.address).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        lease = open => lease,
        () = gone => Err(ConnectError::Gone(upstream.address)),
    }
}

async fn send(
    call: &Call,
    chosen: &Chosen,
    body: &mut Outgoing,
    lease: Lease,
) -> Result<Result<Box<Answered>, SendError>, Error> {
    let body = body.take().ok_or(Error::Reset { repeatable: false })?;
    Ok(lease.send(&call.head, (&chosen.upstream, chosen.http1), body).await)
}

/// Makes a reply of an answer: a tunnel when the backend agreed to change the protocol, and only then.
async fn reply(mut answer: Box<Answered>, wanted: bool) -> Result<Reply, Error> {
    let response = &mut answer.response;
    let http2 = response.version() == http::Version::HTTP_2;
    let agreed = match http2 {
        // Success alone may be an answer of the application that knows nothing of the change; the proxy at the
        // other end, the only one that is asked in this way, says which it is.
        true if wanted && response.status().is_success() => match changed(response) {
            true => true,
            false => return Err(Error::UpgradeRefused),
        },
        true => false,
        false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
    };
    if !agreed {
        return Ok(Reply::Backend(answer));
    }
    if !wanted {
        return Err(Error::UpgradeRefused);
    }
    let raw: Box<dyn RawIo> = if http2 {
        let upgraded = hyper::upgrade::on(response).await.map_err(|_| Error::UpgradeRefused)?;
        Box::new(TokioIo::new(upgraded))
    } else {
        let given = answer.tail.give_back.take().and_then(GiveBack::into_raw);
        given.ok_or(Error::UpgradeRefused)?
    };
    let response = answer.response.map(drop);
    Ok(Reply::Tunnel(Box::new(Agreed { response, raw, tail: Tail::default() })))
}

/// Whether a proxy of the mesh says that its application changed the protocol.
fn changed<B>(response: &Response<B>) -> bool {
    let status = response.headers().get(&names::STATUS);
    status.is_some_and(|status| status.as_bytes() == StatusCode::SWITCHING_PROTOCOLS.as_str().as_bytes())
}

/// Gives an answer the status that its application meant, where the hop between proxies could not say it.
fn restore(reply: &mut Reply) {
    let Reply::Backend(answered) = reply else { return };
    let Answered { response, tail: Tail { from_mesh: true, .. } } = &mut **answered else { return };
    let Some(meant) = response.headers().get(&names::STATUS) else { return };
    if let Ok(status) = StatusCode::from_bytes(meant.as_bytes()) {
        *response.status_mut() = status;
    }
}

/// Chooses an endpoint of the plan's service.
pub(crate) fn choose<C: Connect>(
    stack: &Stack<C>,
    mesh: &Mesh,
    plan: &Plan<'_>,
    shape: &Shape,
    tried: &[SocketAddr],
) -> Result<Chosen, Error> {
    let known = plan.known.as_ref().filter(|_| tried.is_empty());
    let service = known.or_else(|| mesh.service(plan.service)).ok_or(Error::NoBackend)?;
    let port = service.port(plan.port, Transport::Tcp).ok_or(Error::NoBackend)?;
    let set = mesh.endpoints(plan.service, Transport::Tcp, plan.port).ok_or(Error::NoEndpoint)?;
    let held = plan.visit.as_ref().and_then(|visit| stack.sessions.held(visit, set.ready()));
    let found = match held.filter(|place| !tried.contains(&set.ready()[*place].address)) {
        Some(place) => stack.balancer.endpoint_at(plan.service, plan.port, set, place),
        None => stack.balancer.endpoint(plan.service, plan.port, set, tried),
    };
    let (endpoint, in_flight) = found.ok_or(Error::NoEndpoint)?;
    let http2 = wants_http2(port.protocol, plan.grpc, shape);
    let upstream = upstream(mesh, plan, &endpoint, http2);
    Ok(Chosen { upstream, http1: !http2, in_flight: Some(in_flight), workload: Some(endpoint.workload) })
}

/// Whether the application is to be spoken to in HTTP/2. Where nothing is declared, an application that is
/// dialled directly gets what its client speaks, and one behind a gateway HTTP/1.1.
fn wants_http2(protocol: AppProtocol, grpc: bool, shape: &Shape) -> bool {
    match protocol {
        _ if shape.upgrade => false,
        AppProtocol::Grpc | AppProtocol::Http2 => true,
        AppProtocol::Http1 | AppProtocol::WebSocket => false,
        AppProtocol::Detect | AppProtocol::Tcp | AppProtocol::Tls => {
            grpc || shape.grpc || (shape.http2 && shape.direct)
        }
    }
}

fn upstream(mesh: &Mesh, plan: &Plan<'_>, endpoint: &Endpoint, http2: bool) -> Upstream {
    let speaks = if http2 { Speaks::Http2 } else { Speaks::Http1 };
    if plan.scope.is_client(&endpoint.address) {
        return Upstream { address: endpoint.address, security: Security::Application, speaks };
    }
    let security = match &endpoint.identity {
        Some(identity) => Security::Mesh(identity.clone()),
        None => match mesh.backend_tls(plan.service, plan.port) {
            Some(tls) => Security::Tls(Arc::clone(tls), plan.scope.shown_certificate(mesh, tls)),
            None => Security::Plain,
        },
    };
    Upstream { address: endpoint.address, security, speaks }
}

//! Opaque connections: from a decision to an upstream, and the bytes between. UDP shares the choice only.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::{Either, select};
use mesh_model::backend::{Endpoint, Target};
use mesh_model::engine::Routed;
use mesh_model::{Mesh, ObjectName, Reason, Transport};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Context;
use super::flow::Flow;
use super::gateway::GatewayPort;
use crate::drain::{Phase, Signal};
use crate::scope::is_same;
use crate::tcp::{Abort, copy};
use crate::upstream::{Connect, ConnectError, Security, Speaks, Upstream};
use mesh_balance::InFlight;

/// How many endpoints are tried before a connection is given up.
const TRIES: usize = 3;

/// Where the bytes of a connection come from, and whether they are already TLS of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries<'a> {
    /// Bytes of the application beside this proxy, at its own address. When they are plain, a TLS policy of the
    /// backend applies.
    Application {
        /// The application's address: what it sends to itself stays inside.
        client: IpAddr,
        /// Whether they are TLS.
        tls: bool,
    },
    /// Plain bytes: a TLS policy of the backend applies, with the certificate of this gateway.
    Plain(&'a GatewayPort),
    /// TLS from the client to the backend: nothing is wrapped around it but the mesh's own.
    Tls,
}

/// A chosen endpoint; it counts as loaded while held.
pub(crate) struct Chosen {
    pub(crate) endpoint: Endpoint,
    pub(crate) service: ObjectName,
    pub(crate) port: u16,
    _load: InFlight,
}

/// The service port that a decision leads to.
pub(crate) fn backend(cx: &Context, routed: &Routed) -> Result<(ObjectName, u16), Reason> {
    match routed {
        Routed::Refused { reason, .. } => Err(*reason),
        Routed::Service { service, port } => Ok((service.name.clone(), *port)),
        Routed::Rule(rule) => {
            let backends = &rule.rule().backends;
            let chosen = cx.stack.balancer.backend(&rule.route().key, rule.rule_index(), backends);
            match &chosen.ok_or(Reason::NoBackend)?.target {
                Target::Invalid { reason, .. } => Err(*reason),
                Target::Service { service, port } => Ok((service.clone(), *port)),
            }
        }
    }
}

/// A ready endpoint of a service port that was not tried yet, where there is one.
pub(crate) fn endpoint(
    cx: &Context,
    mesh: &Mesh,
    (service, port): &(ObjectName, u16),
    transport: Transport,
    tried: &[SocketAddr],
) -> Result<Chosen, Reason> {
    let set = mesh.endpoints(service, transport, *port).ok_or(Reason::NoEndpoint)?;
    let (endpoint, load) =
        cx.stack.balancer.endpoint(service, *port, set, tried).ok_or(Reason::NoEndpoint)?;
    Ok(Chosen { endpoint, service: service.clone(), port: *port, _load: load })
}

/// How an endpoint is reached with opaque bytes: meshed means mutual TLS, never less.
pub(crate) fn upstream(mesh: &Mesh, chosen: &Chosen, carries: Carries<'_>) -> Upstream {
    if matches!(carries, Carries::Application { client, .. } if is_same(client, &chosen.endpoint.address)) {
        let address = chosen.endpoint.address;
        return Upstream { address, security: Security::Application, speaks: Speaks::Opaque };
    }
    let by_policy = || {
        let gateway = match carries {
            Carries::Application { tls: false, .. } => None,
            Carries::Plain(gateway) => Some(gateway),
            Carries::Application { .. } | Carries::Tls => return None,
        };
        let policy = mesh.backend_tls(&chosen.service, chosen.port)?;
        let shown = mesh.shown_certificate(policy, gateway.map(|at| (&at.gateway, at.port)));
        Some(Security::Tls(Arc::clone(policy), shown.cloned()))
    };
    let security = match &chosen.endpoint.identity {
        Some(identity) => Security::Mesh(identity.clone()),
        None => by_policy().unwrap_or(Security::Plain),
    };
    Upstream { address: chosen.endpoint.address, security, speaks: Speaks::Opaque }
}

/// Connects a decided connection to an endpoint and copies until it ends, is drained, or `revoked` ends.
pub(crate) async fn forward<D>(
    cx: &Context,
    (mut flow, downstream): (Flow, D),
    routed: Result<Routed, Reason>,
    carries: Carries<'_>,
    ending: (Signal, impl Future<Output = Reason>),
) -> Result<(), (Reason, String)>
where
    D: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let connected = match routed {
        Ok(routed) => connect(cx, &mut flow, &routed, carries).await,
        Err(reason) => Err((reason, String::from("no rule leads anywhere"))),
    };
    match connected {
        Ok((upstream, _chosen)) => {
            carry(cx, flow, downstream, upstream, ending).await;
            Ok(())
        }
        Err(refused) => {
            flow.refused(refused.0);
            downstream.abort();
            Err(refused)
        }
    }
}

/// Copies until the connection ends, its drain does, or `revoked` ends.
pub(crate) async fn carry<D, U>(
    cx: &Context,
    mut flow: Flow,
    downstream: D,
    upstream: U,
    (drain, revoked): (Signal, impl Future<Output = Reason>),
) where
    D: AsyncRead + AsyncWrite + Abort + Unpin,
    U: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let revoked = std::pin::pin!(revoked);
    let drained = Box::pin(async move { drain.reached(Phase::Stopped).await });
    let cut = async {
        match select(drained, revoked).await {
            Either::Left(((), _)) => Reason::Draining,
            Either::Right((reason, _)) => reason,
        }
    };
    let copied = copy(downstream, upstream, &cx.scratch, cx.times.idle, cut).await;
    if let Some(reason) = flow.copied(&copied)
        && !matches!(reason, Reason::DownstreamReset | Reason::Timeout | Reason::UpstreamReset)
    {
        // It was this proxy that ended it.
        cx.telemetry.metrics.refuse(reason);
    }
    tracing::debug!(sent = copied.sent, received = copied.received, ended = ?copied.ended, "connection ended");
}

async fn connect(
    cx: &Context,
    flow: &mut Flow,
    routed: &Routed,
    carries: Carries<'_>,
) -> Result<(<crate::dialer::Dialer as Connect>::Io, Chosen), (Reason, String)> {
    flow.routed(routed);
    let place = backend(cx, routed).map_err(|reason| (reason, "no backend can be used".to_owned()))?;
    flow.going_to(&place.0);
    let mut tried = Vec::new();
    let mut last: Option<ConnectError> = None;
    while tried.len() < TRIES {
        // A later try sees endpoints that came since.
        let mesh = cx.mesh.current();
        let chosen = endpoint(cx, &mesh, &place, Transport::Tcp, &tried)
            .map_err(|reason| (reason, format!("{}:{} has no ready endpoint", place.0, place.1)))?;
        if tried.contains(&chosen.endpoint.address) {
            break;
        }
        let upstream = upstream(&mesh, &chosen, carries);
        flow.chosen(&chosen);
        flow.upstream(&upstream);
        drop(mesh);
        let connected = tokio::select! {
            biased;
            connected = cx.dialer.connect(&upstream) => connected,
            // What vanished may never answer, and nothing was sent yet.
            () = cx.mesh.left_by((&place.0, place.1), upstream.address) => {
                Err(ConnectError::Gone(upstream.address))
            }
        };
        match connected {
            Ok(stream) => return Ok((stream, chosen)),
            Err(problem) => {
                tried.push(chosen.endpoint.address);
                last = Some(problem);
            }
        }
    }
    let reason = last.as_ref().map_or(Reason::NoEndpoint, ConnectError::reason);
    Err((reason, last.map_or_else(String::new, |problem| problem.to_string())))
}

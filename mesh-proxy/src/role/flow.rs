//! The record of one connection or UDP session whose contents are not read: filled while it runs, told when it is
//! dropped.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mesh_model::engine::Routed;
use mesh_model::{ObjectName, Reason, SpiffeId};
use mesh_rt::SharedClock;

use super::Context;
use super::forward::Chosen;
use crate::detect::RequestSeen;
use crate::tcp::{Copied, Ended};
use crate::telemetry::flow::{self, Protocol};
use crate::telemetry::metrics::Labels;
use crate::telemetry::{Side, Telemetry};
use crate::tls::Distrusted;
use crate::udp::Tally;
use crate::upstream::{Security, Upstream};

/// The record.
pub(crate) struct Flow {
    telemetry: Telemetry,
    clock: SharedClock,
    started: Instant,
    began: SystemTime,
    side: Side,
    protocol: Protocol,
    client: SocketAddr,
    server_name: Option<Arc<str>>,
    source: Option<SpiffeId>,
    destination: Option<SpiffeId>,
    route: Option<String>,
    upstream: Option<SocketAddr>,
    labels: Labels,
    /// Why it ended. A flow that is dropped before anything ended it was running when its proxy stopped.
    reason: Reason,
    received: Cell<u64>,
    sent: Cell<u64>,
    untold: bool,
}

impl Flow {
    fn begin(cx: &Context, side: Side, protocol: Protocol, client: SocketAddr) -> Self {
        Self {
            telemetry: cx.telemetry.clone(),
            started: cx.clock.monotonic(),
            began: cx.clock.wall(),
            clock: Arc::clone(&cx.clock),
            side,
            protocol,
            client,
            server_name: None,
            source: None,
            destination: None,
            route: None,
            upstream: None,
            labels: Labels::default(),
            reason: Reason::Draining,
            received: Cell::default(),
            sent: Cell::default(),
            untold: false,
        }
    }

    /// A flow that enters through a gateway, for a server name where it is TLS.
    pub(crate) fn at_gateway(
        cx: &Context,
        gateway: &ObjectName,
        (protocol, client): (Protocol, SocketAddr),
        server_name: Option<&Arc<str>>,
    ) -> Self {
        let mut flow = Self::begin(cx, Side::Gateway, protocol, client);
        flow.server_name = server_name.cloned();
        flow.labels.source_workload = Arc::clone(&gateway.name);
        flow.labels.source_namespace = Arc::clone(&gateway.namespace);
        flow
    }

    /// A flow that leaves an application of a namespace.
    pub(crate) fn outbound(
        cx: &Context,
        namespace: &Arc<str>,
        (protocol, client): (Protocol, SocketAddr),
    ) -> Self {
        let mut flow = Self::begin(cx, Side::Outbound, protocol, client);
        flow.labels.source_namespace = Arc::clone(namespace);
        flow
    }

    /// A flow to the application of a workload, from a peer that proved an identity or from somebody.
    pub(crate) fn inbound(
        cx: &Context,
        workload: &ObjectName,
        (protocol, client): (Protocol, SocketAddr),
        peer: Option<&SpiffeId>,
    ) -> Self {
        let mut flow = Self::begin(cx, Side::Inbound, protocol, client);
        if let Some((namespace, account)) = peer.and_then(SpiffeId::service_account) {
            (flow.labels.source_namespace, flow.labels.source_workload) = (namespace.into(), account.into());
        }
        flow.source = peer.cloned();
        flow.destination = cx.mesh.current().workload(workload).map(|w| w.identity.clone());
        flow.labels.destination_workload = Arc::clone(&workload.name);
        flow.labels.destination_namespace = Arc::clone(&workload.namespace);
        flow
    }

    /// Where the configuration leads it.
    pub(crate) fn routed(&mut self, routed: &Routed) {
        if let Routed::Rule(rule) = routed {
            self.route = Some(rule.route().source.to_string());
        }
    }

    /// The service that it goes to.
    pub(crate) fn going_to(&mut self, service: &ObjectName) {
        self.labels.destination_namespace = Arc::clone(&service.namespace);
        self.labels.service = service.to_string().into();
    }

    /// The endpoint that it is about to be joined to.
    pub(crate) fn chosen(&mut self, chosen: &Chosen) {
        self.labels.destination_workload = Arc::clone(&chosen.endpoint.workload);
        self.upstream = Some(chosen.endpoint.address);
    }

    /// The application that it is about to be joined to.
    pub(crate) fn joining(&mut self, application: SocketAddr) {
        self.upstream = Some(application);
    }

    /// The upstream that it is about to be joined to.
    pub(crate) fn upstream(&mut self, upstream: &Upstream) {
        self.upstream = Some(upstream.address);
        if let Security::Mesh(identity) = &upstream.security {
            self.destination = Some(identity.clone());
        }
    }

    /// It was refused or cut.
    pub(crate) fn refused(&mut self, reason: Reason) {
        self.reason = reason;
    }

    /// It turned out to carry requests, which are told one by one.
    pub(crate) fn forget(mut self) {
        self.untold = true;
    }

    /// Its copying ended. Returns the reason, if it did not end by itself.
    pub(crate) fn copied(&mut self, copied: &Copied) -> Option<Reason> {
        self.received.set(copied.sent);
        self.sent.set(copied.received);
        self.reason = match &copied.ended {
            Ended::Closed => Reason::Accepted,
            Ended::Cut(reason) => *reason,
            Ended::Idle => Reason::Timeout,
            Ended::Downstream(problem) if RequestSeen::is_cause_of(problem) => Reason::MalformedRequest,
            Ended::Downstream(problem) if Distrusted::is_cause_of(problem) => Reason::IdentityRequired,
            Ended::Downstream(_) => Reason::DownstreamReset,
            Ended::Upstream(problem) if Distrusted::is_cause_of(problem) => Reason::UpstreamIdentity,
            Ended::Upstream(_) => Reason::UpstreamReset,
        };
        (self.reason != Reason::Accepted).then_some(self.reason)
    }
}

impl Tally for Flow {
    fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }

    fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if self.untold {
            return;
        }
        let source = self.source.as_ref().map(ToString::to_string);
        let destination = self.destination.as_ref().map(ToString::to_string);
        self.telemetry.ended(&flow::Flow {
            side: self.side,
            protocol: self.protocol,
            began: self.began,
            took: self.clock.monotonic().saturating_duration_since(self.started),
            reason: self.reason,
            received: self.received.get(),
            sent: self.sent.get(),
            client: self.client,
            server_name: self.server_name.as_deref(),
            source_identity: source.as_deref(),
            destination_identity: destination.as_deref(),
            route: self.route.take(),
            upstream: self.upstream,
            labels: self.labels.clone(),
        });
    }
}

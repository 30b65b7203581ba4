//! The record of one exchange: filled while it runs, told to telemetry once when it is over.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, StatusCode, Uri};
use mesh_model::mesh::Candidate;
use mesh_model::tracing::Tracing;
use mesh_model::{Authority, Mesh, ObjectName, Reason, RequestHead, SpiffeId};
use mesh_rt::SharedClock;
use mesh_rt::random::Fast;
use tokio::sync::mpsc;

use super::body::{Course, Failure};
use super::destination::{Destination, ServiceLabels, same};
use super::downstream::Downstream;
use super::error::{Error, Malformed};
use super::exports::Export;
use crate::hashed::HashMap;
use crate::scope::Scope;
use crate::telemetry::decisions::{At, DecisionId, Record as Decided, Ring};
use crate::telemetry::metrics::{Cells, Labels, MAX_SERIES, SeriesKey, WorkerSeries};
use crate::telemetry::sampling::{Asked, Traced};
use crate::telemetry::trace::TraceContext;
use crate::telemetry::{Exchange, Side, Telemetry};
use crate::upstream::{Security, Upstream};

/// What the records of a worker share.
pub(crate) struct Observer {
    pub(crate) telemetry: Telemetry,
    exports: mpsc::Sender<Export>,
    clock: SharedClock,
    chance: RefCell<Fast>,
    names: RefCell<HashMap<ObjectName, Rc<ServiceLabels>>>,
    decisions: Ring,
    series: WorkerSeries,
    cells: RefCell<HashMap<SeriesKey, Arc<Cells>>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("telemetry", &self.telemetry).finish_non_exhaustive()
    }
}

impl Observer {
    pub(crate) fn new(telemetry: Telemetry, exports: mpsc::Sender<Export>, clock: SharedClock) -> Self {
        let chance = RefCell::new(Fast::from_entropy());
        let series = telemetry.metrics.worker();
        let decisions = telemetry.decisions.ring();
        let (names, cells) = (RefCell::default(), RefCell::default());
        Self { telemetry, exports, clock, chance, names, decisions, series, cells }
    }

    /// Wall time.
    pub(crate) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// The worker's own cells of a series.
    fn cells(&self, key: SeriesKey) -> Arc<Cells> {
        let mut known = self.cells.borrow_mut();
        if known.len() > 2 * MAX_SERIES {
            // Names beyond the cap all lead to the overflow; they must not gather here.
            known.clear();
        }
        let cells =
            known.entry(key).or_insert_with_key(|key| self.telemetry.metrics.cells(&self.series, key));
        Arc::clone(cells)
    }

    /// A service's names as labels. Services are few, and their labels are made once.
    fn labels(&self, service: &ObjectName) -> Rc<ServiceLabels> {
        if let Some(labels) = self.names.borrow().get(service) {
            return Rc::clone(labels);
        }
        let (namespace, name) = (Arc::clone(&service.namespace), service.to_string().into());
        let labels = Rc::new(ServiceLabels { namespace, name });
        self.names.borrow_mut().insert(service.clone(), Rc::clone(&labels));
        labels
    }
}

/// What the records of one connection share.
#[derive(Debug)]
pub(crate) struct Seen {
    observer: Rc<Observer>,
    downstream: Arc<Downstream>,
    side: Side,
    labels: Labels,
    source: Option<String>,
    /// Where requests are decided.
    at: RefCell<Arc<At>>,
    /// The cells of the last exchange: the next one usually counts there too.
    last: RefCell<Option<Last>>,
}

/// The cells of one series, and what told them apart from others of this connection.
#[derive(Debug)]
struct Last {
    status: u16,
    reason: Reason,
    destination: Option<Destination>,
    cells: Arc<Cells>,
}

impl Seen {
    pub(crate) fn new(observer: &Rc<Observer>, downstream: &Arc<Downstream>) -> Self {
        let mut labels = Labels::default();
        let peer = downstream.facts.peer.as_ref();
        if let Some((namespace, account)) = peer.and_then(SpiffeId::service_account) {
            (labels.source_namespace, labels.source_workload) = (namespace.into(), account.into());
        }
        let side = match &downstream.scope {
            Scope::Gateway { gateway, .. } => {
                labels.source_workload = Arc::clone(&gateway.name);
                labels.source_namespace = Arc::clone(&gateway.namespace);
                Side::Gateway
            }
            Scope::Inbound { workload, .. } => {
                labels.destination_workload = Arc::clone(&workload.name.name);
                labels.destination_namespace = Arc::clone(&workload.name.namespace);
                Side::Inbound
            }
            Scope::Outbound { namespace, .. } => {
                labels.source_namespace = Arc::clone(namespace);
                Side::Outbound
            }
        };
        let source = peer.map(ToString::to_string);
        let at = RefCell::new(Arc::new(match &downstream.scope {
            Scope::Gateway { gateway, port, sni } => {
                At::Gateway { gateway: gateway.clone(), port: *port, sni: sni.clone() }
            }
            Scope::Inbound { workload, .. } => {
                At::Inbound { workload: Arc::clone(workload), facts: downstream.facts.clone() }
            }
            Scope::Outbound { service, port, namespace, .. } => {
                At::Outbound { service: Arc::clone(service), port: *port, namespace: Arc::clone(namespace) }
            }
        }));
        let (observer, downstream) = (Rc::clone(observer), Arc::clone(downstream));
        Self { observer, downstream, side, labels, source, at, last: RefCell::default() }
    }

    /// Where requests of this connection are decided with this snapshot.
    fn at(&self, mesh: &Mesh) -> Arc<At> {
        let mut at = self.at.borrow_mut();
        if let At::Inbound { workload, facts } = &**at {
            // As authorization does: the labels of the snapshot, not those of the accepted connection.
            let current = mesh.workload(&workload.name).unwrap_or(workload);
            if !Arc::ptr_eq(current, workload) {
                *at = Arc::new(At::Inbound { workload: Arc::clone(current), facts: facts.clone() });
            }
        }
        Arc::clone(&at)
    }

    /// The cells of an exchange that ended so.
    fn cells(&self, (status, reason): (u16, Reason), destination: Option<&Destination>) -> Arc<Cells> {
        let mut last = self.last.borrow_mut();
        if let Some(last) = &*last
            && (last.status, last.reason) == (status, reason)
            && same(last.destination.as_ref(), destination)
        {
            return Arc::clone(&last.cells);
        }
        let cells = self.observer.cells((self.labels_of(destination), status, reason));
        let destination = destination.cloned();
        *last = Some(Last { status, reason, destination, cells: Arc::clone(&cells) });
        cells
    }

    fn labels_of(&self, destination: Option<&Destination>) -> Labels {
        let mut labels = self.labels.clone();
        if let Some(to) = destination {
            labels.destination_namespace = Arc::clone(&to.service.namespace);
            labels.service = Arc::clone(&to.service.name);
            if let Some(workload) = &to.workload {
                labels.destination_workload = Arc::clone(workload);
            }
        }
        labels
    }

    /// Begins the record of a request.
    pub(crate) fn begin(self: &Rc<Self>, method: &Method, uri: &Uri) -> Record {
        Record {
            started: self.observer.clock.monotonic(),
            seen: Rc::clone(self),
            method: method.clone(),
            authority: None,
            uri: uri.clone(),
            status: None,
            reason: Reason::Accepted,
            course: Rc::default(),
            sent: 0,
            route: None,
            destination: None,
            upstream: None,
            identity: None,
            decision: None,
            tracing: None,
            trace: None,
        }
    }
}

/// The record of one exchange. Dropping it tells it.
#[derive(Debug)]
pub(crate) struct Record {
    seen: Rc<Seen>,
    started: Instant,
    method: Method,
    authority: Option<Authority>,
    uri: Uri,
    status: Option<StatusCode>,
    reason: Reason,
    course: Rc<Course>,
    sent: u64,
    route: Option<Candidate>,
    destination: Option<Destination>,
    upstream: Option<SocketAddr>,
    identity: Option<SpiffeId>,
    decision: Option<DecisionId>,
    tracing: Option<Arc<Tracing>>,
    trace: Option<Traced>,
}

impl Record {
    /// The decision, once one was made.
    pub(crate) fn decision(&self) -> Option<DecisionId> {
        self.decision
    }

    /// Where the request's body is followed.
    pub(crate) fn course(&self) -> Rc<Course> {
        Rc::clone(&self.course)
    }

    /// The error with its cause: a backend that got half a body is not to blame.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self.course.failure.get() {
            Some(Failure::Broken) => Error::Malformed(Malformed::Framing),
            Some(Failure::Slow) => Error::SlowBody,
            None => error,
        }
    }

    /// The head that is decided about, and the snapshot that decides.
    pub(crate) fn decide(&mut self, mesh: &Arc<Mesh>, head: &RequestHead<'_>, uri: &Uri) {
        // On a hop that changes the protocol the client said CONNECT.
        self.method = head.method.clone();
        self.authority = Some(head.authority.clone());
        self.uri = uri.clone();
        let at = self.seen.at(mesh);
        if let Scope::Gateway { gateway, port, .. } = &self.seen.downstream.scope {
            self.tracing = mesh.tracing(gateway, *port).cloned();
        }
        self.decision = Some(self.seen.observer.decisions.keep(Decided::new(at, mesh, head)));
    }

    /// Joins or begins the trace of a request and passes it on.
    pub(crate) fn trace(&mut self, headers: &mut HeaderMap) {
        let observer = &self.seen.observer;
        let exported = observer.telemetry.spans.is_enabled();
        let mut chance = observer.chance.borrow_mut();
        self.trace = Some(Traced::begin(self.tracing.as_ref(), exported, &mut chance, headers));
    }

    pub(crate) fn followed(&mut self, rule: &Candidate) {
        self.route = Some(rule.clone());
    }

    pub(crate) fn going_to(&mut self, service: &ObjectName) {
        let service = self.seen.observer.labels(service);
        self.destination = Some(Destination { service, workload: None });
    }

    pub(crate) fn tried(&mut self, upstream: &Upstream, workload: Option<&Arc<str>>) {
        self.upstream = Some(upstream.address);
        if let Security::Mesh(identity) = &upstream.security {
            self.identity = Some(identity.clone());
        }
        if let Some(destination) = &mut self.destination {
            destination.workload = workload.cloned();
        }
    }

    /// The endpoint that was tried last, and the workload behind it.
    pub(crate) fn endpoint(&self) -> Option<(SocketAddr, &str)> {
        let workload = self.destination.as_ref().and_then(|to| to.workload.as_deref());
        self.upstream.map(|address| (address, workload.unwrap_or_default()))
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        self.reason = error.meaning().reason;
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn answered_bytes(&mut self, count: u64) {
        self.sent += count;
    }

    /// The exchange ended before its answer was complete.
    pub(crate) fn broken(&mut self, reason: Reason) {
        self.reason = reason;
    }

    /// Bytes of a tunnel, towards the backend and back.
    pub(crate) fn carried(&mut self, up: u64, down: u64) {
        self.course.bytes.set(self.course.bytes.get() + up);
        self.sent += down;
    }

    fn destination_identity(&self) -> Option<String> {
        match &self.seen.downstream.scope {
            Scope::Inbound { workload, .. } => Some(workload.identity.to_string()),
            Scope::Gateway { .. } | Scope::Outbound { .. } => self.identity.as_ref().map(ToString::to_string),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Observer { telemetry, clock, .. } = &*self.seen.observer;
        // 0: the client was gone before there was an answer.
        let status = self.status.map_or(0, |status| status.as_u16());
        let took = clock.monotonic().saturating_duration_since(self.started);
        let cells = self.seen.cells((status, self.reason), self.destination.as_ref());
        cells.count(took, self.course.bytes.get(), self.sent);
        let trace = self.trace.as_ref();
        let (sampled, exported) =
            (trace.is_some_and(Traced::is_for_proxy), trace.is_some_and(|t| t.receiver().is_some()));
        if exported || telemetry.wants_words(status, self.reason, sampled) {
            self.tell(status, took);
        }
    }
}

impl Record {
    /// Tells the exchange in words.
    fn tell(&self, status: u16, took: Duration) {
        let Observer { telemetry, exports, clock, chance, .. } = &*self.seen.observer;
        let (trace, parent) = match &self.trace {
            Some(traced) => (traced.context, traced.parent),
            None => (TraceContext::root(&mut chance.borrow_mut(), false), None),
        };
        let authority = self.authority.as_ref().map(ToString::to_string);
        let destination = self.destination_identity();
        let exchange = Exchange {
            side: self.seen.side,
            began: clock.wall().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            took,
            method: self.method.as_str(),
            authority: authority.as_deref().unwrap_or_default(),
            path: self.uri.path(),
            status,
            reason: self.reason,
            received: self.course.bytes.get(),
            sent: self.sent,
            source_identity: self.seen.source.as_deref(),
            destination_identity: destination.as_deref(),
            route: self.route.as_ref().map(|rule| rule.route().source.to_string()),
            upstream: self.upstream,
            decision: self.decision,
            trace,
            parent,
            labels: self.seen.labels_of(self.destination.as_ref()),
        };
        telemetry.told(&exchange, self.trace.as_ref().is_some_and(Traced::is_for_proxy));
        let Downstream { facts, tls, .. } = &*self.seen.downstream;
        let asked = Asked { uri: &self.uri, source: facts.source, tls: *tls, port: facts.destination.port() };
        if let Some(traced) = &self.trace
            && let (Some(policy), Some(span)) = (traced.receiver(), traced.span(&exchange, asked))
        {
            let (policy, downstream) = (Arc::clone(policy), Arc::clone(&self.seen.downstream));
            if exports.try_send(Export { policy, downstream, span }).is_err() {
                telemetry.spans.lost(1);
            }
        }
    }
}

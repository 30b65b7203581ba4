//! What the requests of one worker share: snapshot, pool, choices, policies, telemetry. It lives on one
//! thread.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{AuthorizationPolicy, Mesh, ObjectName, Reason, RequestHead, Workload, engine};
use mesh_rt::SharedClock;
use mesh_rt::random::Fast;
use tokio::sync::watch;
use tokio::time::Instant;

use super::downstream::Downstream;
use super::exports;
use super::record::Observer;
use super::revoke::Streams;
use crate::hashed::HashMap;
use crate::layers::mirror::UnderWay;
use crate::layers::retry::Budget;
use crate::layers::session::Sessions;
use crate::pool::{self, Pool, SWEEP};
use crate::scope::Scope;
use crate::snapshot::SharedMesh;
use crate::telemetry::Telemetry;
use crate::upstream::Connect;
use mesh_balance::Balancer;
use mesh_balance::Budgets;

/// Limits towards clients (reliability.md, table 1c).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// How long a connection may wait for its next request.
    pub idle: Duration,
    /// Longest pause within a request's body.
    pub body_pause: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Window of one HTTP/2 stream, in bytes.
    pub stream_window: u32,
    /// Window of one HTTP/2 connection, in bytes.
    pub connection_window: u32,
    /// After this long without a frame an HTTP/2 peer is asked whether it lives, and has as long to answer.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            body_pause: Duration::from_secs(60),
            streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            ping: Duration::from_secs(10),
        }
    }
}

/// What a worker's stack is made of.
pub struct Parts<C> {
    /// The snapshot.
    pub mesh: SharedMesh,
    /// How upstream connections are made.
    pub connect: C,
    /// What the proxy tells of its traffic.
    pub telemetry: Telemetry,
    /// The clock of records.
    pub clock: SharedClock,
    /// Limits towards clients.
    pub limits: Limits,
    /// Limits towards upstreams.
    pub pool: pool::Limits,
    /// Budgets of retries, shared by all workers.
    pub budgets: Budgets,
}

/// The shared state of one worker's requests.
#[derive(Debug)]
pub struct Stack<C> {
    pub(crate) mesh: SharedMesh,
    pub(crate) pool: Pool<C>,
    pub(crate) balancer: Balancer,
    pub(crate) sessions: Sessions,
    pub(crate) budget: Budget,
    pub(crate) budgets: Budgets,
    pub(crate) mirrors: UnderWay,
    pub(crate) exports: UnderWay,
    pub(crate) observer: Rc<Observer>,
    pub(crate) limits: Limits,
    pub(crate) streams: Rc<Streams>,
    policies: RefCell<PolicyCache>,
}

/// The policies of workloads in one snapshot.
#[derive(Debug, Default)]
struct PolicyCache {
    mesh: Option<Arc<Mesh>>,
    by_workload: HashMap<ObjectName, Rc<[Arc<AuthorizationPolicy>]>>,
}

impl<C: Connect> Stack<C> {
    /// Makes the stack of this worker and starts its housekeeping on the current `LocalSet`.
    pub fn start(parts: Parts<C>) -> Rc<Self> {
        let changes = parts.mesh.changes();
        let (exports, spans) = tokio::sync::mpsc::channel(exports::QUEUE);
        let stack = Rc::new(Self {
            mesh: parts.mesh,
            pool: Pool::new(parts.connect, parts.pool, parts.telemetry.metrics.upstream_connects.clone()),
            balancer: Balancer::new(Fast::from_entropy()),
            sessions: Sessions::default(),
            budget: Budget::default(),
            budgets: parts.budgets,
            mirrors: UnderWay::default(),
            exports: UnderWay::default(),
            observer: Rc::new(Observer::new(parts.telemetry, exports, parts.clock)),
            limits: parts.limits,
            streams: Rc::default(),
            policies: RefCell::default(),
        });
        tokio::task::spawn_local(keep_house(Rc::downgrade(&stack), changes));
        tokio::task::spawn_local(exports::export_all(Rc::downgrade(&stack), spans));
        stack
    }

    /// The policies that select a workload in this snapshot.
    pub(crate) fn policies(&self, mesh: &Arc<Mesh>, workload: &Workload) -> Rc<[Arc<AuthorizationPolicy>]> {
        let mut cache = self.policies.borrow_mut();
        if !cache.mesh.as_ref().is_some_and(|known| Arc::ptr_eq(known, mesh)) {
            *cache = PolicyCache { mesh: Some(Arc::clone(mesh)), by_workload: HashMap::default() };
        }
        if let Some(found) = cache.by_workload.get(&workload.name) {
            return Rc::clone(found);
        }
        let found: Rc<[_]> = mesh.policies_for(workload).into();
        cache.by_workload.insert(workload.name.clone(), Rc::clone(&found));
        found
    }

    /// Whether the snapshot lets a request enter; what is not a destination lets everything pass.
    pub(crate) fn admits(
        &self,
        mesh: &Arc<Mesh>,
        downstream: &Downstream,
        head: &RequestHead<'_>,
    ) -> engine::Verdict {
        let unasked = |allowed, reason| engine::Verdict { allowed, reason, by: None, audited: Vec::new() };
        let Scope::Inbound { workload, .. } = &downstream.scope else {
            return unasked(true, Reason::Accepted);
        };
        // Labels may have changed since the connection was accepted. A workload that the snapshot does not
        // know refuses everything: its policies are not known either.
        let Some(current) = mesh.workload(&workload.name) else {
            return unasked(false, Reason::PolicyPending);
        };
        let policies = self.policies(mesh, current);
        engine::authorize(&policies, &downstream.facts, Some(head))
    }
}

/// Ends exchanges that a new snapshot forbids, and closes what has waited too long.
async fn keep_house<C: Connect>(stack: Weak<Stack<C>>, mut changes: watch::Receiver<u64>) {
    let mut due = Instant::now() + SWEEP;
    loop {
        let changed = tokio::time::timeout_at(due, changes.changed()).await;
        let Some(stack) = stack.upgrade() else { return };
        match changed {
            Ok(Ok(())) => {
                let mesh = stack.mesh.current();
                stack
                    .streams
                    .recheck(|facts| stack.admits(&mesh, &facts.downstream, &facts.unpack().head()).allowed);
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        // However often the mesh changes.
        if Instant::now() >= due {
            stack.pool.sweep();
            due = Instant::now() + SWEEP;
        }
    }
}

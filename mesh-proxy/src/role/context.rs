//! What the connections of one worker share. It lives on one thread.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{AuthorizationPolicy, ConnectionFacts, Mesh, ObjectName, Reason, engine};
use mesh_rt::SharedClock;

use crate::dialer::{DialApplication, Dialer};
use crate::http::Stack;
use crate::snapshot::SharedMesh;
use crate::tcp::Scratch;
use crate::telemetry::Telemetry;
use crate::tls::{MeshTls, Peers, Terminations};

/// Deadlines of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long an undeclared protocol is waited for, where the server may speak first.
    pub detect: Duration,
    /// From accept to a whole ClientHello, and again to the end of the handshake.
    pub handshake: Duration,
    /// How long an opaque connection may carry nothing.
    pub idle: Duration,
    /// How long a UDP session may carry nothing.
    pub udp_idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            detect: Duration::from_millis(30),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            udp_idle: Duration::from_secs(60),
        }
    }
}

/// The shared state of one worker's connections.
pub(crate) struct Context {
    pub(crate) mesh: SharedMesh,
    pub(crate) tls: Arc<MeshTls>,
    pub(crate) peers: Peers,
    pub(crate) dialer: Dialer,
    pub(crate) application: Arc<dyn DialApplication>,
    pub(crate) stack: Rc<Stack<Dialer>>,
    pub(crate) terminations: Terminations,
    pub(crate) scratch: Scratch,
    pub(crate) telemetry: Telemetry,
    pub(crate) times: Times,
    pub(crate) clock: SharedClock,
}

impl Context {
    /// Counts and logs a connection that is refused.
    pub(crate) fn refuse(&self, reason: Reason, client: &dyn std::fmt::Display, why: &dyn std::fmt::Display) {
        self.telemetry.metrics.refuse(reason);
        tracing::info!(%reason, %client, %why, "connection refused");
    }

    /// Runs a step of a connection's beginning under the handshake's deadline.
    pub(crate) async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let limited = tokio::time::timeout(self.times.handshake, step).await;
        limited.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether an opaque connection may enter a workload. A workload that the snapshot does not know refuses
    /// everything: its policies are not known either.
    pub(crate) fn admit(&self, workload: &ObjectName, facts: &ConnectionFacts) -> Result<(), Reason> {
        let mesh = self.mesh.current();
        let policies = policies(&mesh, workload).ok_or(Reason::PolicyPending)?;
        let verdict = engine::authorize(&policies, facts, None);
        if verdict.allowed { Ok(()) } else { Err(verdict.reason) }
    }

    /// Ends when a later snapshot refuses a connection that was let in.
    pub(crate) async fn revoked(&self, workload: &ObjectName, facts: &ConnectionFacts) -> Reason {
        self.until(|_| self.admit(workload, facts).err()).await
    }

    /// Ends when this or a later snapshot has what is looked for, such as a reason to end something.
    pub(crate) async fn until<T>(&self, find: impl Fn(&Mesh) -> Option<T>) -> T {
        let mut changes = self.mesh.changes();
        loop {
            // Looked at once before waiting: a change may have come since the decision.
            if let Some(found) = find(&self.mesh.current()) {
                return found;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn policies(mesh: &Mesh, workload: &ObjectName) -> Option<Vec<Arc<AuthorizationPolicy>>> {
    Some(mesh.policies_for(mesh.workload(workload)?))
}

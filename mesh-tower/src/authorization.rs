//! Who may come in: the authorization policies of a workload, asked about every request.

use http::{Response, StatusCode};
use mesh_model::engine::{Verdict, authorize};
use mesh_model::{ConnectionFacts, Mesh, ObjectName, Reason, RequestHead};
use mesh_proxy::http::head::Sender;
use mesh_proxy::snapshot::SharedMesh;
use tower_layer::Layer;

use crate::gate::{Gate, Judge};
use crate::read::refusal;

/// Makes services that let in whom the policies of a workload allow.
///
/// A request that passes carries the [`Verdict`] among its extensions and is what was decided about: its path is
/// normalised, and headers are gone that only the mesh may send. A refused one is answered 403, or 503 while the workload
/// is not known, with the verdict or the [`Reason`] among the answer's extensions.
#[derive(Debug, Clone)]
pub struct AuthorizationLayer {
    mesh: SharedMesh,
    workload: ObjectName,
}

impl AuthorizationLayer {
    /// By the policies that select this workload in the snapshot of each moment.
    pub fn new(mesh: SharedMesh, workload: ObjectName) -> Self {
        Self { mesh, workload }
    }
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = Authorization<S>;

    fn layer(&self, inner: S) -> Authorization<S> {
        Gate::new(self.clone(), inner)
    }
}

/// A service behind the policies of a workload.
pub type Authorization<S> = Gate<AuthorizationLayer, S>;

impl Judge for AuthorizationLayer {
    type Decision = Verdict;

    const SENDER: Sender = Sender::Unverified;

    fn judge<R: Default>(
        &self,
        facts: &ConnectionFacts,
        head: &RequestHead<'_>,
    ) -> Result<Verdict, Box<Response<R>>> {
        let mesh: &Mesh = &self.mesh.current();
        let Some(workload) = mesh.workload(&self.workload) else {
            return Err(Box::new(refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::PolicyPending)));
        };
        let verdict = authorize(&mesh.policies_for(workload), facts, Some(head));
        if !verdict.allowed {
            let mut response = refusal(StatusCode::FORBIDDEN, verdict.reason);
            response.extensions_mut().insert(verdict);
            return Err(Box::new(response));
        }
        Ok(verdict)
    }
}

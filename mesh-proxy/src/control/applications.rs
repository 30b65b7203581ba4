//! The SPIFFE Workload API for the applications behind the proxy. What it answers is decided in mesh-ca; here it gets its
//! socket, and certificates that the controller gives on the proxy's own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mesh_ca::rotate::{Connecting, Remote};
use mesh_ca::tls::{PeerTls, TlsError};
use mesh_ca::workload_api::{Callers, Endpoint, WorkloadApi};

use super::{Connector, ControllerAddress};

/// Why applications get no identity.
#[derive(Debug, thiserror::Error)]
enum ApplicationsError {
    #[error("the socket cannot be opened: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Serves applications at this socket from a task of its own. Traffic does not depend on it: what goes wrong is logged.
pub fn serve(socket: &Path, controller: &ControllerAddress, proxy: &PeerTls) {
    match open(socket, controller, proxy) {
        Ok((endpoint, api)) => {
            tracing::info!(socket = endpoint.uri(), "the workload API is served");
            tokio::spawn(async move {
                if let Err(problem) = endpoint.serve(api).await {
                    tracing::error!(%problem, "the workload API is served no longer");
                }
            });
        }
        Err(problem) => {
            tracing::error!(socket = %socket.display(), %problem, "the workload API is not served");
        }
    }
}

fn open(
    socket: &Path,
    controller: &ControllerAddress,
    proxy: &PeerTls,
) -> Result<(Endpoint, WorkloadApi), ApplicationsError> {
    let connector = Connector::new(controller, proxy)?;
    let connect = move || {
        let connector = connector.clone();
        Box::pin(async move { connector.connect().await }) as Connecting
    };
    // No token: it may be good for one key only, and that is the proxy's.
    let issuance = Remote::through(connect, Arc::clone(&proxy.source));
    Ok((Endpoint::bind(socket, Callers::Anyone)?, WorkloadApi::new(proxy.clone(), issuance)))
}

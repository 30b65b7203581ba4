//! Connections that left HTTP by `Upgrade` or extended CONNECT: two raw ends, a record, and the means to end
//! them. Nothing reaches the backend before it has agreed to the change.

use mesh_http1_tokio::RawIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::revoke::Watch;
use crate::http::record::Record;
use mesh_balance::InFlight;

/// Bytes on their way in one direction.
const BUFFER: usize = 16 * 1024;

/// The backend's end of a tunnel, waiting for the client's.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: Box<dyn RawIo>,
    pub(crate) record: Record,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) watch: Option<Watch>,
}

impl Tunnel {
    /// Carries bytes until one side ends, access is withdrawn or the drain deadline drops the future.
    pub(crate) async fn run<D>(mut self, mut downstream: D)
    where
        D: AsyncRead + AsyncWrite + Unpin,
    {
        let mut watch = self.watch.take();
        let revoked = async {
            match &mut watch {
                Some(watch) => watch.revoked().await,
                None => std::future::pending().await,
            }
        };
        let copied =
            tokio::io::copy_bidirectional_with_sizes(&mut downstream, &mut self.upstream, BUFFER, BUFFER);
        tokio::select! {
            carried = copied => if let Ok((up, down)) = carried {
                self.record.carried(up, down);
            },
            () = revoked => self.record.broken(mesh_model::Reason::DeniedByPolicy),
        }
        drop(self.in_flight.take());
    }
}

//! What the peer of a finished handshake proved, so that it can be asked again when trust changes. No connections.

use std::time::SystemTime;

use rustls::CommonState;
use rustls_pki_types::CertificateDer;

use super::verify::verify_chain;
use crate::profile::Purpose;
use crate::svid::TrustBundles;

/// A peer's certificates and when they were verified.
#[derive(Debug, Clone)]
pub struct Proof {
    chain: Vec<CertificateDer<'static>>,
    purpose: Purpose,
    at: SystemTime,
}

impl Proof {
    /// What the client of a connection proved at this time; `None` when it presented no certificate.
    pub fn of_client(connection: &CommonState, at: SystemTime) -> Option<Self> {
        Self::of(connection, Purpose::Client, at)
    }

    /// What the server of a connection proved at this time.
    pub fn of_server(connection: &CommonState, at: SystemTime) -> Option<Self> {
        Self::of(connection, Purpose::Server, at)
    }

    fn of(connection: &CommonState, purpose: Purpose, at: SystemTime) -> Option<Self> {
        Some(Self { chain: connection.peer_certificates()?.to_vec(), purpose, at })
    }

    /// Whether these bundles would have let the peer in at the time of its handshake: only trust that was
    /// withdrawn counts, not the time that has passed since.
    pub fn holds(&self, bundles: &TrustBundles) -> bool {
        verify_chain(&self.chain, bundles, self.at, self.purpose).is_ok()
    }
}

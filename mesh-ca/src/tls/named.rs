//! A server that clients outside the mesh know by its DNS name, such as an API server that calls us back. Its certificate
//! comes from the mesh's authority and proves a name, never an identity.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::TlsError;
use super::config::{crypto, time};
use crate::authority::{Authority, AuthorityError};

/// Longest time that a certificate is shown: a new signing root is used soon.
const SHOWN: Duration = Duration::from_secs(3600);

/// A configuration that shows a certificate of the authority for these names, made anew when it grows old. Clients show
/// none.
///
/// # Errors
/// [`TlsError::Rustls`] when the cryptography provider lacks what is asked for.
pub fn named_server_config(
    authority: Arc<Authority>,
    names: Vec<String>,
) -> Result<Arc<ServerConfig>, TlsError> {
    // Cipher suites of TLS 1.2 too: whoever calls is not one of ours.
    let provider = CryptoProvider {
        kx_groups: crypto().kx_groups.clone(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let builder = ServerConfig::builder_with_details(Arc::new(provider), time(authority.clock()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth();
    let resolver = Named { authority, names, held: Mutex::default() };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Makes certificates when they are needed.
struct Named {
    authority: Arc<Authority>,
    names: Vec<String>,
    /// Until when it is shown.
    held: Mutex<Option<(SystemTime, Arc<CertifiedKey>)>>,
}

impl Named {
    fn fresh(&self, now: SystemTime) -> Result<(SystemTime, Arc<CertifiedKey>), AuthorityError> {
        let (chain, key, not_after) = self.authority.issue_server(&self.names)?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key.for_rustls());
        let signing = signing.map_err(|error| AuthorityError::Stored(error.to_string()))?;
        let life = not_after.duration_since(now).unwrap_or_default();
        Ok((now + SHOWN.min(life / 2), Arc::new(CertifiedKey::new(chain, signing))))
    }
}

impl ResolvesServerCert for Named {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.authority.clock().wall();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(until, _)| *until <= now) {
            match self.fresh(now) {
                Ok(fresh) => *held = Some(fresh),
                // The old one may still hold; whoever connects finds out.
                Err(error) => tracing::error!(%error, "no certificate for {}", self.names.join(", ")),
            }
        }
        held.as_ref().map(|(_, certified)| Arc::clone(certified))
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("names", &self.names).finish_non_exhaustive()
    }
}

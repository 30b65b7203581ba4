//! Builds the client's and the server's configuration. What a peer must prove lives in `verify`.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_model::SpiffeId;
use mesh_rt::SharedClock;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{ServerName, UnixTime};

use super::verify::{Verifier, VerifyClient, VerifyServer};
use crate::source::SvidSource;
use crate::trust::TrustSource;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A client that expects nobody in particular would talk to anybody.
    #[error("a client must name at least one identity that it expects")]
    NobodyExpected,
    /// rustls refused the parameters.
    #[error("the TLS parameters are unusable: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Whether a server lets clients in that present no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client may come without a certificate and is then nobody; one that it presents must hold.
    Optional,
    /// Every client proves who it is.
    Required,
}

/// Who we are and whom we trust.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// Our own identity.
    pub source: Arc<SvidSource>,
    /// The roots of each trust domain.
    pub trust: Arc<TrustSource>,
}

impl PeerTls {
    /// Identity and trust together.
    pub fn new(source: Arc<SvidSource>, trust: Arc<TrustSource>) -> Self {
        Self { source, trust }
    }
}

/// A server's configuration. The SVID and the roots are read at every handshake.
///
/// # Errors
/// [`TlsError::Rustls`] when the cryptography provider lacks what is asked for.
pub fn server_config(
    identity: &PeerTls,
    clients: ClientAuth,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = crypto();
    let verifier = Verifier::new(Arc::clone(&identity.trust), &provider);
    let verifier = Arc::new(VerifyClient { verifier, mandatory: clients == ClientAuth::Required });
    let builder = ServerConfig::builder_with_details(provider, time(identity.source.clock()));
    let builder = builder.with_protocol_versions(&[&TLS13])?.with_client_cert_verifier(verifier);
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(Arc::clone(&identity.source))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client's configuration that accepts only the expected identities. An empty source makes a client
/// without certificate, as a workload is before its first SVID.
///
/// # Errors
/// [`TlsError::NobodyExpected`] when `expected` is empty, else as [`server_config`].
pub fn client_config(
    identity: &PeerTls,
    expected: Vec<SpiffeId>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    if expected.is_empty() {
        return Err(TlsError::NobodyExpected);
    }
    let provider = crypto();
    let verifier = Verifier::new(Arc::clone(&identity.trust), &provider);
    let verifier = Arc::new(VerifyServer { verifier, expected });
    let builder = ClientConfig::builder_with_details(provider, time(identity.source.clock()));
    let builder = builder.with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_client_cert_resolver(Arc::new(Resolver(Arc::clone(&identity.source))));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The name to hand to rustls when connecting to a mesh peer. It is not sent and not checked: the peer is
/// known by its SPIFFE ID alone.
pub fn peer_name() -> ServerName<'static> {
    ServerName::try_from("peer.invalid").expect("the name is a constant")
}

/// X25519MLKEM768 first, classical exchange for peers without it. AES-128 first: it is the cheaper cipher,
/// and its margin is enough against quantum search too.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    use provider::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..provider::default_provider()
    })
}

/// Presents the SVID of the moment.
#[derive(Debug)]
struct Resolver(Arc<SvidSource>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certified()
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.certified()
    }

    fn has_certs(&self) -> bool {
        self.0.certified().is_some()
    }
}

struct WallTime(SharedClock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime")
    }
}

pub(super) fn time(clock: &SharedClock) -> Arc<dyn TimeProvider> {
    Arc::new(WallTime(Arc::clone(clock)))
}

//! TLS that ends at a gateway: certificates by server name, and the check of clients' certificates.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mesh_model::listener::ClientValidation;
use mesh_model::{Certificate, Listener, ListenerProtocol, ListenerTls, Mesh, ResourceKey};
use mesh_rt::SharedClock;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use super::clock::time;

/// Why a listener cannot end TLS. Its connections are closed; other listeners are not touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerTlsError {
    /// The listener passes TLS through, or has none.
    #[error("the listener does not end TLS")]
    NotTerminating,
    /// None of its certificates is known and usable.
    #[error("the listener has no usable certificate")]
    NoCertificate,
    /// rustls refused the parameters.
    #[error("the TLS parameters are unusable: {0}")]
    Rustls(#[from] Error),
    /// The roots that clients are checked against are unusable.
    #[error("clients cannot be checked: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The TLS configurations of a worker's listeners, rebuilt when a listener or one of its certificates is
/// another one in the snapshot.
pub struct Terminations {
    clock: SharedClock,
    built: RefCell<HashMap<ResourceKey, Built>>,
}

impl fmt::Debug for Terminations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminations").field("built", &self.built).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Built {
    listener: Arc<Listener>,
    certificates: Vec<Arc<Certificate>>,
    config: Arc<ServerConfig>,
}

/// Most configurations kept; listeners that are gone are dropped beyond it.
const MOST: usize = 4096;

impl Terminations {
    /// No configuration yet; certificates are judged by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, built: RefCell::default() }
    }

    /// The configuration of a listener in this snapshot.
    ///
    /// # Errors
    /// Why the listener cannot end TLS.
    pub fn config(
        &self,
        mesh: &Mesh,
        listener: &Arc<Listener>,
    ) -> Result<Arc<ServerConfig>, ListenerTlsError> {
        let Some(ListenerTls::Terminate { certificates, client }) = &listener.tls else {
            return Err(ListenerTlsError::NotTerminating);
        };
        let certificates: Vec<_> = certificates.iter().filter_map(|key| mesh.certificate(key)).collect();
        let same = |built: &Built| {
            Arc::ptr_eq(&built.listener, listener)
                && built.certificates.len() == certificates.len()
                && built.certificates.iter().zip(&certificates).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let mut built = self.built.borrow_mut();
        if let Some(found) = built.get(&listener.key).filter(|found| same(found)) {
            return Ok(Arc::clone(&found.config));
        }
        let keys = ByName::new(&certificates)?;
        let config = Arc::new(self.build(keys, client.as_ref(), listener.protocol)?);
        if built.len() >= MOST {
            built.clear();
        }
        let certificates = certificates.into_iter().cloned().collect();
        let entry = Built { listener: Arc::clone(listener), certificates, config: Arc::clone(&config) };
        built.insert(listener.key.clone(), entry);
        Ok(config)
    }

    fn build(
        &self,
        keys: ByName,
        client: Option<&ClientValidation>,
        protocol: ListenerProtocol,
    ) -> Result<ServerConfig, ListenerTlsError> {
        let crypto = Arc::new(provider::default_provider());
        let builder = ServerConfig::builder_with_details(Arc::clone(&crypto), time(&self.clock))
            .with_safe_default_protocol_versions()?;
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(validation) => builder.with_client_cert_verifier(verifier(validation, crypto)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(keys));
        if protocol == ListenerProtocol::Https {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        if client.is_some() {
            // A resumed session would skip the check of the client.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// Certificates by the names they carry.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ByName {
    /// Unusable certificates are left out, so that one bad Secret does not close the listener.
    fn new(certificates: &[&Arc<Certificate>]) -> Result<Self, ListenerTlsError> {
        let keys: Vec<_> = certificates.iter().filter_map(|certificate| certified(certificate)).collect();
        if keys.is_empty() { Err(ListenerTlsError::NoCertificate) } else { Ok(Self(keys)) }
    }
}

fn certified(certificate: &Certificate) -> Option<Arc<CertifiedKey>> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let key = PrivateKeyDer::try_from(certificate.private_key.expose()).ok()?;
    let key = provider::sign::any_supported_type(&key).ok()?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Some(Arc::new(certified)),
        Err(problem) => {
            tracing::warn!(certificate = %certificate.source, %problem, "certificate is not used");
            None
        }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| carries(key, name));
        let found = self.0.iter().filter(usable).find(named).or_else(|| self.0.iter().find(usable));
        found.cloned()
    }
}

fn carries(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().ok().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    parsed.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

fn verifier(
    validation: &ClientValidation,
    crypto: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ListenerTlsError> {
    let mut roots = RootCertStore::empty();
    for root in &validation.roots {
        roots.add(CertificateDer::from(root.to_vec()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
    if validation.insecure_fallback {
        return Ok(Arc::new(Lenient(builder.allow_unauthenticated().build()?)));
    }
    Ok(builder.build()?)
}

/// Lets clients in whatever their certificate is (GEP-91, `AllowInsecureFallback`); possession of the
/// certificate's key is still proven.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

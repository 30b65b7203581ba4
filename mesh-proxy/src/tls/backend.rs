//! TLS towards backends by policy: server name, roots, and the names that a backend must prove.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use mesh_model::tls::{BackendTls, Certificate, Roots, SubjectAltName};
use mesh_rt::SharedClock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::clock::time;
use crate::upstream::Speaks;

/// Why a backend's TLS policy cannot be used: every connection under it fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendTlsError {
    /// A name of the policy is not a DNS name.
    #[error("{0:?} is not a name that a certificate can carry")]
    Name(Arc<str>),
    /// There is no root that a backend could be checked against.
    #[error("the policy has no usable root certificate")]
    NoRoots,
    /// rustls refused the parameters.
    #[error("the TLS parameters are unusable: {0}")]
    Rustls(#[from] Error),
}

/// The system's root certificates, read at first use.
#[derive(Debug, Default)]
pub struct SystemRoots {
    file: Option<PathBuf>,
    loaded: OnceLock<Arc<RootCertStore>>,
}

/// Where systems keep their root certificates.
const SYSTEM_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

impl SystemRoots {
    /// The roots in this PEM file instead of the system's.
    pub fn from_file(file: PathBuf) -> Self {
        Self { file: Some(file), loaded: OnceLock::new() }
    }

    fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(self.loaded.get_or_init(|| {
            let files = self.file.iter().cloned().chain(SYSTEM_FILES.into_iter().map(PathBuf::from));
            let count = if self.file.is_some() { 1 } else { SYSTEM_FILES.len() };
            let read = |file: PathBuf| {
                let mut store = RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(file).ok()?;
                store.add_parsable_certificates(found.flatten());
                (!store.is_empty()).then_some(store)
            };
            Arc::new(files.take(count).find_map(read).unwrap_or_else(RootCertStore::empty))
        }))
    }
}

/// The configuration of connections to a backend under this policy, and the server name to send. The
/// certificate is shown when the backend asks for one.
///
/// # Errors
/// Why the policy cannot be used.
pub fn backend_config(
    tls: &BackendTls,
    shown: Option<&Certificate>,
    speaks: Speaks,
    system: &SystemRoots,
    clock: &SharedClock,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), BackendTlsError> {
    let name = dns_name(&tls.hostname)?;
    let names = match tls.names.as_slice() {
        [] => vec![Name::Dns(name.clone())],
        names => names.iter().map(Name::of).collect::<Result<_, _>>()?,
    };
    let roots = match &tls.roots {
        Roots::Bundle(bundle) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(bundle.iter().map(|der| CertificateDer::from(der.to_vec())));
            Arc::new(store)
        }
        Roots::None => Arc::new(RootCertStore::empty()),
        Roots::System => system.store(),
    };
    if roots.is_empty() {
        return Err(BackendTlsError::NoRoots);
    }
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Named { roots, names, crypto: Arc::clone(&crypto) });
    let config = ClientConfig::builder_with_details(crypto, time(clock))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        None => config.with_no_client_auth(),
        Some(shown) => {
            let key = PrivateKeyDer::try_from(shown.private_key.expose().to_vec());
            let key = key.map_err(|problem| Error::General(problem.to_owned()))?;
            let chain = shown.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
            config.with_client_auth_cert(chain, key)?
        }
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match speaks {
        Speaks::Http1 => vec![b"http/1.1".to_vec()],
        Speaks::Http2 => vec![b"h2".to_vec()],
        Speaks::Opaque => Vec::new(),
    };
    Ok((Arc::new(config), name))
}

fn dns_name(text: &Arc<str>) -> Result<ServerName<'static>, BackendTlsError> {
    ServerName::try_from(text.to_string()).map_err(|_| BackendTlsError::Name(Arc::clone(text)))
}

/// A name that a certificate may prove.
#[derive(Debug)]
enum Name {
    Dns(ServerName<'static>),
    Uri(Arc<str>),
}

impl Name {
    fn of(name: &SubjectAltName) -> Result<Self, BackendTlsError> {
        match name {
            SubjectAltName::Dns(name) => dns_name(name).map(Self::Dns),
            SubjectAltName::Uri(uri) => Ok(Self::Uri(Arc::clone(uri))),
        }
    }

    fn proven_by(&self, der: &CertificateDer<'_>, leaf: &ParsedCertificate<'_>) -> bool {
        match self {
            Self::Dns(name) => verify_server_name(leaf, name).is_ok(),
            Self::Uri(uri) => webpki::EndEntityCert::try_from(der)
                .is_ok_and(|leaf| leaf.valid_uri_names().any(|found| found == &**uri)),
        }
    }
}

/// Checks a path to the policy's roots and one of the policy's names.
#[derive(Debug)]
struct Named {
    roots: Arc<RootCertStore>,
    names: Vec<Name>,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(der)?;
        let algorithms = self.crypto.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        if self.names.iter().any(|name| name.proven_by(der, &leaf)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

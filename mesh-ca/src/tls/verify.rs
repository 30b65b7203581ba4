//! What a peer must prove: the SPIFFE profile, then a path to a root of its own trust domain, then its name.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, CommonState, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::profile::{self, Leaf, ProfileError, Purpose};
use crate::svid::{Svid, TrustBundle, TrustBundles};
use crate::trust::TrustSource;

/// Most intermediates a peer may send: building paths from many is expensive.
const MAX_INTERMEDIATES: usize = 4;

type PathCheck<'a> = dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error> + 'a;

/// Why a peer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer sent too many certificates.
    #[error("{0} intermediate certificates are more than the {MAX_INTERMEDIATES} allowed")]
    ChainTooLong(usize),
    /// No path leads to a root of the leaf's trust domain.
    #[error("no path from {id} to a root of its trust domain: {reason}")]
    Path {
        /// Who the leaf claims to be.
        id: SpiffeId,
        /// What path verification said.
        reason: String,
    },
    /// The leaf, or an issuer above it, breaks the SPIFFE profile.
    #[error("the certificate breaks the SPIFFE profile: {0}")]
    Profile(#[from] ProfileError),
    /// Every root of the trust domain is expired or not yet valid.
    #[error("no root of trust domain {0} is valid now")]
    RootsExpired(TrustDomain),
    /// The peer is somebody, but not whom we wanted.
    #[error("the peer is {found}, expected {}", listed(.expected))]
    Unexpected {
        /// Who answered.
        found: SpiffeId,
        /// Who should have.
        expected: Vec<SpiffeId>,
    },
    /// Nothing is known about the peer's trust domain.
    #[error("trust domain {0} is not trusted")]
    UnknownTrustDomain(TrustDomain),
}

impl PeerError {
    /// The refusal inside a failed handshake's error, for a message that a person can read.
    pub fn of(error: &std::io::Error) -> Option<&Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
            _ => None,
        }
    }
}

/// The verified identity of the peer of a finished handshake; `None` when it presented no certificate.
/// Only for connections made with the configurations of this module: they verified what is read here.
pub fn peer_identity(connection: &CommonState) -> Option<SpiffeId> {
    let leaf = connection.peer_certificates()?.first()?;
    profile::parse_svid_id(leaf).ok()
}

/// The checks that both sides share.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<TrustSource>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Arc<TrustSource>, provider: &CryptoProvider) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<SpiffeId, PeerError> {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let check = ChainCheck { bundles: &self.trust.current(), algorithms: &self.algorithms };
        check.verify((leaf, intermediates), moment, purpose)
    }
}

/// Checks that an SVID of our own holds under bundles, so that a bad one never replaces a good one.
///
/// # Errors
/// As a peer would refuse it.
pub fn verify_svid(svid: &Svid, bundles: &TrustBundles, now: SystemTime) -> Result<(), PeerError> {
    for purpose in [Purpose::Client, Purpose::Server] {
        verify_chain(svid.chain(), bundles, now, purpose)?;
    }
    Ok(())
}

/// Checks a chain, which begins with its leaf, for one purpose.
pub(super) fn verify_chain(
    chain: &[CertificateDer<'_>],
    bundles: &TrustBundles,
    now: SystemTime,
    purpose: Purpose,
) -> Result<SpiffeId, PeerError> {
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let check = ChainCheck { bundles, algorithms: &algorithms };
    let (leaf, intermediates) = chain.split_first().expect("a chain has a leaf");
    check.verify((leaf, intermediates), now, purpose)
}

/// One chain against the bundles of one moment.
struct ChainCheck<'a> {
    bundles: &'a TrustBundles,
    algorithms: &'a WebPkiSupportedAlgorithms,
}

impl ChainCheck<'_> {
    fn verify(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: SystemTime,
        purpose: Purpose,
    ) -> Result<SpiffeId, PeerError> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(PeerError::ChainTooLong(intermediates.len()));
        }
        let facts = Leaf::parse(leaf)?;
        facts.check(now, purpose)?;
        let trust_domain = facts.id().trust_domain();
        let bundle = self.bundles.of(trust_domain);
        let bundle = bundle.ok_or_else(|| PeerError::UnknownTrustDomain(trust_domain.clone()))?;
        let anchors = bundle.anchors(now);
        if anchors.is_empty() {
            return Err(PeerError::RootsExpired(trust_domain.clone()));
        }
        let failed =
            |error: webpki::Error| PeerError::Path { id: facts.id().clone(), reason: error.to_string() };
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let own_issuers = |path: &VerifiedPath<'_>| issuers_belong(path, bundle);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        let certificate = EndEntityCert::try_from(leaf).map_err(failed)?;
        let (algorithms, check) = (self.algorithms.all, Some(&own_issuers as &PathCheck<'_>));
        certificate
            .verify_for_usage(algorithms, &anchors, intermediates, now, usage, None, check)
            .map_err(failed)?;
        Ok(facts.id().clone())
    }
}

/// An issuer on the path may name its trust domain only: another name would make it somebody else's.
fn issuers_belong(path: &VerifiedPath<'_>, bundle: &TrustBundle) -> Result<(), webpki::Error> {
    if !bundle.allows(path.anchor(), path.intermediate_certificates().count()) {
        return Err(webpki::Error::PathLenConstraintViolated);
    }
    for issuer in path.intermediate_certificates() {
        let signing = profile::Signing::parse(&issuer.der());
        let belongs = signing.and_then(|signing| signing.check_trust_domain(bundle.trust_domain()));
        belongs.map_err(|_| webpki::Error::UnknownIssuer)?;
    }
    Ok(())
}

/// The server's view of its clients.
#[derive(Debug)]
pub(super) struct VerifyClient {
    pub(super) verifier: Verifier,
    pub(super) mandatory: bool,
}

impl ClientCertVerifier for VerifyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify(leaf, intermediates, now, Purpose::Client);
        verified.map(|_| ClientCertVerified::assertion()).map_err(refusal)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.verifier.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.algorithms.supported_schemes()
    }
}

/// The client's view of its server.
#[derive(Debug)]
pub(super) struct VerifyServer {
    pub(super) verifier: Verifier,
    pub(super) expected: Vec<SpiffeId>,
}

impl ServerCertVerifier for VerifyServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.verifier.verify(leaf, intermediates, now, Purpose::Server).map_err(refusal)?;
        if !self.expected.contains(&found) {
            return Err(refusal(PeerError::Unexpected { found, expected: self.expected.clone() }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.verifier.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.algorithms.supported_schemes()
    }
}

/// The refusal in rustls's terms, so that the peer gets the matching alert; ours keeps the whole reason.
fn refusal(error: PeerError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn listed(ids: &[SpiffeId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(" or ")
}

//! The messages of `mesh.v1.CertificateService`. Fields are only ever added.

/// The full name of the service.
pub(super) const SERVICE: &str = "mesh.v1.CertificateService";
/// The path of the call that issues.
pub(super) const ISSUE: &str = "/mesh.v1.CertificateService/IssueCertificate";
/// The path of the call that reads the bundles.
pub(super) const BUNDLES: &str = "/mesh.v1.CertificateService/FetchBundles";
/// The path of the call that gives tokens.
pub(super) const TOKEN: &str = "/mesh.v1.CertificateService/IssueToken";
/// Longest message in bytes, in both directions.
pub(super) const MAX_MESSAGE: usize = 1 << 20;

/// Asks for a certificate.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct IssueCertificateRequest {
    /// PKCS#10 in DER; only its public key counts.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) csr: Vec<u8>,
    /// Proof of identity; empty when the connection's certificate is the proof.
    #[prost(string, tag = "2")]
    pub(super) attestation_token: String,
    /// Life asked for, in seconds; 0 leaves it to the authority.
    #[prost(uint64, tag = "3")]
    pub(super) ttl_seconds: u64,
    /// Whose certificate is asked for, as a SPIFFE ID; empty for the asker's own.
    #[prost(string, tag = "4")]
    pub(super) identity: String,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct IssueCertificateResponse {
    /// The chain in DER, leaf first, without the root.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) chain: Vec<Vec<u8>>,
    /// Whom to trust.
    #[prost(message, repeated, tag = "2")]
    pub(super) bundles: Vec<Bundle>,
    /// Life left, in seconds: relative, so that it holds for a client whose clock is wrong.
    #[prost(uint64, tag = "3")]
    pub(super) ttl_seconds: u64,
}

/// Asks for the bundles.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct FetchBundlesRequest {}

/// The bundles.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct FetchBundlesResponse {
    /// One for each trust domain.
    #[prost(message, repeated, tag = "1")]
    pub(super) bundles: Vec<Bundle>,
}

/// The roots of one trust domain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Bundle {
    /// Its name, without scheme.
    #[prost(string, tag = "1")]
    pub(super) trust_domain: String,
    /// The roots in DER.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) roots: Vec<Vec<u8>>,
    /// The number of the last change.
    #[prost(uint64, tag = "3")]
    pub(super) sequence: u64,
    /// The keys of JWT-SVIDs as SubjectPublicKeyInfo in DER.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) jwt_keys: Vec<Vec<u8>>,
}

/// Asks for a token that names the asker, as its certificate does.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct IssueTokenRequest {
    /// Whom it is to be shown to.
    #[prost(string, repeated, tag = "1")]
    pub(super) audience: Vec<String>,
}

/// A token.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct IssueTokenResponse {
    /// The JWT-SVID in the compact form.
    #[prost(string, tag = "1")]
    pub(super) token: String,
    /// Life left, in seconds: relative, so that it holds for a client whose clock is wrong.
    #[prost(uint64, tag = "2")]
    pub(super) ttl_seconds: u64,
}

/// Never shows the token.
impl std::fmt::Debug for IssueTokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssueTokenResponse").field("ttl_seconds", &self.ttl_seconds).finish_non_exhaustive()
    }
}

//! The messages of the SPIFFE Workload API that are served, written by hand with the standard's field numbers
//! (SPIFFE Workload API, sections 5.1 and 6.1). The service has no package.

use std::collections::BTreeMap;

/// The full name of the service.
pub(super) const SERVICE: &str = "SpiffeWorkloadAPI";
/// The path of the call that gives certificates with their keys.
pub(super) const FETCH_X509_SVID: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// The path of the call that gives the roots of trust domains.
pub(super) const FETCH_X509_BUNDLES: &str = "/SpiffeWorkloadAPI/FetchX509Bundles";

/// The path of the call that gives tokens.
pub(super) const FETCH_JWT_SVID: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
/// The path of the call that gives the keys of tokens.
pub(super) const FETCH_JWT_BUNDLES: &str = "/SpiffeWorkloadAPI/FetchJWTBundles";
/// The path of the call that judges a token.
pub(super) const VALIDATE_JWT_SVID: &str = "/SpiffeWorkloadAPI/ValidateJWTSVID";

/// Asks for certificates.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct X509SvidRequest {}

/// All that a workload may have. Revocation lists (field 2) do not exist here: lives are short.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct X509SvidResponse {
    /// Its identities; here always one.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    /// The roots of other trust domains in DER, one after the other, by the SPIFFE ID of the domain.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// One identity. The hint (field 5) tells several apart and is left out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct X509Svid {
    /// Whose it is.
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The chain in DER, one certificate after the other, leaf first, without the root.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    /// The private key in PKCS#8, DER, not encrypted.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    /// The roots of its trust domain in DER, one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
}

/// Never shows the key.
impl std::fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("X509Svid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Asks for bundles.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct X509BundlesRequest {}

/// All bundles that a workload may use. Revocation lists (field 1) do not exist here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct X509BundlesResponse {
    /// Roots in DER, one after the other, by the SPIFFE ID of the trust domain.
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

/// Asks for tokens.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtSvidRequest {
    /// Whom they are to be shown to; at least one.
    #[prost(string, repeated, tag = "1")]
    pub(super) audience: Vec<String>,
    /// For which identity; empty for all of the workload.
    #[prost(string, tag = "2")]
    pub(super) spiffe_id: String,
}

/// Tokens, one for each identity; here always one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtSvidResponse {
    /// The tokens.
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<JwtSvid>,
}

/// A token. The hint (field 3) tells several apart and is left out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct JwtSvid {
    /// Whom it names.
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The compact form (RFC 7515, section 3.1).
    #[prost(string, tag = "2")]
    pub(super) svid: String,
}

/// Never shows the token.
impl std::fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtSvid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Asks for the keys of tokens.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct JwtBundlesRequest {}

/// The keys of tokens.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtBundlesResponse {
    /// Sets of keys (RFC 7517) by the SPIFFE ID of the trust domain.
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

/// Asks whether a token holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct ValidateJwtSvidRequest {
    /// Who asks, as tokens name it.
    #[prost(string, tag = "1")]
    pub(super) audience: String,
    /// The compact form.
    #[prost(string, tag = "2")]
    pub(super) svid: String,
}

/// Never shows the token.
impl std::fmt::Debug for ValidateJwtSvidRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValidateJwtSvidRequest").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// What a token that holds says.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidateJwtSvidResponse {
    /// Whom it names.
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// All that it claims.
    #[prost(message, optional, tag = "2")]
    pub(super) claims: Option<prost_types::Struct>,
}

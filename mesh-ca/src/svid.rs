//! An identity with its key, and the roots that a trust domain is checked against. Nothing here issues.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::jwt::{JwtKey, MAX_JWT_KEYS};
use crate::key::{KeyError, PrivateKey};
use crate::profile::{self, ProfileError};

/// Most roots one bundle may hold: rotation needs two, a federated domain some more.
pub const MAX_ROOTS: usize = 16;

/// Why an identity or a bundle could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// The chain is empty.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// The key is unreadable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is not the one in the first certificate.
    #[error("the private key does not belong to the certificate of {0}")]
    KeyMismatch(SpiffeId),
    /// The first certificate breaks the SPIFFE profile.
    #[error("the certificate is no X.509-SVID: {0}")]
    Profile(#[from] ProfileError),
    /// A root is no usable signing certificate of its trust domain.
    #[error("root {index} of trust domain {trust_domain} is unusable: {reason}")]
    Root {
        /// The trust domain of the bundle.
        trust_domain: TrustDomain,
        /// Position in the bundle, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// More than [`MAX_JWT_KEYS`] keys for tokens.
    #[error("{0} keys for JWT-SVIDs are more than the {MAX_JWT_KEYS} that a bundle may hold")]
    TooManyJwtKeys(usize),
    /// More than [`MAX_ROOTS`] roots.
    #[error("{0} roots are more than the {MAX_ROOTS} that a bundle may hold")]
    TooManyRoots(usize),
}

/// An X.509-SVID: who the workload is, the proof, and the private key.
#[derive(Clone)]
pub struct Svid {
    id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Svid {
    /// Builds an identity from a chain (leaf first, without the root) and the leaf's key.
    ///
    /// # Errors
    /// When the chain is empty, the leaf breaks the profile, or the key is another one.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self, SvidError> {
        let leaf = chain.first().ok_or(SvidError::EmptyChain)?;
        let leaf = profile::Leaf::parse(leaf)?;
        if leaf.spki() != key.public().spki() {
            return Err(SvidError::KeyMismatch(leaf.id().clone()));
        }
        let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
        Ok(Self { id: leaf.id().clone(), chain, key, not_before, not_after })
    }

    /// Who this is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificates, leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key of the leaf.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// First moment of validity.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Last moment of validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What is left of the life at `now`; zero when expired.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Svid");
        shown.field("id", &self.id.to_string()).field("not_before", &self.not_before);
        shown.field("not_after", &self.not_after).field("key", &self.key).finish_non_exhaustive()
    }
}

/// One root certificate, checked and ready for path verification.
#[derive(Clone)]
struct Root {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    deepest: Option<u32>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// The roots of one trust domain.
#[derive(Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<Root>,
    jwt_keys: Vec<JwtKey>,
    sequence: u64,
}

impl TrustBundle {
    /// Builds a bundle from root certificates in DER; `sequence` grows with every change.
    ///
    /// # Errors
    /// When a root is unreadable, is not a certificate that may sign, or names another trust domain, or when
    /// there are more than [`MAX_ROOTS`].
    pub fn new(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        sequence: u64,
    ) -> Result<Self, SvidError> {
        if roots.len() > MAX_ROOTS {
            return Err(SvidError::TooManyRoots(roots.len()));
        }
        let check = |(index, der)| {
            Root::parse(der, &trust_domain).map_err(|reason| SvidError::Root {
                trust_domain: trust_domain.clone(),
                index,
                reason,
            })
        };
        let roots = roots.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, roots, jwt_keys: Vec::new(), sequence })
    }

    /// Believes tokens under these keys, too.
    ///
    /// # Errors
    /// When there are more than [`MAX_JWT_KEYS`].
    pub fn with_jwt_keys(mut self, keys: Vec<JwtKey>) -> Result<Self, SvidError> {
        if keys.len() > MAX_JWT_KEYS {
            return Err(SvidError::TooManyJwtKeys(keys.len()));
        }
        self.jwt_keys = keys;
        Ok(self)
    }

    /// The keys that sign the JWT-SVIDs of the trust domain.
    pub fn jwt_keys(&self) -> &[JwtKey] {
        &self.jwt_keys
    }

    /// The trust domain whose identities these roots vouch for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificates in DER.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    /// The root certificates that are valid at this moment or will be.
    pub(crate) fn unexpired(&self, now: SystemTime) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().filter(move |root| now <= root.not_after).map(|root| &root.der)
    }

    /// The number of the last change.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The end of the longest-lived root, if there is any root.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.roots.iter().map(|root| root.not_after).max()
    }

    /// The anchors of the roots that are valid at this moment: path verification itself does not look.
    pub(crate) fn anchors(&self, now: SystemTime) -> Vec<TrustAnchor<'_>> {
        let valid = self.roots.iter().filter(|root| root.not_before <= now && now <= root.not_after);
        valid.map(|root| root.anchor.clone()).collect()
    }

    /// Whether a root lets this many issuers stand below it: path verification does not look either.
    pub(crate) fn allows(&self, anchor: &TrustAnchor<'_>, issuers: usize) -> bool {
        let root = self.roots.iter().find(|root| root.anchor == *anchor);
        root.is_some_and(|root| root.deepest.is_none_or(|deepest| issuers <= deepest as usize))
    }
}

impl Root {
    fn parse(der: CertificateDer<'static>, trust_domain: &TrustDomain) -> Result<Self, String> {
        let signing = profile::Signing::parse(&der).map_err(|error| error.to_string())?;
        signing.check_trust_domain(trust_domain).map_err(|error| error.to_string())?;
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| error.to_string())?;
        Ok(Self {
            anchor: anchor.to_owned(),
            deepest: signing.deepest(),
            not_before: signing.not_before(),
            not_after: signing.not_after(),
            der,
        })
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TrustBundle");
        shown.field("trust_domain", &self.trust_domain.as_str()).field("roots", &self.roots.len());
        shown.field("sequence", &self.sequence).finish()
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.sequence == other.sequence
            && self.roots().eq(other.roots())
            && self.jwt_keys == other.jwt_keys
    }
}

impl Eq for TrustBundle {}

/// Bundles by trust domain. They are never merged: a root vouches for its own domain only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustBundles(BTreeMap<TrustDomain, TrustBundle>);

impl TrustBundles {
    /// The bundle of one trust domain.
    pub fn of(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(trust_domain)
    }

    /// Adds a bundle, or replaces the one of the same trust domain.
    pub fn insert(&mut self, bundle: TrustBundle) {
        self.0.insert(bundle.trust_domain.clone(), bundle);
    }

    /// Stops trusting a domain.
    pub fn remove(&mut self, trust_domain: &TrustDomain) -> Option<TrustBundle> {
        self.0.remove(trust_domain)
    }

    /// All bundles, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TrustBundle> {
        self.0.values()
    }
}

impl FromIterator<TrustBundle> for TrustBundles {
    fn from_iter<I: IntoIterator<Item = TrustBundle>>(bundles: I) -> Self {
        let mut all = Self::default();
        bundles.into_iter().for_each(|bundle| all.insert(bundle));
        all
    }
}

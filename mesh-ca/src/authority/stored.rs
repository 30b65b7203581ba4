//! The form in which a hierarchy is sealed: JSON with keys in hexadecimal, wiped after use.

use std::time::{Duration, SystemTime};

use mesh_model::TrustDomain;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::hierarchy::{Hierarchy, Intermediate, Signatory, Standing};
use super::{AuthorityError, Policy};
use crate::key::PrivateKey;
use crate::profile::Signing;
use crate::text::{hex, unhex};

/// Version of this form; a newer one is refused.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHierarchy {
    version: u32,
    trust_domain: TrustDomain,
    sequence: u64,
    roots: Vec<StoredSignatory>,
    issuers: Vec<StoredIssuer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIssuer {
    signatory: StoredSignatory,
    longest_leaf_seconds: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSignatory {
    certificate: String,
    key: String,
    standing: StoredStanding,
    made: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredStanding {
    Announced,
    Signing,
    Retiring(u64),
}

impl Drop for StoredSignatory {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The bytes to seal.
pub(super) fn encode(hierarchy: &Hierarchy) -> Zeroizing<Vec<u8>> {
    let issuer = |issuer: &Intermediate| StoredIssuer {
        signatory: stored(&issuer.signatory),
        longest_leaf_seconds: issuer.longest_leaf.as_secs_f64().ceil() as u64,
    };
    let form = StoredHierarchy {
        version: VERSION,
        trust_domain: hierarchy.trust_domain.clone(),
        sequence: hierarchy.sequence,
        roots: hierarchy.roots.iter().map(stored).collect(),
        issuers: hierarchy.issuers.iter().map(issuer).collect(),
    };
    // Room enough from the start: a vector that grows would leave copies of keys behind.
    let room = 1024 + 4096 * (form.roots.len() + form.issuers.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *bytes, &form).expect("the form has string keys and is written to memory");
    bytes
}

/// The hierarchy in opened bytes, under a policy that may have changed since, and whether that changed it:
/// the longest life of a leaf decides how long an issuer retires, and only grows.
pub(super) fn decode(bytes: &[u8], policy: Policy) -> Result<(Hierarchy, bool), AuthorityError> {
    policy.check()?;
    let form: StoredHierarchy =
        serde_json::from_slice(bytes).map_err(|error| AuthorityError::Stored(error.to_string()))?;
    if form.version != VERSION {
        return Err(AuthorityError::Stored(format!("form {} is unknown", form.version)));
    }
    let roots = form.roots.iter().map(signatory).collect::<Result<Vec<_>, _>>()?;
    let issuer = |stored: &StoredIssuer| {
        let signatory = signatory(&stored.signatory)?;
        let longest = Duration::from_secs(stored.longest_leaf_seconds);
        Ok(Intermediate { longest_leaf: longest.max(policy.leaf_ttl), signatory })
    };
    let issuers = form.issuers.iter().map(issuer).collect::<Result<Vec<_>, AuthorityError>>()?;
    if roots.is_empty() {
        return Err(AuthorityError::Stored("there is no root".to_owned()));
    }
    let grew = form.issuers.iter().any(|issuer| issuer.longest_leaf_seconds < policy.leaf_ttl.as_secs());
    let (trust_domain, sequence) = (form.trust_domain, form.sequence);
    Ok((Hierarchy { trust_domain, policy, roots, issuers, sequence }, grew))
}

fn stored(signatory: &Signatory) -> StoredSignatory {
    let standing = match signatory.standing {
        Standing::Announced => StoredStanding::Announced,
        Standing::Signing => StoredStanding::Signing,
        // Rounded up: a certificate is never forgotten early.
        Standing::Retiring(until) => StoredStanding::Retiring(seconds(until) + 1),
    };
    StoredSignatory {
        certificate: hex(&signatory.certificate),
        key: hex(signatory.key.pkcs8()),
        standing,
        made: seconds(signatory.made),
    }
}

fn signatory(stored: &StoredSignatory) -> Result<Signatory, AuthorityError> {
    let unusable = |what: &str| AuthorityError::Stored(format!("{what} is unreadable"));
    let certificate = unhex(&stored.certificate).ok_or_else(|| unusable("a certificate"))?.to_vec();
    let signing = Signing::parse(&certificate)
        .map_err(|error| AuthorityError::Stored(format!("a certificate: {error}")))?;
    let key = unhex(&stored.key).and_then(|key| PrivateKey::from_pkcs8(&key).ok());
    let key = key.ok_or_else(|| unusable("a key"))?;
    if signing.spki() != key.public().spki() {
        return Err(AuthorityError::Stored("a key does not belong to its certificate".to_owned()));
    }
    let standing = match stored.standing {
        StoredStanding::Announced => Standing::Announced,
        StoredStanding::Signing => Standing::Signing,
        StoredStanding::Retiring(until) => Standing::Retiring(moment(until)?),
    };
    Ok(Signatory {
        certificate: certificate.into(),
        key,
        standing,
        made: moment(stored.made)?,
        not_before: signing.not_before(),
        not_after: signing.not_after(),
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> Result<SystemTime, AuthorityError> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.ok_or_else(|| AuthorityError::Stored("a moment is out of range".to_owned()))
}

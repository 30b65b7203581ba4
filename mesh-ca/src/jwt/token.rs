//! Tokens themselves: making one, and telling whether one holds.

use std::time::{Duration, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::JwtKey;
use crate::key::PrivateKey;
use crate::svid::TrustBundles;
use crate::text::{base64url, unbase64url};

/// Longest token read, in bytes.
pub const LONGEST_TOKEN: usize = 8192;
/// Most audiences of one token. One is what the standard recommends (JWT-SVID, section 6.2).
pub const MAX_AUDIENCES: usize = 8;
/// Longest audience in bytes.
const LONGEST_AUDIENCE: usize = 512;
/// The only algorithm (RFC 7518, section 3.4).
const ES256: &str = "ES256";

/// Why a token does not hold, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Another algorithm than ES256.
    #[error("the algorithm {0:?} is not ES256")]
    Algorithm(String),
    /// It is not for whom it was shown to, or names nobody.
    #[error("the audience is absent or another one")]
    Audience,
    /// Its life is over.
    #[error("it has expired")]
    Expired,
    /// Not a token in the compact form, or a header or claims that it may not have.
    #[error("it is no JWT-SVID: {0}")]
    Malformed(&'static str),
    /// Its life has not begun.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Not signed with a key of the subject's trust domain.
    #[error("it is not signed with a key of its trust domain")]
    Signature,
    /// The subject is no SPIFFE ID.
    #[error("its subject is no SPIFFE ID: {0}")]
    Subject(#[from] mesh_model::identity::SpiffeIdError),
    /// The subject's trust domain is not trusted.
    #[error("trust domain {0} is not trusted")]
    Untrusted(TrustDomain),
}

/// A token. Whoever holds it is taken for its subject: it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    expires: SystemTime,
}

impl Token {
    /// A token whose life ends then, by its giver's word.
    pub(crate) fn new(text: String, expires: SystemTime) -> Self {
        Self { text, expires }
    }

    /// The token in the compact form (RFC 7515, section 3.1).
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The end of its life.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What a token that holds says.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// Who its bearer is.
    pub subject: SpiffeId,
    /// Everything in it, the subject included.
    pub all: Map<String, Value>,
}

/// A header with anything else in it is refused (JWT-SVID, section 2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

/// Audiences that a token may have: some, not too many, none of them empty or endless.
///
/// # Errors
/// [`JwtError::Audience`] otherwise.
pub(crate) fn checked_audience(audience: &[String]) -> Result<(), JwtError> {
    let fits = |one: &String| !one.is_empty() && one.len() <= LONGEST_AUDIENCE;
    let good = (1..=MAX_AUDIENCES).contains(&audience.len()) && audience.iter().all(fits);
    if good { Ok(()) } else { Err(JwtError::Audience) }
}

/// Makes a token that lives from `now` for `ttl`.
pub(crate) fn mint(
    subject: &SpiffeId,
    audience: &[String],
    key: &PrivateKey,
    now: SystemTime,
    ttl: Duration,
) -> Token {
    let (made, expires) = (seconds(now), seconds(now + ttl));
    let id = JwtKey::new(key.public().clone()).id().to_owned();
    let header = json!({ "alg": ES256, "kid": id, "typ": "JWT" });
    let claims = json!({ "sub": subject, "aud": audience, "exp": expires, "iat": made });
    let part = |value: Value| base64url(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = base64url(&key.sign_fixed(signed.as_bytes()));
    Token::new(format!("{signed}.{signature}"), SystemTime::UNIX_EPOCH + Duration::from_secs(expires))
}

/// What a token says, if it is for this audience and holds at `now` by the keys of its subject's trust domain (JWT-SVID,
/// section 4 and appendix A). No leeway is given.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate(
    token: &str,
    audience: &str,
    bundles: &TrustBundles,
    now: SystemTime,
) -> Result<Claims, JwtError> {
    if token.len() > LONGEST_TOKEN {
        return Err(JwtError::Malformed("it is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed("it has not three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed("it has not three parts"))?;
    let header: Header = read(header, "its header")?;
    if header.alg != ES256 {
        return Err(JwtError::Algorithm(header.alg));
    }
    if header.typ.is_some_and(|typ| !matches!(typ.as_str(), "JWT" | "JOSE")) {
        return Err(JwtError::Malformed("its type is neither JWT nor JOSE"));
    }
    let all: Map<String, Value> = read(claims, "its claims")?;
    let subject = all.get("sub").and_then(Value::as_str).ok_or(JwtError::Malformed("it has no subject"))?;
    let subject: SpiffeId = subject.parse()?;
    let domain = subject.trust_domain();
    let bundle = bundles.of(domain).ok_or_else(|| JwtError::Untrusted(domain.clone()))?;
    let signature = unbase64url(signature).ok_or(JwtError::Malformed("its signature is no base64url"))?;
    let named = |key: &&JwtKey| header.kid.as_ref().is_none_or(|id| id == key.id());
    if !bundle.jwt_keys().iter().filter(named).any(|key| key.verifies(signed.as_bytes(), &signature)) {
        return Err(JwtError::Signature);
    }
    check_times(&all, now)?;
    if audience.is_empty() || !audiences(&all).any(|one| one == audience) {
        return Err(JwtError::Audience);
    }
    Ok(Claims { subject, all })
}

/// `exp` must be there and in the future, `nbf` may not be (RFC 7519, sections 4.1.4 and 4.1.5).
fn check_times(claims: &Map<String, Value>, now: SystemTime) -> Result<(), JwtError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(JwtError::Malformed("a time of it is no number")),
    };
    let expires = time("exp")?.ok_or(JwtError::Malformed("it has no end"))?;
    if now >= expires {
        return Err(JwtError::Expired);
    }
    match time("nbf")? {
        Some(begins) if now < begins => Err(JwtError::NotYetValid),
        _ => Ok(()),
    }
}

/// Whom a token is for: one text, or a list of them (RFC 7519, section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let found = claims.get("aud");
    let one = found.and_then(Value::as_str);
    let many = found.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many)
}

fn read<T: serde::de::DeserializeOwned>(part: &str, what: &'static str) -> Result<T, JwtError> {
    let bytes = unbase64url(part).ok_or(JwtError::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed(what))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;

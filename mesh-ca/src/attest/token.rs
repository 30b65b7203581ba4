//! Join tokens: an identity and an expiry under HMAC-SHA256, good for one key.
//!
//! A token is `mesh1.` and hexadecimal digits of: version (1), minted and expiry in seconds after 1970 (8
//! each, big-endian), nonce (16), the SPIFFE ID, and the tag (32) over all that stands before it. Its first use
//! binds it to the public key of that request: a lost answer may be asked for again with the same key a few
//! times, another key is refused. After that the peer renews with its certificate.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use mesh_model::SpiffeId;
use mesh_rt::SharedClock;
use zeroize::Zeroizing;

use super::{AttestError, Attesting, Attestor, Evidence};
use crate::key::PublicKey;
use crate::text::{hex, unhex};

const PREFIX: &str = "mesh1.";
const VERSION: u8 = 1;
const NONCE: usize = 16;
const TAG: usize = 32;
const HEAD: usize = 1 + 8 + 8 + NONCE;
/// Longest token read, in characters.
const LONGEST: usize = 8192;
/// Longest life of a token.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// How often one key may present the same token.
const MAX_USES: u8 = 16;
/// Most unexpired tokens remembered.
const MAX_SPENT: usize = 65_536;

/// Why a token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The life is over.
    #[error("it has expired")]
    Expired,
    /// Not a token of this authority, or changed.
    #[error("it was not made here or was changed")]
    Forged,
    /// Minted longer ago than this attestor can know whether it was used.
    #[error("it was made before this authority started")]
    Old,
    /// Used before, with another key or too often.
    #[error("it was used before")]
    Spent,
}

/// The secret under which tokens are made. Wiped when dropped, never printed.
pub struct TokenKey(Zeroizing<[u8; 32]>);

impl TokenKey {
    /// A fresh secret: tokens die with the process that made it.
    pub fn generate() -> Self {
        Self(Zeroizing::new(mesh_rt::random::secure()))
    }

    /// Reads 64 hexadecimal digits, for a secret that a process shares with the one that mints tokens.
    /// `None` when it is something else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = unhex(text.trim())?;
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// Makes a token for an identity. Lives longer than a day are cut to a day.
    pub fn mint(&self, id: &SpiffeId, now: SystemTime, ttl: Duration) -> JoinToken {
        let mut token = Zeroizing::new(Vec::with_capacity(HEAD + id.to_string().len() + TAG));
        token.push(VERSION);
        token.extend_from_slice(&seconds(now).to_be_bytes());
        token.extend_from_slice(&seconds(now + ttl.min(MAX_TTL)).to_be_bytes());
        token.extend_from_slice(&mesh_rt::random::secure::<NONCE>());
        token.extend_from_slice(id.to_string().as_bytes());
        let tag = hmac::sign(&self.hmac(), &token);
        token.extend_from_slice(tag.as_ref());
        JoinToken(Zeroizing::new(format!("{PREFIX}{}", hex(&token))))
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0[..])
    }

    /// Only bytes under a good tag are read.
    fn verify(&self, text: &str) -> Result<Claims, TokenError> {
        let digits = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST);
        let token = digits.and_then(unhex).ok_or(TokenError::Forged)?;
        let (claims, tag) = token.split_last_chunk::<TAG>().ok_or(TokenError::Forged)?;
        hmac::verify(&self.hmac(), claims, tag).map_err(|_| TokenError::Forged)?;
        Claims::read(claims).ok_or(TokenError::Forged)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

/// A token: whoever holds it gets the identity once. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// The token itself, to be handed to the workload's proxy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(redacted)")
    }
}

/// What a token says, read from verified bytes only.
struct Claims {
    minted: u64,
    expires: u64,
    nonce: [u8; NONCE],
    id: SpiffeId,
}

impl Claims {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (minted, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (nonce, id) = rest.split_first_chunk()?;
        let id = std::str::from_utf8(id).ok()?.parse().ok()?;
        let (minted, expires) = (u64::from_be_bytes(*minted), u64::from_be_bytes(*expires));
        (*version == VERSION).then_some(Self { minted, expires, nonce: *nonce, id })
    }
}

struct Spent {
    key: PublicKey,
    expires: u64,
    uses: u8,
}

/// Accepts tokens made under its key, each for one public key.
pub struct LocalTokenAttestor {
    key: TokenKey,
    clock: SharedClock,
    since: u64,
    spent: Mutex<BTreeMap<[u8; NONCE], Spent>>,
}

impl LocalTokenAttestor {
    /// Accepts tokens made from now on: which older ones were used is not known any more.
    pub fn new(key: TokenKey, clock: SharedClock) -> Self {
        let since = clock.wall();
        Self::accepting_since(key, clock, since)
    }

    /// Accepts tokens made since a moment before now, such as those given out before a first start. A token
    /// used before a restart and made after `since` could be used once more.
    pub fn accepting_since(key: TokenKey, clock: SharedClock, since: SystemTime) -> Self {
        Self { key, clock, since: seconds(since), spent: Mutex::default() }
    }

    /// Makes a token that this attestor accepts.
    pub fn mint(&self, id: &SpiffeId, ttl: Duration) -> JoinToken {
        self.key.mint(id, self.clock.wall(), ttl)
    }

    fn judge(&self, token: &str, key: &PublicKey) -> Result<SpiffeId, AttestError> {
        let claims = self.key.verify(token)?;
        let now = seconds(self.clock.wall());
        if claims.expires < now || claims.expires - claims.minted.min(claims.expires) > MAX_TTL.as_secs() {
            return Err(TokenError::Expired.into());
        }
        if claims.minted < self.since {
            return Err(TokenError::Old.into());
        }
        self.spend(&claims, key, now)?;
        Ok(claims.id)
    }

    /// Looks and marks under one lock: of many at once, one key wins.
    fn spend(&self, claims: &Claims, key: &PublicKey, now: u64) -> Result<(), AttestError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= MAX_SPENT && !spent.contains_key(&claims.nonce) {
            spent.retain(|_, used| used.expires >= now);
            if spent.len() >= MAX_SPENT {
                return Err(AttestError::Busy);
            }
        }
        match spent.entry(claims.nonce) {
            Entry::Vacant(free) => {
                free.insert(Spent { key: key.clone(), expires: claims.expires, uses: 1 });
                Ok(())
            }
            Entry::Occupied(mut used) if used.get().key == *key && used.get().uses < MAX_USES => {
                used.get_mut().uses += 1;
                Ok(())
            }
            Entry::Occupied(_) => Err(TokenError::Spent.into()),
        }
    }
}

impl Attestor for LocalTokenAttestor {
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a> {
        let judged = match evidence.token {
            Some(token) => self.judge(token, evidence.key).and_then(|id| super::own(id, evidence.asked)),
            None => Err(AttestError::NoEvidence),
        };
        Box::pin(std::future::ready(judged))
    }
}

impl fmt::Debug for LocalTokenAttestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTokenAttestor").field("key", &self.key).finish_non_exhaustive()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_rt::{Clock, ManualClock};

    use super::*;
    use crate::key::PrivateKey;

    fn attestor() -> (LocalTokenAttestor, Arc<ManualClock>) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000));
        (LocalTokenAttestor::new(TokenKey::generate(), clock.clone()), clock)
    }

    fn cart() -> SpiffeId {
        "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()
    }

    fn refused(error: TokenError) -> Result<SpiffeId, AttestError> {
        Err(AttestError::Token(error))
    }

    #[test]
    fn of_a_hundred_uses_at_once_one_key_wins() {
        let (attestor, _) = attestor();
        let token = attestor.mint(&cart(), Duration::from_secs(60));
        let wins = std::thread::scope(|scope| {
            let one = || attestor.judge(token.expose(), PrivateKey::generate().public()).is_ok();
            let all: Vec<_> = (0..100).map(|_| scope.spawn(one)).collect();
            all.into_iter().filter_map(|thread| thread.join().unwrap().then_some(())).count()
        });
        assert_eq!(wins, 1);
    }

    #[test]
    fn the_first_key_may_ask_again_a_few_times() {
        let (attestor, _) = attestor();
        let (token, key) = (attestor.mint(&cart(), Duration::from_secs(60)), PrivateKey::generate());
        for _ in 0..MAX_USES {
            assert_eq!(attestor.judge(token.expose(), key.public()), Ok(cart()));
        }
        assert_eq!(attestor.judge(token.expose(), key.public()), refused(TokenError::Spent));
    }

    #[test]
    fn tokens_expire_and_cannot_be_changed_or_made_elsewhere() {
        let (attestor, clock) = attestor();
        let (token, key) = (attestor.mint(&cart(), Duration::from_secs(60)), PrivateKey::generate());
        let good = token.expose();
        for place in [6, 10, 30, 60, 100, good.len() - 1] {
            let mut bytes = good.as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(attestor.judge(&changed, key.public()), refused(TokenError::Forged));
        }
        let elsewhere = TokenKey::generate().mint(&cart(), attestor.clock.wall(), Duration::from_secs(60));
        for bad in [elsewhere.expose(), "", "mesh1.", "mesh1.00", &good[..good.len() - 2], &good[6..]] {
            assert_eq!(attestor.judge(bad, key.public()), refused(TokenError::Forged));
        }
        clock.advance(Duration::from_secs(61));
        assert_eq!(attestor.judge(good, key.public()), refused(TokenError::Expired));
    }

    #[test]
    fn tokens_older_than_the_attestor_are_refused_unless_allowed() {
        let (first, clock) = attestor();
        let secret = || TokenKey(first.key.0.clone());
        let (token, key) = (first.mint(&cart(), Duration::from_secs(600)), PrivateKey::generate());
        let minted = clock.wall();
        clock.advance(Duration::from_secs(5));
        let restarted = LocalTokenAttestor::new(secret(), clock.clone());
        assert_eq!(restarted.judge(token.expose(), key.public()), refused(TokenError::Old));
        let waiting = LocalTokenAttestor::accepting_since(secret(), clock, minted);
        assert_eq!(waiting.judge(token.expose(), key.public()), Ok(cart()));
    }

    #[test]
    fn used_tokens_are_remembered_up_to_a_bound_and_forgotten_when_expired() {
        let (attestor, clock) = attestor();
        let key = PrivateKey::generate();
        let expires = seconds(clock.wall()) + 10;
        for n in 0..MAX_SPENT as u128 {
            let used = Spent { key: key.public().clone(), expires, uses: 1 };
            attestor.spent.lock().unwrap().insert(n.to_be_bytes(), used);
        }
        let token = attestor.mint(&cart(), Duration::from_secs(60));
        assert_eq!(attestor.judge(token.expose(), key.public()), Err(AttestError::Busy));
        clock.advance(Duration::from_secs(11));
        assert_eq!(attestor.judge(token.expose(), key.public()), Ok(cart()));
        assert_eq!(attestor.spent.lock().unwrap().len(), 1);
    }
}

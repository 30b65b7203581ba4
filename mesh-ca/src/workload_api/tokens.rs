//! Tokens that were given and still live, by audience. One that is young is given again: who asks for a token before each
//! request does not burden the authority, and an authority that is away is missed later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::jwt::Token;

/// Audiences remembered at a time; one more, and the token that ends first is forgotten.
const MOST: usize = 64;

/// A token and when the next one is asked for.
#[derive(Debug, Clone)]
struct Given {
    token: Token,
    renew: SystemTime,
}

/// The tokens of one identity.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<Vec<String>, Given>>);

impl Tokens {
    /// A token that has more than half of its life before it.
    pub(super) fn young(&self, audience: &[String], now: SystemTime) -> Option<Token> {
        self.lock().get(audience).filter(|given| now < given.renew).map(|given| given.token.clone())
    }

    /// A token that still holds, for when there is no newer one.
    pub(super) fn living(&self, audience: &[String], now: SystemTime) -> Option<Token> {
        self.lock().get(audience).filter(|given| now < given.token.expires()).map(|given| given.token.clone())
    }

    /// Remembers a new token.
    pub(super) fn keep(&self, audience: Vec<String>, token: Token, now: SystemTime) {
        let life = token.expires().duration_since(now).unwrap_or(Duration::ZERO);
        let mut given = self.lock();
        given.retain(|_, given| now < given.token.expires());
        if given.len() >= MOST
            && let Some(first) = given.iter().min_by_key(|(_, given)| given.token.expires())
        {
            let first = first.0.clone();
            given.remove(&first);
        }
        given.insert(audience, Given { token, renew: now + life / 2 });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn audience(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn a_token_is_young_for_half_of_its_life() {
        let tokens = Tokens::default();
        tokens.keep(audience("a"), Token::new("t".to_owned(), at(100)), at(0));
        assert!(
            tokens.young(&audience("a"), at(49)).is_some() && tokens.young(&audience("b"), at(0)).is_none()
        );
        assert!(
            tokens.young(&audience("a"), at(50)).is_none() && tokens.living(&audience("a"), at(99)).is_some()
        );
        assert!(tokens.living(&audience("a"), at(100)).is_none());
    }

    #[test]
    fn the_token_that_ends_first_makes_room() {
        let tokens = Tokens::default();
        for n in 0..=MOST as u64 {
            tokens.keep(audience(&n.to_string()), Token::new("t".to_owned(), at(100 + n)), at(0));
        }
        assert_eq!(tokens.lock().len(), MOST);
        assert!(
            tokens.young(&audience("0"), at(0)).is_none() && tokens.young(&audience("1"), at(0)).is_some()
        );
    }
}

//! When another try is made: what may be sent again, how long to wait, and a budget that keeps retries from
//! becoming the load. Nothing is sent here.

use std::cell::Cell;
use std::time::Duration;

use http::{Method, StatusCode};
use mesh_model::route::Retry;
use tokio::time::Instant;

use crate::http::Error;

/// Extra tries after connections that could not be made, for rules without retries of their own.
const CONNECT_TRIES: u32 = 2;
/// The pause before the second try of a rule that names none.
const PAUSE: Duration = Duration::from_millis(10);
/// No pause that the rule did not ask for is longer.
const LONGEST: Duration = Duration::from_millis(160);

/// What one request may do after a try that failed.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'r> {
    rule: Option<&'r Retry>,
    idempotent: bool,
}

/// What to do after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this pause, at another endpoint.
    Again(Duration),
    /// Pass on what there is.
    Stop,
}

impl<'r> Policy<'r> {
    /// The policy for a request of this method.
    pub fn new(rule: Option<&'r Retry>, method: &Method) -> Self {
        Self { rule, idempotent: method.is_idempotent() }
    }

    /// Tries after the first.
    pub fn extra_tries(&self) -> u32 {
        self.rule.map_or(CONNECT_TRIES, |rule| rule.attempts)
    }

    /// Whether a try may ever be repeated after bytes of the body were sent.
    pub fn may_resend(&self) -> bool {
        self.idempotent || self.rule.is_some_and(|rule| rule.attempts > 0 && !rule.codes.is_empty())
    }

    /// Whether the method makes a second sending harmless (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// After an answer: only what the rule lists is tried again, for every method, as its author declared.
    pub fn after_status(&self, status: StatusCode, tries: u32) -> Next {
        let listed = self.rule.is_some_and(|rule| rule.codes.contains(&status.as_u16()));
        if listed && tries <= self.extra_tries() { Next::Again(self.pause(tries)) } else { Next::Stop }
    }

    /// After a failure: what cannot have been processed is tried again; a lost or late answer counts as the
    /// status that the client would get, if the rule lists it.
    pub fn after_error(&self, error: &Error, tries: u32) -> Next {
        if tries > self.extra_tries() {
            return Next::Stop;
        }
        let meaning = error.meaning();
        match error {
            Error::Connect(_) => Next::Again(self.pause(tries)),
            Error::Reset { .. } if meaning.repeatable => Next::Again(self.pause(tries)),
            Error::Reset { .. } | Error::Timeout => self.after_status(meaning.status, tries),
            _ => Next::Stop,
        }
    }

    /// Doubles with every try; the caller spreads it.
    fn pause(&self, tries: u32) -> Duration {
        let doubled = |base: Duration| base.saturating_mul(1 << tries.saturating_sub(1).min(10));
        match self.rule.and_then(|rule| rule.backoff) {
            Some(base) => doubled(base).min(base.max(Duration::from_secs(10))),
            None => doubled(PAUSE).min(LONGEST),
        }
    }
}

/// Retries that a worker may still make: a fifth of its requests, and some each second however few come.
#[derive(Debug)]
pub struct Budget {
    /// Tokens, in fifths of a retry.
    fifths: Cell<u64>,
    refilled: Cell<Option<Instant>>,
}

/// Fifths that may gather.
const MOST: u64 = 500;
/// Fifths that come each second without any request.
const EACH_SECOND: u64 = 50;

impl Default for Budget {
    fn default() -> Self {
        Self { fifths: Cell::new(MOST), refilled: Cell::new(None) }
    }
}

impl Budget {
    /// Counts a request.
    pub fn earn(&self) {
        self.fifths.set((self.fifths.get() + 1).min(MOST));
    }

    /// Takes one retry out of the budget; false when it is used up.
    pub fn spend(&self) -> bool {
        let now = Instant::now();
        let since = self.refilled.replace(Some(now)).map_or(Duration::ZERO, |at| now - at);
        let whole = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_mul(EACH_SECOND) / 1000;
        let fifths = self.fifths.get().saturating_add(whole).min(MOST);
        let enough = fifths >= 5;
        self.fifths.set(if enough { fifths - 5 } else { fifths });
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(codes: &[u16], attempts: u32) -> Retry {
        Retry { codes: codes.to_vec(), attempts, backoff: None }
    }

    #[test]
    fn only_listed_codes_are_tried_again_and_only_so_often() {
        let retry = rule(&[500, 503], 2);
        let policy = Policy::new(Some(&retry), &Method::POST);
        let again = |code: u16, tries| {
            matches!(policy.after_status(StatusCode::from_u16(code).unwrap(), tries), Next::Again(_))
        };
        assert_eq!([again(500, 1), again(500, 2), again(500, 3), again(502, 1)], [true, true, false, false]);
        assert_eq!(Policy::new(None, &Method::GET).after_status(StatusCode::BAD_GATEWAY, 1), Next::Stop);
    }

    #[test]
    fn what_may_have_been_processed_is_not_sent_twice_unless_the_rule_says_so() {
        let lost = Error::Reset { repeatable: false };
        let refused = Error::Reset { repeatable: true };
        let listed = rule(&[503], 1);
        let none = rule(&[], 0);
        assert_eq!(Policy::new(None, &Method::POST).after_error(&lost, 1), Next::Stop);
        assert!(matches!(Policy::new(None, &Method::POST).after_error(&refused, 1), Next::Again(_)));
        assert!(matches!(Policy::new(Some(&listed), &Method::POST).after_error(&lost, 1), Next::Again(_)));
        assert_eq!(Policy::new(Some(&none), &Method::GET).after_error(&refused, 1), Next::Stop);
    }

    #[test]
    fn a_late_answer_is_tried_again_only_where_504_is_listed() {
        let with = rule(&[504], 1);
        let without = rule(&[500], 1);
        assert!(matches!(
            Policy::new(Some(&with), &Method::GET).after_error(&Error::Timeout, 1),
            Next::Again(_)
        ));
        assert_eq!(Policy::new(Some(&without), &Method::GET).after_error(&Error::Timeout, 1), Next::Stop);
    }

    #[test]
    fn pauses_stay_far_below_half_a_second_without_a_rule() {
        let many = rule(&[500], 100);
        let policy = Policy::new(Some(&many), &Method::GET);
        for tries in 1..=100 {
            assert!(policy.pause(tries) <= Duration::from_millis(160));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_bounded_by_a_share_of_the_requests() {
        let budget = Budget::default();
        let drained = (0..1000).filter(|_| budget.spend()).count();
        assert_eq!(drained, 100);
        (0..100).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 20);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 10);
    }
}

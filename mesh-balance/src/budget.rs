//! Budgets of retries that policies set for services (GEP-3388). One count for all workers: a share of the requests
//! means little on a worker that sees few of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_model::{ObjectName, RetryBudget};

/// Services whose counts are kept; beyond that all of them start anew.
const MOST: usize = 8192;
/// Parts of an interval. What is older than the interval is forgotten part by part.
const PARTS: u32 = 10;

/// The counts of all services with a budget.
#[derive(Debug, Clone, Default)]
pub struct Budgets(Arc<Mutex<HashMap<ObjectName, Counts>>>);

#[derive(Debug)]
struct Counts {
    limit: RetryBudget,
    requests: Window,
    retries: Window,
    recent: Window,
}

/// How much happened in the last interval.
#[derive(Debug)]
struct Window {
    part: Duration,
    begin: Instant,
    /// The part that is counted in, since the beginning.
    now: u64,
    counts: [u64; PARTS as usize],
}

impl Budgets {
    /// Counts a request.
    pub fn request(&self, service: &ObjectName, limit: &RetryBudget, now: Instant) {
        self.with(service, limit, now, |counts| counts.requests.add(now));
    }

    /// Whether another try may be made; it counts then.
    pub fn retry(&self, service: &ObjectName, limit: &RetryBudget, now: Instant) -> bool {
        self.with(service, limit, now, |counts| {
            let share = counts.requests.sum(now) * u64::from(limit.percent) / 100;
            let allowed = counts.retries.sum(now) < share || counts.recent.sum(now) < u64::from(limit.least);
            if allowed {
                counts.retries.add(now);
                counts.recent.add(now);
            }
            allowed
        })
    }

    fn with<T>(
        &self,
        service: &ObjectName,
        limit: &RetryBudget,
        now: Instant,
        act: impl FnOnce(&mut Counts) -> T,
    ) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get_mut(service).filter(|counts| counts.limit == *limit) {
            return act(counts);
        }
        if all.len() >= MOST {
            all.clear();
        }
        let mut counts = Counts::new(limit, now);
        let result = act(&mut counts);
        all.insert(service.clone(), counts);
        result
    }
}

impl Counts {
    fn new(limit: &RetryBudget, now: Instant) -> Self {
        let window = |interval| Window::new(interval, now);
        let (requests, retries) = (window(limit.interval), window(limit.interval));
        Self { limit: limit.clone(), requests, retries, recent: window(limit.least_interval) }
    }
}

impl Window {
    fn new(interval: Duration, begin: Instant) -> Self {
        let part = (interval / PARTS).max(Duration::from_millis(1));
        Self { part, begin, now: 0, counts: [0; PARTS as usize] }
    }

    /// Goes on to the present part and empties what is too old.
    fn turn(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.begin).as_nanos() / self.part.as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let passed = now.saturating_sub(self.now).min(u64::from(PARTS));
        for step in 1..=passed {
            let at = (now - passed + step) % u64::from(PARTS);
            self.counts[at as usize] = 0;
        }
        self.now = self.now.max(now);
    }

    fn add(&mut self, now: Instant) {
        self.turn(now);
        self.counts[(self.now % u64::from(PARTS)) as usize] += 1;
    }

    fn sum(&mut self, now: Instant) -> u64 {
        self.turn(now);
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::{Origin, SourceRef};
    use mesh_rt::{Clock as _, SystemClock};

    use super::*;

    fn limit(percent: u32, least: u32) -> RetryBudget {
        let name = ObjectName::new("shop", "limit");
        RetryBudget {
            source: SourceRef::new("XBackendTrafficPolicy", name, Origin::Builtin),
            percent,
            interval: Duration::from_secs(10),
            least,
            least_interval: Duration::from_secs(1),
        }
    }

    fn allowed(budgets: &Budgets, limit: &RetryBudget, now: Instant) -> usize {
        let service = ObjectName::new("shop", "cart");
        (0..1000).filter(|_| budgets.retry(&service, limit, now)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_interval_and_some_in_any_case() {
        let service = ObjectName::new("shop", "cart");
        let start = SystemClock.monotonic();
        let at = |millis| start + Duration::from_millis(millis);
        for (percent, least, expected) in [(20, 0, 200), (20, 5, 200), (0, 5, 5), (0, 0, 0), (100, 1, 1000)] {
            let (budgets, limit) = (Budgets::default(), limit(percent, least));
            (0..1000).for_each(|_| budgets.request(&service, &limit, at(0)));
            assert_eq!(allowed(&budgets, &limit, at(500)), expected, "{percent} {least}");
        }
        let (budgets, limit) = (Budgets::default(), limit(20, 3));
        (0..100).for_each(|_| budgets.request(&service, &limit, at(0)));
        assert_eq!(allowed(&budgets, &limit, at(900)), 20);
        assert_eq!(allowed(&budgets, &limit, at(1800)), 0);
        assert_eq!(allowed(&budgets, &limit, at(2000)), 3, "the least comes back after its own interval");
        assert_eq!(allowed(&budgets, &limit, at(30_000)), 3, "requests are forgotten");
    }

    #[test]
    fn another_limit_starts_anew() {
        let service = ObjectName::new("shop", "cart");
        let (budgets, start) = (Budgets::default(), SystemClock.monotonic());
        (0..100).for_each(|_| budgets.request(&service, &limit(20, 0), start));
        assert_eq!(allowed(&budgets, &limit(20, 0), start), 20);
        assert_eq!(allowed(&budgets, &limit(50, 0), start), 0);
    }
}

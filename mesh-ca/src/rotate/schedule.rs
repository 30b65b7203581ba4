//! When to renew. Sans-IO: reads the injected clocks, sleeps nowhere.

use std::time::{Duration, Instant, SystemTime};

use mesh_rt::SharedClock;
use mesh_rt::random::Fast;

/// The part of a life after which the next one begins, in the middle of its spread. Early enough that an
/// authority which is away for half a life is missed by nobody: 46 %, half a life and one pause are under 100 %.
const PART: f64 = 0.42;
/// The spread around it, so that a fleet that started together does not renew together: 38 to 46 %.
const SPREAD: f64 = 0.04 / PART;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time for one question to the authority, connecting included.
pub(super) const LONGEST_QUESTION: Duration = Duration::from_secs(15);
/// Shortest time for one question: a machine that is busy needs as much.
const SHORTEST_QUESTION: Duration = Duration::from_secs(1);
/// Longest time between two looks at the bundles.
const LONGEST_REFRESH: Duration = Duration::from_secs(300);

/// The moments at which the next renewal and the next look at the bundles are due.
pub struct Schedule {
    clock: SharedClock,
    chance: Fast,
    /// Life of the present SVID when it came; zero without one.
    life: Duration,
    /// Due by either clock: the wall clock sees suspension and steps forward, the monotonic one steps back.
    due: Option<(SystemTime, Instant)>,
    /// Not before this, after a failure.
    pause: Option<Instant>,
    failures: u32,
    refresh: Instant,
}

impl Schedule {
    /// A schedule without an SVID: the first attempt is due at once.
    pub fn new(clock: SharedClock) -> Self {
        let refresh = clock.monotonic() + LONGEST_REFRESH;
        let chance = Fast::from_entropy();
        Self { clock, chance, life: Duration::ZERO, due: None, pause: None, failures: 0, refresh }
    }

    /// An SVID with this life left is in use.
    pub fn renewed(&mut self, life: Duration) {
        let (wall, monotonic) = (self.clock.wall(), self.clock.monotonic());
        self.life = life;
        let after = self.chance.jitter(self.life.mul_f64(PART), SPREAD);
        (self.due, self.pause, self.failures) = (Some((wall + after, monotonic + after)), None, 0);
        self.refreshed();
    }

    /// An attempt failed: the next one comes after a pause that doubles up to a limit, with jitter. The limit
    /// is a fiftieth of the life, so that short lives see enough attempts.
    pub fn failed(&mut self) {
        let limit = match self.life {
            Duration::ZERO => LONGEST_PAUSE / 4,
            life => (life / 50).clamp(Duration::from_millis(100), LONGEST_PAUSE),
        };
        let pause = FIRST_PAUSE.min(limit).saturating_mul(1 << self.failures.min(16)).min(limit);
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(self.clock.monotonic() + self.chance.jitter(pause, 0.5));
    }

    /// How long one question may take: a part of the life that is small beside what an authority may be away, for one that
    /// goes in the middle of an answer says nothing more, not even that it went. Who has no life to lose waits longest.
    pub fn patience(&self, left: Duration) -> Duration {
        match left {
            Duration::ZERO => LONGEST_QUESTION,
            _ => (self.life / 32).clamp(SHORTEST_QUESTION, LONGEST_QUESTION),
        }
    }

    /// The bundles were looked at.
    pub fn refreshed(&mut self) {
        let every = (self.life / 8).clamp(Duration::from_secs(1), LONGEST_REFRESH);
        self.refresh = self.clock.monotonic() + self.chance.jitter(every, 0.2);
    }

    /// Whether the bundles should be looked at.
    pub fn refresh_due(&self) -> bool {
        self.due.is_some() && self.clock.monotonic() >= self.refresh
    }

    /// How long until the next renewal, zero when it is due now. The caller looks again after some seconds at
    /// the latest, because clocks jump, and because the bundles are looked at in between.
    pub fn wait(&self) -> Duration {
        let (wall, monotonic) = (self.clock.wall(), self.clock.monotonic());
        if let Some(until) = self.pause {
            return until.saturating_duration_since(monotonic);
        }
        let Some((by_wall, by_monotonic)) = self.due else { return Duration::ZERO };
        let by_wall = by_wall.duration_since(wall).unwrap_or_default();
        let by_monotonic = by_monotonic.saturating_duration_since(monotonic);
        by_wall.min(by_monotonic)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_rt::{Clock, ManualClock};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn hourly() -> (Schedule, Arc<ManualClock>) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000));
        let mut schedule = Schedule::new(clock.clone());
        schedule.renewed(HOUR);
        (schedule, clock)
    }

    /// The time until the next attempt, looking every second.
    fn until_due(schedule: &Schedule, clock: &ManualClock) -> Duration {
        let mut passed = Duration::ZERO;
        while !schedule.wait().is_zero() {
            clock.advance(Duration::from_secs(1));
            passed += Duration::from_secs(1);
        }
        passed
    }

    #[test]
    fn renewal_is_spread_over_38_to_46_percent_of_the_life() {
        let parts: Vec<f64> = (0..200)
            .map(|_| {
                let (schedule, clock) = hourly();
                until_due(&schedule, &clock).as_secs_f64() / HOUR.as_secs_f64()
            })
            .collect();
        assert!(parts.iter().all(|part| (0.3799..0.4604).contains(part)), "{parts:?}");
        assert!(parts.iter().any(|part| *part < 0.40) && parts.iter().any(|part| *part > 0.44));
    }

    #[test]
    fn a_suspended_machine_and_a_clock_step_make_renewal_due_at_once() {
        let (schedule, clock) = hourly();
        clock.step_wall(clock.wall() + HOUR);
        assert_eq!(schedule.wait(), Duration::ZERO);
        let (schedule, clock) = hourly();
        clock.step_wall(clock.wall() - 100 * HOUR);
        assert!(until_due(&schedule, &clock) <= HOUR.mul_f64(0.4604), "the monotonic clock decides");
    }

    #[test]
    fn pauses_after_failures_grow_to_a_limit_and_never_end() {
        let (mut schedule, clock) = hourly();
        until_due(&schedule, &clock);
        let mut pauses = Vec::new();
        for _ in 0..5000 {
            schedule.failed();
            pauses.push(schedule.wait());
        }
        assert!(pauses[0] <= Duration::from_millis(1500) && pauses[0] >= Duration::from_millis(500));
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE.mul_f64(1.5)));
        assert!(pauses[20..].iter().all(|pause| *pause >= LONGEST_PAUSE.mul_f64(0.49)));
    }
}

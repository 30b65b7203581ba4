//! Which statuses wait to be written, and when each may be. Pure but for the time it is told.
//!
//! Of each object only the newest status waits, and at most one is on its way. An object that changes again and
//! again is written at growing distances, so that a thousand attaching routes do not become a thousand writes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::objects::ObjectKind;
use crate::store::ObjectKey;

/// Writes on their way at a time.
const AT_ONCE: usize = 8;
/// First and longest distance between writes of one object.
const PACES: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(900));
/// An object that was left alone for so long is written at once again.
const QUIET: Duration = Duration::from_secs(2);
/// First and longest wait after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// A status on the server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) version: Arc<str>,
    pub(super) generation: i64,
    pub(super) status: Value,
}

/// A status to be written over the one that the version names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) version: Arc<str>,
    pub(super) status: Value,
}

#[derive(Debug, Default)]
struct Slot {
    waits: Option<Write>,
    is_busy: bool,
    not_before: Option<Instant>,
    /// The place in the queue.
    queued: Option<Instant>,
    last: Option<Instant>,
    pace: Duration,
    failures: u32,
    /// What was written last, with the version that came of it.
    sent: Option<(Arc<str>, u64)>,
    /// What an answer told that the watch has not brought yet.
    newer: Option<Known>,
}

/// Which objects go first. There are few with listeners, and many look at what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Listeners,
    Others,
}

impl Rank {
    const fn of(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Gateway | ObjectKind::GatewayClass | ObjectKind::ListenerSet => Self::Listeners,
            _ => Self::Others,
        }
    }
}

/// All objects with something to write, or on their way.
#[derive(Debug, Default)]
pub(super) struct Desk {
    slots: BTreeMap<ObjectKey, Slot>,
    /// What waits and is not on its way: gateways and classes first, then by the time from which it may go.
    queue: BTreeMap<Rank, BTreeSet<(Instant, ObjectKey)>>,
    busy: usize,
}

impl Desk {
    /// What is known to be on the server: what the watch brought, or an answer that is newer.
    pub(super) fn known(&mut self, key: &ObjectKey, watched: Known) -> Known {
        let Some(slot) = self.slots.get_mut(key) else { return watched };
        if slot.newer.as_ref().is_some_and(|newer| !is_newer(&newer.version, &watched.version)) {
            slot.newer = None;
        }
        slot.newer.clone().unwrap_or(watched)
    }

    /// Notes what an object's status should be; none when it is right as it is.
    pub(super) fn want(&mut self, key: &ObjectKey, write: Option<Write>, now: Instant) {
        let slot = match write {
            None => self.slots.get_mut(key),
            Some(_) => Some(self.slots.entry(key.clone()).or_default()),
        };
        let Some(slot) = slot else { return };
        slot.waits = write.filter(|write| {
            // A server that drops a field must not be asked for ever.
            let sent = slot.sent.as_ref();
            sent.is_none_or(|sent| *sent != (Arc::clone(&write.version), print(write)))
        });
        self.enqueue(key, now);
    }

    /// Puts an object where it belongs in the queue; one that waits already keeps its place.
    fn enqueue(&mut self, key: &ObjectKey, now: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let queue = self.queue.entry(Rank::of(key.kind)).or_default();
        match (slot.waits.is_some() && !slot.is_busy, slot.queued) {
            (true, None) => {
                let place = slot.not_before.unwrap_or(now).max(now);
                slot.queued = Some(place);
                queue.insert((place, key.clone()));
            }
            (false, Some(place)) => {
                slot.queued = None;
                queue.remove(&(place, key.clone()));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Takes what may be written now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(ObjectKey, Write)> {
        let mut due = Vec::new();
        for queue in self.queue.values_mut() {
            while self.busy < AT_ONCE && queue.first().is_some_and(|(from, _)| *from <= now) {
                let Some((_, key)) = queue.pop_first() else { break };
                let Some(slot) = self.slots.get_mut(&key) else { continue };
                slot.queued = None;
                let Some(write) = slot.waits.take() else { continue };
                slot.is_busy = true;
                self.busy += 1;
                due.push((key, write));
            }
        }
        due
    }

    /// When the next write may go that waits for its time; none while an end must come first.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let firsts = self.queue.values().filter_map(|queue| queue.first());
        firsts.map(|(from, _)| *from).min().filter(|_| self.busy < AT_ONCE)
    }

    /// The server took a write, and this is what it holds now.
    pub(super) fn written(&mut self, key: &ObjectKey, (now, write): (Instant, &Write), known: Known) {
        let Some(slot) = self.end(key) else { return };
        slot.failures = 0;
        slot.sent = Some((Arc::clone(&known.version), print(write)));
        slot.newer = Some(known);
        let was_quiet = slot.last.is_none_or(|last| now.duration_since(last) > QUIET);
        slot.pace = if was_quiet { PACES.0 } else { (slot.pace * 2).clamp(PACES.0, PACES.1) };
        slot.last = Some(now);
        slot.not_before = Some(now + slot.pace);
        self.enqueue(key, now);
    }

    /// The version was not the newest; this one is, if it is known.
    pub(super) fn overtaken(&mut self, key: &ObjectKey, (now, known): (Instant, Option<Known>)) {
        let Some(slot) = self.end(key) else { return };
        slot.newer = known;
        self.enqueue(key, now);
    }

    /// The write failed. The same is tried again later.
    pub(super) fn failed(&mut self, key: &ObjectKey, (now, write): (Instant, Write)) {
        let Some(slot) = self.end(key) else { return };
        let pause = PAUSES.0.saturating_mul(1 << slot.failures.min(10)).min(PAUSES.1);
        slot.failures += 1;
        slot.not_before = Some(now + pause);
        slot.waits.get_or_insert(write);
        self.enqueue(key, now);
    }

    /// The server will not take this status. The same is never sent again, another one not at once.
    pub(super) fn refused(&mut self, key: &ObjectKey, (now, write): (Instant, &Write)) {
        let Some(slot) = self.end(key) else { return };
        let pause = PAUSES.0.saturating_mul(1 << slot.failures.min(10)).min(PAUSES.1);
        slot.failures += 1;
        slot.sent = Some((Arc::clone(&write.version), print(write)));
        slot.not_before = Some(now + pause);
        self.enqueue(key, now);
    }

    /// The object is gone.
    pub(super) fn drop(&mut self, key: &ObjectKey) {
        self.end(key);
        if let Some(place) = self.slots.remove(key).and_then(|slot| slot.queued)
            && let Some(queue) = self.queue.get_mut(&Rank::of(key.kind))
        {
            queue.remove(&(place, key.clone()));
        }
    }

    /// The object is gone: nothing is written any more, and nothing is kept once no write is on its way.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        match self.slots.get_mut(key) {
            Some(slot) if slot.is_busy => slot.waits = None,
            _ => self.drop(key),
        }
    }

    /// Forgets what waits; what is on its way comes back as usual.
    pub(super) fn clear(&mut self) {
        self.slots.retain(|_, slot| slot.is_busy);
        self.slots.values_mut().for_each(|slot| (slot.waits, slot.queued) = (None, None));
        self.queue.clear();
    }

    fn end(&mut self, key: &ObjectKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key)?;
        if std::mem::take(&mut slot.is_busy) {
            self.busy -= 1;
        }
        Some(slot)
    }
}

fn print(write: &Write) -> u64 {
    let mut hasher = DefaultHasher::new();
    write.status.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Whether a version comes after another. Versions that are no numbers do when they differ.
fn is_newer(one: &str, other: &str) -> bool {
    match (one.parse::<u128>(), other.parse::<u128>()) {
        (Ok(one), Ok(other)) => one > other,
        _ => one != other,
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::ObjectName;
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(ObjectKind::Gateway, ObjectName::new("shop", name))
    }

    fn write(version: &str, n: u32) -> Write {
        Write { version: version.into(), status: json!({ "n": n }) }
    }

    fn known(version: &str, n: u32) -> Known {
        Known { version: version.into(), generation: 1, status: json!({ "n": n }) }
    }

    fn start() -> Instant {
        mesh_rt::Clock::monotonic(&mesh_rt::SystemClock)
    }

    #[test]
    fn only_the_newest_status_waits_and_one_is_on_its_way() {
        let (mut desk, now) = (Desk::default(), start());
        desk.want(&key("a"), Some(write("1", 1)), now);
        desk.want(&key("a"), Some(write("1", 2)), now);
        assert_eq!(desk.take_due(now), [(key("a"), write("1", 2))]);
        desk.want(&key("a"), Some(write("1", 3)), now);
        assert_eq!(desk.take_due(now), []);
        desk.written(&key("a"), (now, &write("1", 2)), known("2", 2));
        assert_eq!(desk.known(&key("a"), known("1", 0)), known("2", 2));
        assert_eq!(desk.known(&key("a"), known("3", 9)), known("3", 9));
    }

    #[test]
    fn a_thousand_changes_in_ten_seconds_are_few_writes_and_the_last_comes_soon() {
        let (mut desk, begin) = (Desk::default(), start());
        let (mut writes, mut version) = (0_u32, 0_u64);
        for n in 0..1_100_u32 {
            let now = begin + Duration::from_millis(u64::from(n) * 10);
            if n < 1_000 {
                desk.want(&key("a"), Some(write(&version.to_string(), n)), now);
            }
            for (key, write) in desk.take_due(now) {
                (writes, version) = (writes + 1, version + 1);
                desk.written(&key, (now, &write), known(&version.to_string(), n));
            }
        }
        assert!(desk.next_due().is_none(), "the last change was written within a second");
        assert!((10..=30).contains(&writes), "{writes} writes");
    }

    #[test]
    fn writes_are_bounded_and_failures_wait_without_holding_others_up() {
        let (mut desk, now) = (Desk::default(), start());
        for n in 0..20 {
            desk.want(&key(&n.to_string()), Some(write("1", n)), now);
        }
        let mut due = desk.take_due(now);
        assert_eq!(due.len(), AT_ONCE);
        let (failed, content) = due.remove(0);
        desk.failed(&failed, (now, content.clone()));
        let next = desk.take_due(now);
        assert_eq!(next.len(), 1);
        assert_ne!(next[0].0, failed);
        due.iter().chain(&next).for_each(|(key, _)| desk.overtaken(key, (now, None)));
        let later = now + PAUSES.1;
        // Those that never failed go first.
        let others = desk.take_due(later);
        assert!(others.iter().all(|(key, _)| *key != failed));
        others.iter().for_each(|(key, _)| desk.overtaken(key, (now, None)));
        assert!(desk.take_due(later).contains(&(failed, content)));
    }

    #[test]
    fn what_a_server_refuses_is_not_sent_again_and_another_status_waits_longer_each_time() {
        let (mut desk, mut now) = (Desk::default(), start());
        for n in 0..10 {
            desk.want(&key("a"), Some(write("1", n)), now);
            let due = desk.take_due(now);
            desk.refused(&key("a"), (now, &due[0].1));
            desk.want(&key("a"), Some(write("1", n)), now);
            assert!(desk.take_due(now + PAUSES.1).is_empty(), "the same status");
            desk.want(&key("a"), Some(write("1", n + 1)), now);
            let later = desk.next_due().expect("another status waits");
            assert_eq!(later, now + (PAUSES.0 * (1 << n)).min(PAUSES.1));
            now = later;
        }
    }

    #[test]
    fn what_a_server_does_not_keep_is_not_written_again() {
        let (mut desk, now) = (Desk::default(), start());
        desk.want(&key("a"), Some(write("1", 1)), now);
        let due = desk.take_due(now);
        desk.written(&key("a"), (now, &due[0].1), known("2", 0));
        desk.want(&key("a"), Some(write("2", 1)), now);
        assert!(desk.take_due(now + QUIET).is_empty());
        desk.want(&key("a"), Some(write("3", 1)), now);
        assert_eq!(desk.take_due(now + QUIET).len(), 1);
    }

    #[test]
    fn gateways_do_not_wait_behind_routes_and_routes_wait_in_their_order() {
        let (mut desk, mut now) = (Desk::default(), start());
        let route =
            |n: u32| ObjectKey::new(ObjectKind::HttpRoute, ObjectName::new("shop", format!("{n:02}")));
        let mut order = Vec::new();
        for n in (0..20).rev() {
            desk.want(&route(n), Some(write("1", n)), now);
            now += Duration::from_millis(1);
        }
        desk.want(&key("edge"), Some(write("1", 1)), now);
        loop {
            let due = desk.take_due(now);
            if due.is_empty() {
                break;
            }
            order.extend(due.iter().map(|(key, _)| key.name.name.to_string()));
            due.iter().for_each(|(key, _)| desk.overtaken(key, (now, None)));
        }
        let routes = (0..20).rev().map(|n| format!("{n:02}"));
        assert_eq!(order, ["edge".to_owned()].into_iter().chain(routes).collect::<Vec<_>>());
    }
}

//! A changing set of names whose addresses are kept fresh. How they are looked up is a seam; what is done with them is
//! the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::resolver::{Found, Lookup, LookupError};

/// Most names that are kept; further ones have no address.
pub const NAMES: usize = 1024;
/// Look-ups at one time.
const AT_ONCE: usize = 8;
/// Shortest and longest time for which addresses are taken to hold.
const LIFE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Shortest and longest pause after a look-up that failed.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long addresses are used after their time while no server answers (RFC 8767).
const STALE: Duration = Duration::from_secs(600);

/// One name.
struct Name {
    /// The addresses that were told; none at all before the first answer.
    told: Option<Vec<IpAddr>>,
    /// When it is looked up next; `None` while it is being looked up.
    due: Option<Instant>,
    /// Look-ups since the last good one.
    failures: u32,
    /// How long the addresses may be used.
    good_until: Instant,
}

/// Keeps the wanted names up to date until nobody can want any more, and tells each change of a name's addresses. A
/// name that no server knows has none at once, nor has one that is not wanted any more; while no server answers, what was
/// known is used for ten minutes.
pub async fn keep<L: Lookup>(
    lookup: L,
    mut wanted: watch::Receiver<BTreeSet<Arc<str>>>,
    mut tell: impl FnMut(&Arc<str>, &[IpAddr]),
) {
    let mut names = BTreeMap::<Arc<str>, Name>::new();
    let mut running = JoinSet::new();
    loop {
        let want = wanted.borrow_and_update().clone();
        take_over(&mut names, &want, &mut tell);
        let now = Instant::now();
        let due: Vec<Arc<str>> = names
            .iter()
            .filter(|(_, name)| name.due.is_some_and(|due| due <= now))
            .map(|(text, _)| Arc::clone(text))
            .take(AT_ONCE.saturating_sub(running.len()))
            .collect();
        for text in due {
            if let Some(name) = names.get_mut(&text) {
                name.due = None;
            }
            let lookup = lookup.clone();
            running.spawn(async move { (Arc::clone(&text), lookup.lookup(text).await) });
        }
        let next = names.values().filter_map(|name| name.due).min().filter(|_| running.len() < AT_ONCE);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            Some(Ok((text, found))) = running.join_next() => {
                if let Some(name) = names.get_mut(&text) {
                    answered(&text, name, found, &mut tell);
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// Begins with names that are new, and forgets those that nobody wants.
fn take_over(
    names: &mut BTreeMap<Arc<str>, Name>,
    want: &BTreeSet<Arc<str>>,
    tell: &mut impl FnMut(&Arc<str>, &[IpAddr]),
) {
    for text in names.keys().filter(|text| !want.contains(*text)) {
        tell(text, &[]);
    }
    names.retain(|text, _| want.contains(text));
    let now = Instant::now();
    for text in want {
        if names.contains_key(text) {
            continue;
        }
        if names.len() >= NAMES {
            tracing::warn!(most = NAMES, name = %text, "too many names are kept; this one has no address");
            return;
        }
        let fresh = Name { told: None, due: Some(now), failures: 0, good_until: now };
        names.insert(Arc::clone(text), fresh);
    }
}

fn answered(
    text: &Arc<str>,
    name: &mut Name,
    found: Result<Found, LookupError>,
    tell: &mut impl FnMut(&Arc<str>, &[IpAddr]),
) {
    let now = Instant::now();
    let addresses = match found {
        Ok(Found { addresses, ttl }) => {
            let life = ttl.clamp(LIFE.0, LIFE.1);
            (name.failures, name.due, name.good_until) = (0, Some(now + life), now + life + STALE);
            addresses
        }
        Err(problem) => {
            let pause = PAUSE.0.saturating_mul(1 << name.failures.min(5)).min(PAUSE.1);
            (name.failures, name.due) = (name.failures.saturating_add(1), Some(now + pause));
            if name.failures == 1 {
                tracing::warn!(name = %text, %problem, "a name has no address");
            }
            if matches!(problem, LookupError::Failed(_)) && now < name.good_until {
                return;
            }
            Vec::new()
        }
    };
    if name.told.as_ref() != Some(&addresses) {
        tell(text, &addresses);
        name.told = Some(addresses);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An answer, and how often it was asked for.
    type Answer = (Result<Found, LookupError>, u32);

    /// Answers by name.
    #[derive(Clone, Default)]
    struct Script(Arc<Mutex<BTreeMap<String, Answer>>>);

    impl Script {
        fn set(&self, name: &str, answer: Result<Found, LookupError>) {
            let mut all = self.0.lock().unwrap();
            let asked = all.get(name).map_or(0, |(_, asked)| *asked);
            all.insert(name.to_owned(), (answer, asked));
        }

        fn asked(&self, name: &str) -> u32 {
            self.0.lock().unwrap().get(name).map_or(0, |(_, asked)| *asked)
        }
    }

    impl Lookup for Script {
        async fn lookup(&self, name: Arc<str>) -> Result<Found, LookupError> {
            let mut all = self.0.lock().unwrap();
            let (answer, asked) = all.get_mut(&*name).expect("the name is scripted");
            *asked += 1;
            answer.clone()
        }
    }

    fn found(last: u8, seconds: u64) -> Result<Found, LookupError> {
        Ok(Found { addresses: vec![[192, 0, 2, last].into()], ttl: Duration::from_secs(seconds) })
    }

    struct Kept {
        script: Script,
        want: watch::Sender<BTreeSet<Arc<str>>>,
        told: Arc<Mutex<Vec<String>>>,
    }

    fn kept() -> Kept {
        let (want, wanted) = watch::channel(BTreeSet::new());
        let (script, told) = (Script::default(), Arc::<Mutex<Vec<String>>>::default());
        let line = Arc::clone(&told);
        let tell = move |name: &Arc<str>, addresses: &[IpAddr]| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            line.lock().unwrap().push(format!("{name} {}", addresses.join(",")));
        };
        tokio::spawn(keep(script.clone(), wanted, tell));
        Kept { script, want, told }
    }

    impl Kept {
        fn want(&self, names: &[&str]) {
            self.want.send_replace(names.iter().map(|name| Arc::from(*name)).collect());
        }

        async fn after(&self, seconds: u64) -> Vec<String> {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            std::mem::take(&mut self.told.lock().unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_asked_for_again_when_their_time_is_over_and_told_when_they_change() {
        let kept = kept();
        kept.script.set("a", found(1, 60));
        kept.want(&["a"]);
        assert_eq!(kept.after(59).await, ["a 192.0.2.1"]);
        assert_eq!(kept.script.asked("a"), 1);
        assert_eq!(kept.after(60).await, [""; 0], "the same again is no news");
        kept.script.set("a", found(2, 0));
        assert_eq!(kept.after(60).await, ["a 192.0.2.2"]);
        let before = kept.script.asked("a");
        kept.after(50).await;
        assert!((9..=11).contains(&(kept.script.asked("a") - before)), "a life of none is five seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_gone_has_no_address_and_a_server_that_is_gone_changes_nothing_for_ten_minutes() {
        let kept = kept();
        kept.script.set("a", found(1, 10));
        kept.script.set("b", found(2, 10));
        kept.want(&["a", "b"]);
        assert_eq!(kept.after(1).await, ["a 192.0.2.1", "b 192.0.2.2"]);
        kept.script.set("a", Err(LookupError::NoAddress));
        kept.script.set("b", Err(LookupError::Failed("gone".to_owned())));
        assert_eq!(kept.after(599).await, ["a "]);
        assert_eq!(kept.after(60).await, ["b "]);
        kept.script.set("b", found(3, 10));
        assert_eq!(kept.after(31).await, ["b 192.0.2.3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_a_name_that_nobody_wants_is_left_alone() {
        let kept = kept();
        kept.script.set("a", Err(LookupError::NoAddress));
        kept.want(&["a"]);
        assert_eq!(kept.after(300).await, ["a "]);
        assert!((10..=15).contains(&kept.script.asked("a")), "{}", kept.script.asked("a"));
        kept.script.set("a", found(1, 10));
        assert_eq!(kept.after(31).await, ["a 192.0.2.1"]);
        kept.want(&[]);
        let before = kept.script.asked("a");
        assert_eq!(kept.after(300).await, ["a "]);
        assert_eq!(kept.script.asked("a"), before);
    }
}

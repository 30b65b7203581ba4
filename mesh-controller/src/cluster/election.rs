//! Which replica writes: a Lease that one of them holds. The lease fences nothing; every write is conditional
//! or an apply all the same.

use std::time::{Duration, Instant};

use mesh_rt::SharedClock;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Api, CallError, Fault};
use crate::objects::Timestamp;

/// How long a lease holds without being renewed.
const LIFE: Duration = Duration::from_secs(10);
/// How often it is renewed or looked at.
const LOOK: Duration = Duration::from_secs(2);
/// After how long without a renewal a holder stops to write: well before anybody else begins.
const GIVE_UP: Duration = Duration::from_secs(7);
/// The name of the lease.
const NAME: &str = "service-mesh-controller";

/// One replica's part in the election.
pub(super) struct Election {
    api: Api,
    /// The path of all leases of the namespace.
    leases: String,
    replica: String,
    clock: SharedClock,
    leading: watch::Sender<bool>,
    seen: Option<Seen>,
    renewed: Option<Instant>,
}

/// The lease as it was first seen at its present version. Other machines' clocks are not trusted: a lease is
/// over when it has not changed for its life by our own clock.
#[derive(Debug, Clone)]
struct Seen {
    lease: Value,
    since: Instant,
}

/// What to do about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There is none.
    Create,
    /// It is ours.
    Renew,
    /// Its holder is gone.
    TakeOver,
    /// Somebody else holds it.
    Wait,
}

impl Election {
    pub(super) fn new(api: Api, namespace: &str, replica: &str, clock: SharedClock) -> Self {
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let (leading, replica) = (watch::Sender::new(false), replica.to_owned());
        Self { api, leases, replica, clock, leading, seen: None, renewed: None }
    }

    /// Whether this replica writes.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Takes part until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            match tokio::time::timeout(LOOK, self.step()).await {
                Ok(Ok(leading)) => self.announce(leading),
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be read or renewed"),
                Err(_) => tracing::warn!("the lease could not be read or renewed in time"),
            }
            let now = self.clock.monotonic();
            if self.renewed.is_none_or(|renewed| now.saturating_duration_since(renewed) >= GIVE_UP) {
                self.announce(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn announce(&self, leading: bool) {
        let changed = self.leading.send_if_modified(|now| std::mem::replace(now, leading) != leading);
        if changed {
            tracing::info!(replica = self.replica, leading, "election");
        }
    }

    /// One look at the lease. Returns whether it is ours.
    async fn step(&mut self) -> Result<bool, CallError> {
        let path = format!("{}/{NAME}", self.leases);
        let lease = match self.api.get(&path).await {
            Ok(lease) => Some(lease),
            Err(error) if error.fault() == Fault::NotFound => None,
            Err(error) => return Err(error),
        };
        // The life counts from before the write: by then nobody else could have taken it.
        let now = self.clock.monotonic();
        self.look_at(lease, now);
        let step = decide(self.seen.as_ref(), now, &self.replica);
        let written = match step {
            Step::Create => self.api.create(&self.leases, &self.lease(step)).await,
            Step::Renew | Step::TakeOver => self.api.replace(&path, &self.lease(step)).await,
            Step::Wait => return Ok(false),
        };
        match written {
            Ok(lease) => {
                self.renewed = Some(now);
                self.look_at(Some(lease), now);
                Ok(true)
            }
            Err(error) if error.fault() == Fault::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn look_at(&mut self, lease: Option<Value>, now: Instant) {
        let same = |seen: &Seen, lease: &Value| version(&seen.lease) == version(lease);
        self.seen = match (lease, self.seen.take()) {
            (None, _) => None,
            (Some(lease), Some(seen)) if same(&seen, &lease) => Some(seen),
            (Some(lease), _) => Some(Seen { lease, since: now }),
        };
    }

    /// The lease as it should become; it names the version that it replaces.
    fn lease(&self, step: Step) -> Value {
        let now = Timestamp::from_wall(self.clock.wall());
        let mut lease = self.seen.as_ref().map_or_else(
            || {
                let metadata = json!({"name": NAME});
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}})
            },
            |seen| seen.lease.clone(),
        );
        let spec = &mut lease["spec"];
        spec["holderIdentity"] = Value::from(self.replica.as_str());
        spec["leaseDurationSeconds"] = Value::from(LIFE.as_secs());
        spec["renewTime"] = Value::from(now.as_str());
        if step != Step::Renew {
            let before = spec["leaseTransitions"].as_u64();
            spec["acquireTime"] = Value::from(now.as_str());
            spec["leaseTransitions"] = Value::from(before.map_or(0, |count| count + 1));
        }
        lease
    }
}

fn version(lease: &Value) -> Option<&str> {
    lease.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

fn decide(seen: Option<&Seen>, now: Instant, replica: &str) -> Step {
    let Some(Seen { lease, since }) = seen else { return Step::Create };
    let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
    let life = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64);
    let life = life.map_or(LIFE, Duration::from_secs);
    match () {
        () if holder == replica => Step::Renew,
        () if holder.is_empty() || now.saturating_duration_since(*since) >= life => Step::TakeOver,
        () => Step::Wait,
    }
}

/// Lets go of the lease, so that the next replica need not wait for its end.
pub(super) async fn release(api: &Api, namespace: &str, replica: &str) {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}");
    let Ok(Ok(mut lease)) = tokio::time::timeout(LOOK, api.get(&path)).await else { return };
    if lease.pointer("/spec/holderIdentity").and_then(Value::as_str) == Some(replica) {
        lease["spec"]["holderIdentity"] = Value::from("");
        let _ = tokio::time::timeout(LOOK, api.replace(&path, &lease)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use mesh_rt::{Clock, ManualClock, SystemClock};

    use super::super::client::fake::{self, Answer, Call};
    use super::*;

    fn seen(holder: &str, since: Instant) -> Option<Seen> {
        let lease = json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 10}});
        Some(Seen { lease, since })
    }

    #[test]
    fn a_lease_is_taken_over_when_it_has_not_changed_for_its_life() {
        let since = SystemClock.monotonic();
        let after = |seconds| since + Duration::from_secs(seconds);
        let table = [
            (None, 0, Step::Create),
            (seen("me", since), 60, Step::Renew),
            (seen("other", since), 9, Step::Wait),
            (seen("other", since), 10, Step::TakeOver),
            (seen("", since), 0, Step::TakeOver),
        ];
        for (seen, seconds, expected) in table {
            assert_eq!(decide(seen.as_ref(), after(seconds), "me"), expected, "{seen:?} after {seconds} s");
        }
    }

    /// A lease as an API server keeps it: with versions, and conflicts.
    fn answer(held: &mut Option<Value>, call: &Call) -> Answer {
        let version = held.as_ref().and_then(version).map(str::to_owned);
        let mut next = call.body.clone();
        let taken = match &*call.method {
            "GET" => return held.clone().map_or_else(|| fake::status(404), fake::ok),
            "POST" => held.is_some(),
            _ => super::version(&next) != version.as_deref(),
        };
        if taken {
            return fake::status(409);
        }
        let number = version.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        next["metadata"]["resourceVersion"] = json!((number + 1).to_string());
        *held = Some(next.clone());
        fake::ok(next)
    }

    #[tokio::test]
    async fn one_replica_leads_until_it_is_silent_or_lets_go() {
        let mut held = None;
        let (api, _) = fake::server(move |call| answer(&mut held, call));
        let clock = ManualClock::at(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let take_part = |name: &str| Election::new(api.clone(), "system", name, clock.clone());
        let (mut one, mut two) = (take_part("one"), take_part("two"));
        assert!(one.step().await.expect("it answers"));
        assert!(!two.step().await.expect("it answers"));
        clock.advance(LIFE - LOOK);
        assert!(one.step().await.expect("renewed"), "it still holds the lease");
        clock.advance(LOOK);
        assert!(!two.step().await.expect("it answers"), "the lease was renewed meanwhile");
        clock.advance(LIFE);
        assert!(two.step().await.expect("it answers"), "nobody renewed it for its life");
        assert!(!one.step().await.expect("it answers"), "it is told by the version");
        release(&api, "system", "one").await;
        assert!(!one.step().await.expect("it answers"), "only the holder can let go");
        release(&api, "system", "two").await;
        assert!(one.step().await.expect("it answers"), "at once");
    }

    /// A clock that follows the runtime's, which the test has paused.
    struct Paused;

    impl Clock for Paused {
        fn wall(&self) -> SystemTime {
            std::time::UNIX_EPOCH
        }

        fn monotonic(&self) -> Instant {
            tokio::time::Instant::now().into_std()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_before_another_one_may_begin() {
        let (mut held, down) = (None, Arc::new(Mutex::new(false)));
        let switch = Arc::clone(&down);
        let (api, _) = fake::server(move |call| match *switch.lock().expect("no panic before") {
            true => fake::status(503),
            false => answer(&mut held, call),
        });
        let election = Election::new(api, "system", "one", Arc::new(Paused));
        let mut leading = election.watch();
        let running = tokio::spawn(election.run());
        leading.wait_for(|leading| *leading).await.expect("it runs");
        *down.lock().expect("no panic before") = true;
        let since = tokio::time::Instant::now();
        leading.wait_for(|leading| !*leading).await.expect("it runs");
        running.abort();
        assert!(since.elapsed() >= GIVE_UP - LOOK && since.elapsed() < LIFE, "{:?}", since.elapsed());
    }
}

//! Rotation of roots, issuers and leaves in virtual time: no connection may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mesh_ca::csr::{Fresh, RequestError};
use mesh_ca::rotate::{InProcess, Issuance, Issuing, Schedule};
use mesh_ca::tls::{self, ClientAuth, PeerTls};
use mesh_ca::{Authority, Policy, Rotation, SvidSource, TrustBundles, TrustSource};
use mesh_model::SpiffeId;
use mesh_rt::random::Fast;
use mesh_rt::{Clock, SharedClock};

use crate::pki::{connect, id, start};

const LEAF: Duration = Duration::from_secs(30);

/// A workload with its own copy of everything: it learns of new roots only by asking.
struct Workload {
    id: SpiffeId,
    tls: PeerTls,
    rotation: Rotation,
    schedule: Schedule,
}

impl Workload {
    async fn join(authority: &Arc<Authority>, name: &str) -> Self {
        let clock = authority.clock().clone();
        let tls = PeerTls::new(SvidSource::empty(clock.clone()), TrustSource::new(TrustBundles::default()));
        let issuance = InProcess::new(authority.clone(), id(name));
        let rotation = Rotation::new(tls.source.clone(), tls.trust.clone(), issuance);
        let mut workload = Self { id: id(name), tls, rotation, schedule: Schedule::new(clock) };
        workload.look().await;
        workload
    }

    async fn look(&mut self) {
        if self.schedule.wait().is_zero() {
            self.schedule.renewed(self.rotation.renew().await.unwrap());
        }
    }
}

async fn meet(client: &Workload, server: &Workload) -> Result<(), String> {
    let config = tls::client_config(&client.tls, vec![server.id.clone()], &[]).unwrap();
    let accept = tls::server_config(&server.tls, ClientAuth::Required, &[]).unwrap();
    let met = connect(config, accept).await?;
    assert_eq!(met.server_saw, Some(client.id.clone()));
    Ok(())
}

#[tokio::test]
async fn no_handshake_fails_while_roots_and_issuers_rotate() {
    let clock = start();
    let policy = Policy::scaled(LEAF);
    let authority = Authority::with_policy("cluster.local".parse().unwrap(), policy, clock.clone()).unwrap();
    let mut workloads = Vec::new();
    for name in ["a", "b", "c", "d"] {
        workloads.push(Workload::join(&authority, name).await);
    }
    let mut chance = Fast::seeded(11);
    let (mut rotations, mut renewed, mut handshakes) = (0, 0, 0);
    let first = authority.bundle();
    for second in 0..420 {
        clock.advance(Duration::from_secs(1));
        authority.tick().unwrap();
        if second % 20 == 0 && authority.rotate_root().is_ok() {
            rotations += 1;
        }
        for workload in &mut workloads {
            let before = workload.tls.source.current().unwrap();
            workload.look().await;
            renewed += usize::from(!Arc::ptr_eq(&before, &workload.tls.source.current().unwrap()));
        }
        let count = workloads.len() as u64;
        let (client, server) = (chance.below(count) as usize, chance.below(count) as usize);
        let met = meet(&workloads[client], &workloads[server]).await;
        assert_eq!(met, Ok(()), "second {second}, {rotations} rotations");
        handshakes += 1;
    }
    assert!(rotations >= 3, "{rotations} rotations");
    assert!(renewed > 4 * 20 && handshakes == 420, "{renewed} renewals");
    let roots: Vec<_> = first.roots().cloned().collect();
    assert!(!authority.bundle().roots().any(|root| roots.contains(root)), "the first root is gone");
}

/// A clock that follows tokio's, which a test can pause.
struct TokioClock(tokio::time::Instant, SystemTime);

impl TokioClock {
    fn shared() -> SharedClock {
        Arc::new(Self(tokio::time::Instant::now(), start().wall()))
    }
}

impl Clock for TokioClock {
    fn wall(&self) -> SystemTime {
        self.1 + self.0.elapsed()
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// How long a question to nobody takes: as long as a remote authority is given at the most.
const SILENCE: Duration = Duration::from_secs(15);

/// An authority that can be away: it refuses, or says nothing.
struct Shaky {
    inner: InProcess,
    away: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Shaky {
    fn or_silence<'a, T: Send + 'a>(&'a self, answer: Issuing<'a, T>) -> Issuing<'a, T> {
        if !self.silent.load(Ordering::SeqCst) {
            return answer;
        }
        Box::pin(async {
            tokio::time::sleep(SILENCE).await;
            Err(RequestError::Timeout(SILENCE))
        })
    }
}

impl Issuance for Shaky {
    fn issue(&self) -> Issuing<'_, Fresh> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Box::pin(async { Err(RequestError::Connect("nobody there".to_owned())) });
        }
        self.or_silence(self.inner.issue())
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        self.or_silence(self.inner.bundles())
    }
}

struct Kept {
    source: Arc<SvidSource>,
    trust: Arc<TrustSource>,
    authority: Arc<Authority>,
    away: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

/// A rotation that runs as a task, against an authority with leaves of 600 s.
fn kept() -> Kept {
    kept_for(Duration::from_secs(600))
}

/// As [`kept`], with leaves of this life.
fn kept_for(life: Duration) -> Kept {
    let clock = TokioClock::shared();
    let policy = Policy::scaled(life);
    let authority = Authority::with_policy("cluster.local".parse().unwrap(), policy, clock.clone()).unwrap();
    let (source, trust) = (SvidSource::empty(clock), TrustSource::new(TrustBundles::default()));
    let (away, silent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicU32::new(0));
    let inner = InProcess::new(authority.clone(), id("cart"));
    let issuance = Shaky { inner, away: away.clone(), silent: silent.clone(), asked: asked.clone() };
    tokio::spawn(Rotation::new(source.clone(), trust.clone(), issuance).run());
    Kept { source, trust, authority, away, silent, asked }
}

#[tokio::test(start_paused = true)]
async fn an_svid_stays_fresh_and_an_authority_may_be_away_for_half_a_life() {
    let kept = kept();
    for minute in 0..600 {
        // Away for the first half of every fourth life.
        kept.away.store(minute % 40 < 5 && minute >= 40, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(kept.source.remaining() > Duration::ZERO, "minute {minute}");
    }
    assert!(kept.asked.load(Ordering::SeqCst) > 100);
}

/// A controller that goes in the middle of an answer says nothing more: neither a question for a certificate nor one for
/// the bundles may wait until the life is over.
#[tokio::test(start_paused = true)]
async fn an_authority_that_falls_silent_costs_nothing() {
    // Half of a life; less of one that is short even beside a question.
    for (life, silence) in [(60, 30), (16, 5)] {
        let kept = kept_for(Duration::from_secs(life));
        for second in 0..100 * life {
            // At all times of a life, by and by.
            let silent = second % (2 * life + 7) < silence && second >= life;
            kept.silent.store(silent, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(kept.source.remaining() > Duration::ZERO, "second {second} of lives of {life} s");
        }
        assert!(kept.asked.load(Ordering::SeqCst) > 100);
    }
}

#[tokio::test(start_paused = true)]
async fn asking_never_ends_and_an_expired_svid_is_replaced_as_soon_as_possible() {
    let kept = kept();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kept.away.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3 * 24 * 3600)).await;
    assert_eq!(kept.source.remaining(), Duration::ZERO);
    assert!(kept.source.current().is_some(), "the last one is kept for those who look");
    let asked = kept.asked.load(Ordering::SeqCst);
    assert!((3 * 24 * 60..3 * 24 * 3600).contains(&asked), "{asked} attempts");
    // The roots outlived the outage by nothing: a person rotates, and the next attempt takes effect.
    kept.authority.rotate_root().unwrap();
    kept.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(kept.source.remaining() > Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_new_root_arrives_long_before_it_signs() {
    let kept = kept();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut changes = kept.trust.subscribe();
    changes.mark_unchanged();
    kept.authority.rotate_root().unwrap();
    tokio::time::timeout(Duration::from_secs(120), changes.changed()).await.unwrap().unwrap();
    let bundles = kept.trust.current();
    assert_eq!(bundles.of(&kept.authority.trust_domain()).unwrap().roots().len(), 2);
}

//! Keeps an SVID fresh: when to renew, whom to ask, and taking the answer into use without a restart.
//!
//! [`Rotation`] is the task, [`Issuance`] whom it asks. The last good SVID stays in use until it expires; the
//! task never stops asking for the next one.

mod issuance;
mod keep;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use mesh_model::SpiffeId;

pub use issuance::{Connected, Connecting, InProcess, Issuance, Issuing, Remote, TokenFn};
pub use keep::{Keep, KeepError, Restored};
pub use schedule::Schedule;

use crate::csr::{Fresh, RequestError};
use crate::source::SvidSource;
use crate::svid::{Svid, TrustBundles};
use crate::tls::verify_svid;
use crate::trust::TrustSource;

/// How often the clocks are read anew while waiting: a stepped wall clock or a resumed machine is noticed
/// within this time, for timers alone sleep through both.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps one identity's SVID and the bundles fresh.
pub struct Rotation {
    source: Arc<SvidSource>,
    trust: Arc<TrustSource>,
    issuance: Box<dyn Issuance>,
    expected: Option<SpiffeId>,
    keep: Option<Arc<Keep>>,
}

impl Rotation {
    /// Publishes SVIDs from `issuance` to `source`, and the bundles that come with them to `trust`.
    pub fn new(source: Arc<SvidSource>, trust: Arc<TrustSource>, issuance: impl Issuance) -> Self {
        Self { source, trust, issuance: Box::new(issuance), expected: None, keep: None }
    }

    /// Takes only SVIDs of this identity.
    pub fn expecting(mut self, id: SpiffeId) -> Self {
        self.expected = Some(id);
        self
    }

    /// Keeps every new SVID and its bundles, and takes what was kept into use at once if it is still good. A
    /// kept identity of somebody else is not used.
    ///
    /// # Errors
    /// When what was kept cannot be read: another key, or damage.
    pub fn keeping(mut self, keep: Keep) -> Result<Self, KeepError> {
        if let Some(Restored { svid, bundles }) = keep.restore()? {
            let ours = self.expected.as_ref().is_none_or(|expected| expected == svid.id());
            if ours && verify_svid(&svid, &bundles, self.source.clock().wall()).is_ok() {
                self.trust_in(bundles);
                self.source.publish(svid);
            }
        }
        self.keep = Some(Arc::new(keep));
        Ok(self)
    }

    /// Asks once, takes the answer into use, and says how long it lives.
    ///
    /// # Errors
    /// When nobody answers or the answer is unusable; what was in use stays.
    pub async fn renew(&self) -> Result<Duration, RequestError> {
        let fresh = self.issuance.issue().await?;
        self.take(fresh).await
    }

    async fn renew_within(&self, patience: Duration) -> Result<Duration, RequestError> {
        let fresh = within(patience, self.issuance.issue()).await?;
        self.take(fresh).await
    }

    async fn take(&self, Fresh { svid, bundles, life }: Fresh) -> Result<Duration, RequestError> {
        if let Some(expected) = self.expected.as_ref().filter(|expected| *expected != svid.id()) {
            let (found, expected) = (svid.id().clone(), expected.clone());
            return Err(RequestError::Identity { found, expected });
        }
        // Trust first: peers may present what only the new bundle vouches for.
        self.trust_in(bundles.clone());
        self.remember(svid.clone(), bundles).await;
        let (id, expires) = (svid.id().to_string(), crate::text::utc(svid.not_after()));
        self.source.publish(svid);
        tracing::info!(id, expires, "a new SVID is in use");
        Ok(life)
    }

    /// Renews for ever, at 38 to 46 % of each life; asks at once when there is no SVID or it has expired.
    /// Dropping the future ends it.
    pub async fn run(self) {
        let mut schedule = Schedule::new(Arc::clone(self.source.clock()));
        if self.source.current().is_some() {
            schedule.renewed(self.source.remaining());
        }
        loop {
            let wait = schedule.wait();
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(LOOK)).await;
                if schedule.refresh_due() {
                    self.refresh(&mut schedule).await;
                }
                continue;
            }
            match self.renew_within(self.patience(&schedule)).await {
                Ok(life) => schedule.renewed(life),
                Err(error) => {
                    let left = self.source.remaining().as_secs();
                    tracing::warn!(%error, seconds_to_expiry = left, "no new SVID; asking again soon");
                    schedule.failed();
                }
            }
        }
    }

    fn patience(&self, schedule: &Schedule) -> Duration {
        schedule.patience(self.source.remaining())
    }

    /// Reads the bundles between renewals, so that a new root arrives long before it signs.
    async fn refresh(&self, schedule: &mut Schedule) {
        match within(self.patience(schedule), self.issuance.bundles()).await {
            Ok(bundles) => self.trust_in(bundles),
            Err(error) => tracing::debug!(%error, "the bundles could not be read; asking again soon"),
        }
        schedule.refreshed();
    }

    /// What cannot be kept is still good: it is used from memory.
    async fn remember(&self, svid: Svid, bundles: TrustBundles) {
        let Some(keep) = self.keep.clone() else { return };
        let saved = tokio::task::spawn_blocking(move || keep.save(&svid, &bundles)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, "the new SVID could not be kept; it is used from memory");
        }
    }

    fn trust_in(&self, bundles: TrustBundles) {
        // An answer without any root would cut every connection; it is never meant.
        if bundles.iter().len() > 0 && *self.trust.current() != bundles {
            self.trust.publish(bundles);
        }
    }
}

/// An answer, or the error that there was none in time.
async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::time::timeout(patience, answer).await.map_err(|_| RequestError::Timeout(patience))?
}

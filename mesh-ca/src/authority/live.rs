//! The authority that a process holds: a hierarchy with its clock, its store and the bundle it publishes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use mesh_rt::SharedClock;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{AuthorityError, Hierarchy, Policy, Status, Step, stored};
use crate::jwt::Token;
use crate::key::{PrivateKey, PublicKey};
use crate::profile::Leaf;
use crate::store::{SealingKey, Store, StoreError, open, seal};
use crate::svid::{Svid, TrustBundle};
use crate::trust::TrustSource;

/// How often [`Authority::run`] looks whether a step is due. Wall time is read anew each time, so that a
/// clock step or a suspended machine is noticed within this time.
const LOOK: Duration = Duration::from_secs(10);

/// A signed chain, leaf first, without the root.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Whose it is.
    pub id: SpiffeId,
    /// The certificates.
    pub chain: Vec<CertificateDer<'static>>,
    /// End of the leaf's life.
    pub not_after: SystemTime,
}

/// An issuing authority of one trust domain. Shared by reference count; every method takes `&self`.
pub struct Authority {
    hierarchy: Mutex<Hierarchy>,
    clock: SharedClock,
    trust: Arc<TrustSource>,
    sealed: Option<Sealed>,
    /// When a step last failed: issuing does not try again at every request.
    failed: Mutex<Option<Instant>>,
}

/// Where the hierarchy is kept, and the key that seals it.
struct Sealed {
    store: Box<dyn Store>,
    key: SealingKey,
    generation: Mutex<u64>,
}

impl Authority {
    /// An authority with a fresh root that lives as long as the process. For tests, benches and short runs.
    ///
    /// # Errors
    /// When the clock shows a time that no certificate can name.
    pub fn in_memory(trust_domain: TrustDomain, clock: SharedClock) -> Result<Arc<Self>, AuthorityError> {
        Self::with_policy(trust_domain, Policy::default(), clock)
    }

    /// As [`Authority::in_memory`], with own lifetimes.
    ///
    /// # Errors
    /// Also when the policy is unusable.
    pub fn with_policy(
        trust_domain: TrustDomain,
        policy: Policy,
        clock: SharedClock,
    ) -> Result<Arc<Self>, AuthorityError> {
        let hierarchy = Hierarchy::new(trust_domain, policy, clock.wall())?;
        Self::start(hierarchy, clock, None)
    }

    /// Opens the authority in a store, or makes one there when the store is empty.
    ///
    /// # Errors
    /// When the key is not the one that sealed the store, the store is damaged, holds another trust domain,
    /// or a fresh authority could not be saved. Nothing is overwritten then.
    pub fn open(
        trust_domain: TrustDomain,
        policy: Policy,
        clock: SharedClock,
        store: impl Store,
        key: SealingKey,
    ) -> Result<Arc<Self>, AuthorityError> {
        let purpose = purpose(&trust_domain);
        let Some(bytes) = store.load()? else {
            let hierarchy = Hierarchy::new(trust_domain, policy, clock.wall())?;
            let sealed = Sealed { store: Box::new(store), key, generation: Mutex::new(0) };
            sealed.save(&hierarchy)?;
            return Self::start(hierarchy, clock, Some(sealed));
        };
        let opened = open(&bytes, &key, &purpose).map_err(|source| {
            AuthorityError::Store(StoreError::Sealed {
                name: store.name(),
                source,
                previous: store.previous_generation(),
            })
        })?;
        let (hierarchy, changed) = stored::decode(&opened.content, policy)?;
        if hierarchy.trust_domain != trust_domain {
            return Err(AuthorityError::Stored(format!("it is that of {}", hierarchy.trust_domain)));
        }
        let sealed = Sealed { store: Box::new(store), key, generation: Mutex::new(opened.generation) };
        if changed {
            sealed.save(&hierarchy)?;
        }
        Self::start(hierarchy, clock, Some(sealed))
    }

    fn start(
        hierarchy: Hierarchy,
        clock: SharedClock,
        sealed: Option<Sealed>,
    ) -> Result<Arc<Self>, AuthorityError> {
        let trust = TrustSource::new([hierarchy.bundle()?].into_iter().collect());
        let failed = Mutex::new(None);
        let authority = Self { hierarchy: Mutex::new(hierarchy), clock, trust, sealed, failed };
        authority.tick_softly();
        Ok(Arc::new(authority))
    }

    /// Signs a leaf for a public key; the caller vouches for the identity. Without `ttl` the policy decides.
    ///
    /// # Errors
    /// As [`Hierarchy::issue`]. A store that cannot be written delays rotation, never issuing.
    pub fn issue(
        &self,
        id: &SpiffeId,
        key: &PublicKey,
        ttl: Option<Duration>,
    ) -> Result<Issued, AuthorityError> {
        self.tick_softly();
        let chain = self.lock().issue(id, key, ttl, self.clock.wall())?;
        let leaf = Leaf::parse(&chain[0]).map_err(crate::svid::SvidError::from)?;
        let not_after = leaf.not_after();
        let expires = crate::text::utc(not_after);
        tracing::info!(target: "mesh_ca::audit", %id, serial = leaf.serial(), %expires, "issued");
        Ok(Issued { id: id.clone(), chain, not_after })
    }

    /// Makes a key and an SVID for an identity, inside this process.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_svid(&self, id: &SpiffeId) -> Result<Svid, AuthorityError> {
        let key = PrivateKey::generate();
        let issued = self.issue(id, key.public(), None)?;
        Ok(Svid::new(issued.chain, key)?)
    }

    /// Signs a token that names an identity towards an audience; the caller vouches for the identity.
    ///
    /// # Errors
    /// As [`Hierarchy::issue_token`].
    pub fn issue_token(&self, id: &SpiffeId, audience: &[String]) -> Result<Token, AuthorityError> {
        self.tick_softly();
        let token = self.lock().issue_token(id, audience, self.clock.wall())?;
        let expires = crate::text::utc(token.expires());
        tracing::info!(target: "mesh_ca::audit", %id, ?audience, %expires, "issued a token");
        Ok(token)
    }

    /// Makes a key and a certificate for a server that clients outside the mesh know by these names of the DNS. Returns
    /// the chain, the key, and the end of the certificate's life.
    ///
    /// # Errors
    /// As [`Hierarchy::issue_server`].
    pub fn issue_server(
        &self,
        names: &[String],
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKey, SystemTime), AuthorityError> {
        self.tick_softly();
        let key = PrivateKey::generate();
        let (chain, not_after) = self.lock().issue_server(names, key.public(), self.clock.wall())?;
        tracing::info!(target: "mesh_ca::audit", ?names, expires = crate::text::utc(not_after), "issued");
        Ok((chain, key, not_after))
    }

    /// Takes the rotation steps that are due. Blocks on the store's file.
    ///
    /// # Errors
    /// When signing fails or the store cannot be written; nothing has changed then.
    pub fn tick(&self) -> Result<Vec<Step>, AuthorityError> {
        if self.lock().due(self.clock.wall()).is_none() {
            return Ok(Vec::new());
        }
        self.change(Hierarchy::tick)
    }

    /// Announces a new root; see [`Hierarchy::rotate_root`]. Blocks on the store's file.
    ///
    /// # Errors
    /// Also when the store cannot be written; nothing has changed then.
    pub fn rotate_root(&self) -> Result<(), AuthorityError> {
        self.change(|hierarchy, now| hierarchy.rotate_root(now).map(|()| vec![Step::AnnounceRoot])).map(drop)
    }

    /// Takes over what another process that shares the store has saved since. Returns whether there was
    /// something. Blocks on the store.
    ///
    /// # Errors
    /// When the store cannot be read or opened; what is held stays in force then.
    pub fn reload(&self) -> Result<bool, AuthorityError> {
        let Some(sealed) = &self.sealed else { return Ok(false) };
        let Some(bytes) = sealed.store.load()? else { return Ok(false) };
        let purpose = purpose(&self.trust_domain());
        let opened = open(&bytes, &sealed.key, &purpose).map_err(|source| sealed.unopened(source))?;
        let mut held = self.lock();
        let mut generation = sealed.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.generation <= *generation {
            return Ok(false);
        }
        let (hierarchy, _) = stored::decode(&opened.content, held.policy)?;
        let bundle = hierarchy.bundle()?;
        (*held, *generation) = (hierarchy, opened.generation);
        self.trust.insert(bundle);
        Ok(true)
    }

    /// Ticks for ever. Dropping the future ends it between two steps.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let authority = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || authority.tick()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "rotation is delayed"),
                Err(error) => tracing::error!(%error, "rotation failed"),
            }
        }
    }

    /// The trust domain that is issued here.
    pub fn trust_domain(&self) -> TrustDomain {
        self.lock().trust_domain().clone()
    }

    /// The roots of this authority's trust domain.
    pub fn bundle(&self) -> TrustBundle {
        let bundles = self.trust.current();
        let own = bundles.of(&self.trust_domain()).cloned();
        own.expect("the authority publishes its own bundle")
    }

    /// Secrets for one purpose; see [`Hierarchy::secrets`]. They may change when the bundle does.
    pub fn secrets(&self, purpose: &str) -> Vec<Zeroizing<[u8; 32]>> {
        self.lock().secrets(purpose)
    }

    /// The live bundles: this authority's, replaced when its roots change, and those that others add.
    pub fn trust(&self) -> Arc<TrustSource> {
        Arc::clone(&self.trust)
    }

    /// The clock that decides about lifetimes.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// What an operator wants to know.
    pub fn status(&self) -> Status {
        self.lock().status()
    }

    /// Changes a copy, saves it, and only then lets it take effect.
    fn change(
        &self,
        change: impl FnOnce(&mut Hierarchy, SystemTime) -> Result<Vec<Step>, AuthorityError>,
    ) -> Result<Vec<Step>, AuthorityError> {
        let mut held = self.lock();
        let mut next = held.clone();
        let steps = change(&mut next, self.clock.wall())?;
        if steps.is_empty() {
            return Ok(steps);
        }
        let bundle = next.bundle()?;
        if let Some(sealed) = &self.sealed {
            sealed.save(&next)?;
        }
        *held = next;
        self.trust.insert(bundle);
        drop(held);
        tracing::info!(target: "mesh_ca::audit", ?steps, "rotation");
        Ok(steps)
    }

    /// Takes due steps, and leaves a failed one for later: what is in memory still signs.
    fn tick_softly(&self) {
        let now = self.clock.monotonic();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|before| now.saturating_duration_since(before) < LOOK) {
            return;
        }
        *failed = self.tick().err().map(|error| {
            tracing::error!(%error, "a rotation is due and could not be taken; issuing goes on without it");
            now
        });
    }

    fn lock(&self) -> MutexGuard<'_, Hierarchy> {
        self.hierarchy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sealed {
    fn unopened(&self, source: crate::store::UnsealError) -> AuthorityError {
        let previous = self.store.previous_generation();
        AuthorityError::Store(StoreError::Sealed { name: self.store.name(), source, previous })
    }

    fn save(&self, hierarchy: &Hierarchy) -> Result<(), AuthorityError> {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        let content = stored::encode(hierarchy);
        let bytes = seal(&content, &self.key, &purpose(&hierarchy.trust_domain), *generation + 1);
        self.store.save(&bytes)?;
        *generation += 1;
        Ok(())
    }
}

fn purpose(trust_domain: &TrustDomain) -> String {
    format!("mesh-ca hierarchy of {trust_domain}")
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("status", &self.status()).finish_non_exhaustive()
    }
}

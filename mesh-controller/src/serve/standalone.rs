//! The whole control plane over files: reads, translates, serves, and follows every change.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::attest::{Attestor, Attestors, PeerSvidAttestor};
use mesh_ca::store::{FileStore, KeyFile, StoreError};
use mesh_ca::{Authority, AuthorityError, Policy};
use mesh_model::{Finding, SpiffeId, TrustDomain};
use mesh_rt::SharedClock;
use mesh_xds::server::AdsService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::readiness::{Shown, readiness};
use super::tokens::{Tokens, replace};
use super::{AbortOnDrop, ServeError, Services, listen_on, own_identity, roots_pem, serve, session_keys};
use crate::controller::{Controller, View};
use crate::source::{self, Snapshot, SourceError};
use crate::translate::Settings;

/// Namespace and account of the control plane.
const ACCOUNT: (&str, &str) = ("service-mesh-system", "service-mesh-controller");
/// How often certificates are looked at and join tokens replaced.
const TICK: Duration = Duration::from_secs(3600);

/// What a control plane over files needs.
#[derive(Debug, Clone)]
pub struct StandaloneConfig {
    /// The folder or file with the objects.
    pub source: PathBuf,
    /// Where the authority, join tokens and roots are kept. Without it the authority lives as long as the
    /// process, and no tokens are written.
    pub state: Option<PathBuf>,
    /// Where discovery and certificates are served.
    pub listen: SocketAddr,
    /// Where readiness and metrics are served.
    pub readiness: Option<SocketAddr>,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The lives of certificates.
    pub lives: Policy,
}

/// Why the control plane cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandaloneError {
    /// The authority cannot be opened.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A name that no identity can hold.
    #[error(transparent)]
    Identity(#[from] mesh_model::identity::SpiffeIdError),
    /// A port cannot be bound.
    #[error("{address} cannot be listened on: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The port ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The files cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The state folder cannot be used.
    #[error("{path}: {error}")]
    State {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The authority's key cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a control plane tells its owner.
#[derive(Debug, Clone)]
pub enum Event {
    /// What is wrong now, all of it.
    Findings(Arc<[Finding]>),
    /// The ports are open.
    Serving {
        /// Discovery and certificates.
        address: SocketAddr,
        /// Readiness and metrics.
        readiness: Option<SocketAddr>,
    },
}

/// A control plane whose ports are open and whose files are read.
pub struct Standalone {
    controller: Controller,
    snapshots: watch::Receiver<Snapshot>,
    listener: Option<TcpListener>,
    ready: Option<TcpListener>,
    address: SocketAddr,
    authority: Arc<Authority>,
    identity: SpiffeId,
    ads: AdsService,
    tokens: Option<Arc<Tokens>>,
    state: Option<PathBuf>,
}

impl Standalone {
    /// Reads the files, opens the authority and the ports. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When one of these cannot be used; errors inside of files are findings instead.
    pub fn start(config: StandaloneConfig, clock: SharedClock) -> Result<Self, StandaloneError> {
        let StandaloneConfig { source, state, listen, readiness, trust_domain, lives } = config;
        let authority = open_authority((&trust_domain, lives), state.as_deref(), &clock)?;
        let settings = Settings { trust_domain: trust_domain.clone(), ..Settings::default() };
        let mut controller = Controller::new(settings, clock.clone());
        controller.take_session_keys(session_keys(&authority));
        let mut snapshots = source::watch(&source)?;
        let first = snapshots.borrow_and_update().clone();
        controller.take(first);
        let failed = |(address, error)| StandaloneError::Listen { address, error };
        let listener = listen_on(listen).map_err(failed)?;
        let address =
            listener.local_addr().map_err(|error| StandaloneError::Listen { address: listen, error })?;
        let tokens = match &state {
            Some(state) => {
                let folder = state.join("tokens");
                let failed = |error| StandaloneError::State { path: folder.clone(), error };
                Some(Tokens::create(&folder, clock.clone()).map_err(failed)?)
            }
            None => None,
        };
        let standalone = Self {
            ads: controller.ads(),
            identity: SpiffeId::for_service_account(&trust_domain, ACCOUNT.0, ACCOUNT.1)?,
            ready: readiness.map(listen_on).transpose().map_err(failed)?,
            controller,
            snapshots,
            listener: Some(listener),
            address,
            authority,
            tokens,
            state,
        };
        standalone.write_state()?;
        Ok(standalone)
    }

    /// Where discovery and certificates are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who serves them.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// Follows what the control plane holds.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.controller.watch()
    }

    /// Serves until `shutdown` resolves. `tell` hears what an owner should know, as it happens.
    ///
    /// # Errors
    /// When the port fails as a whole.
    pub async fn run(
        mut self,
        mut tell: impl FnMut(Event),
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), StandaloneError> {
        let ready = self.ready.take();
        let readiness_address = ready.as_ref().and_then(|listener| listener.local_addr().ok());
        let shown = Shown {
            view: self.controller.watch(),
            cache: self.controller.cache().clone(),
            fleet: self.ads.fleet().clone(),
            counters: Arc::default(),
            leading: None,
            reading: None,
        };
        let ready = ready.map(|listener| AbortOnDrop::spawn(readiness(listener, shown)));
        let rotating = AbortOnDrop::spawn(Arc::clone(&self.authority).run());
        let (peer, renewing) = own_identity(&self.authority, &self.identity)?;
        let mut attestors: Vec<Arc<dyn Attestor>> = Vec::new();
        if let Some(tokens) = &self.tokens {
            attestors.push(Arc::clone(tokens) as _);
        }
        attestors.push(Arc::new(PeerSvidAttestor));
        let services = Services {
            ads: self.ads.clone(),
            authority: Arc::clone(&self.authority),
            attestors: Attestors::new(attestors),
            nodes: None,
        };
        tell(Event::Serving { address: self.address, readiness: readiness_address });
        let listener = self.listener.take().expect("a control plane runs once");
        let serving = serve(listener, &peer, services, shutdown);
        let outcome = tokio::select! {
            outcome = serving => outcome.map_err(StandaloneError::from),
            () = self.follow(&mut tell) => Ok(()),
        };
        drop((ready, rotating, renewing));
        outcome
    }

    /// Takes every change in, for ever.
    async fn follow(&mut self, tell: &mut impl FnMut(Event)) {
        let mut roots = self.authority.trust().subscribe();
        let fleet = self.ads.fleet().clone();
        let mut heard = fleet.watch();
        let mut ticks = tokio::time::interval(TICK);
        let mut told: Option<Arc<[Finding]>> = None;
        let mut watching = true;
        loop {
            let findings = Arc::clone(&self.controller.watch().borrow().findings);
            if told.as_ref() != Some(&findings) {
                tell(Event::Findings(Arc::clone(&findings)));
                told = Some(findings);
            }
            tokio::select! {
                changed = self.snapshots.changed(), if watching => match changed {
                    Ok(()) => {
                        let snapshot = self.snapshots.borrow_and_update().clone();
                        self.controller.take(snapshot);
                        self.keep_state();
                    }
                    // The watcher is gone; what is held stays in force.
                    Err(_) => watching = false,
                },
                Ok(()) = roots.changed() => {
                    self.controller.take_session_keys(session_keys(&self.authority));
                    self.keep_state();
                }
                Ok(()) = heard.changed() => self.controller.hear(&fleet),
                _ = ticks.tick() => {
                    self.controller.tick();
                    if let Some(Err(error)) = self.tokens.as_ref().map(|tokens| tokens.renew()) {
                        tracing::error!(%error, "join tokens cannot be written");
                    }
                }
            }
        }
    }

    fn keep_state(&self) {
        if let Err(error) = self.write_state() {
            tracing::error!(%error, "the state folder cannot be written");
        }
    }

    /// Writes what proxies need to find and trust this control plane: roots, address, join tokens.
    fn write_state(&self) -> Result<(), StandaloneError> {
        let (Some(state), Some(tokens)) = (&self.state, &self.tokens) else { return Ok(()) };
        let failed = |path: PathBuf| move |error| StandaloneError::State { path, error };
        let roots = state.join("roots.pem");
        let text = roots_pem(&self.authority.bundle());
        replace(&roots, text.as_bytes(), 0o644).map_err(failed(roots.clone()))?;
        let address = state.join("address");
        replace(&address, self.address.to_string().as_bytes(), 0o644).map_err(failed(address.clone()))?;
        let view = self.controller.watch().borrow().clone();
        let identities: BTreeSet<_> =
            view.mesh.all_workloads().map(|workload| workload.identity.clone()).collect();
        tokens.offer(identities).map_err(failed(state.join("tokens")))
    }
}

/// The authority of the state folder, sealed under a key file beside it; one in memory without a folder.
fn open_authority(
    (trust_domain, lives): (&TrustDomain, Policy),
    state: Option<&Path>,
    clock: &SharedClock,
) -> Result<Arc<Authority>, StandaloneError> {
    let Some(state) = state else {
        return Ok(Authority::with_policy(trust_domain.clone(), lives, clock.clone())?);
    };
    let failed = |error| StandaloneError::State { path: state.to_owned(), error };
    std::fs::create_dir_all(state).map_err(failed)?;
    let key = KeyFile::load_or_create(&state.join("authority.key"))?;
    let store = FileStore::new(state.join("authority.sealed"));
    Ok(Authority::open(trust_domain.clone(), lives, clock.clone(), store, key)?)
}

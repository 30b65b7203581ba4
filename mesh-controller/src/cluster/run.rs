//! The control plane on Kubernetes as a whole: connects, opens the authority and the ports, and takes every
//! change in.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::attest::{Attestor, Attestors, PeerSvidAttestor};
use mesh_ca::store::StoreError;
use mesh_ca::tls::named_server_config;
use mesh_ca::{Authority, AuthorityError};
use mesh_model::identity::SpiffeIdError;
use mesh_model::{FieldPath, Finding, ObjectName, Origin, Reason, SourceRef, SpiffeId};
use mesh_rt::SharedClock;
use mesh_xds::nodes::NodeService;
use mesh_xds::server::{AdsService, Fleet};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::admission::{self, Admission};
use super::client::{Api, CallError, Fault};
use super::election::{self, Election};
use super::feed::Pauses;
use super::nodes::Notes;
use super::pods::Pods;
use super::review::{Nodes, TokenReviewer};
use super::source::Source;
use super::vault::{SealingError, Vault, sealing_key};
use super::{Access, ClusterConfig, apply, classes, roots, status, webhook, xmesh};
use crate::controller::{Controller, View};
use crate::inject::Injection;
use crate::serve::{
    AbortOnDrop, Counters, Event, Reading, ServeError, Services, Shown, listen_on, own_identity, readiness,
    serve, session_keys,
};
use crate::translate::{GatewayAddresses, Settings};

/// The account of the control plane.
const ACCOUNT: &str = "service-mesh-controller";
/// The account of the proxies of nodes.
const NODE_ACCOUNT: &str = "mesh-node";
/// How often certificates are looked at.
const TICK: Duration = Duration::from_secs(3600);
/// How often the authority is looked at: whether another replica changed it, and whether a rotation is due.
const LOOK: Duration = Duration::from_secs(10);

/// Why the control plane cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The authority cannot be opened.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The API server cannot be used; the text says for what.
    #[error("{0}")]
    Api(String),
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
    /// The key that seals the authority cannot be used.
    #[error("{0}")]
    SealingKey(String),
    /// The port ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread cannot be started.
    #[error("the authority's store cannot be started: {0}")]
    Thread(io::Error),
}

/// A control plane whose ports are open and whose authority is there.
pub struct Cluster {
    controller: Controller,
    source: Source,
    pods: Pods,
    access: Access,
    authority: Arc<Authority>,
    identity: SpiffeId,
    ads: AdsService,
    listener: TcpListener,
    ready: TcpListener,
    webhook: TcpListener,
    election: Option<Election>,
    /// Kept so that those who watch it are not told that it ended.
    _alone: Option<watch::Sender<bool>>,
}

impl Cluster {
    /// Connects, and waits for the API server as long as it takes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no API server to be found, a port cannot be bound, or the authority's state cannot be
    /// opened.
    pub async fn start(config: ClusterConfig, clock: SharedClock) -> Result<Self, ClusterError> {
        let failed = |(address, error)| ClusterError::Listen { address, error };
        let listener = listen_on(config.listen).map_err(failed)?;
        let ready = listen_on(config.readiness).map_err(failed)?;
        let webhook = listen_on(config.webhook).map_err(failed)?;
        let api = Api::connect().await.map_err(|error| ClusterError::Api(error.to_string()))?;
        let authority = open_authority(&api, &config, &clock).await?;
        let identity = SpiffeId::for_service_account(&config.trust_domain, &config.namespace, ACCOUNT)?;
        let mut controller = Controller::new(settings(&config), clock.clone());
        controller.take_session_keys(session_keys(&authority));
        let counters: Arc<Counters> = Arc::default();
        let source = Source::start(api.clone(), Arc::clone(&counters));
        let pods = Pods::start(api.clone(), source.signs());
        let (election, alone) = match config.leader_election {
            true => {
                let election = Election::new(api.clone(), &config.namespace, &config.replica, clock.clone());
                (Some(election), None)
            }
            false => (None, Some(watch::Sender::new(true))),
        };
        let leading = match (&election, &alone) {
            (Some(election), _) => election.watch(),
            (None, Some(alone)) => alone.subscribe(),
            (None, None) => watch::Sender::new(true).subscribe(),
        };
        let (view, served) = (controller.watch(), source.served());
        let access = Access { api, view, leading, served, counters, config: Arc::new(config), clock };
        let ads = controller.ads();
        Ok(Self {
            controller,
            source,
            pods,
            access,
            authority,
            identity,
            ads,
            listener,
            ready,
            webhook,
            election,
            _alone: alone,
        })
    }

    /// Where discovery and certificates are served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
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
        self,
        mut tell: impl FnMut(Event),
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ClusterError> {
        let Self { controller, source, pods, access, authority, identity, ads, .. } = self;
        let (listener, ready, election) = (self.listener, self.ready, self.election);
        let shown = Shown {
            view: controller.watch(),
            cache: controller.cache().clone(),
            fleet: ads.fleet().clone(),
            counters: Arc::clone(&access.counters),
            leading: Some(access.leading.clone()),
            reading: Some(source.reading()),
        };
        if let Ok(address) = listener.local_addr() {
            tell(Event::Serving { address, readiness: ready.local_addr().ok() });
        }
        let (refused, addresses) = watch::channel(Arc::default());
        let proxies = status::Proxies { cache: controller.cache().clone(), fleet: ads.fleet().clone() };
        let reporting =
            status::run(access.clone(), proxies, status::Refused { addresses, unusable: source.unusable() });
        let (peer, renewing) = own_identity(&authority, &identity)?;
        let mut tasks = vec![
            renewing,
            AbortOnDrop::spawn(readiness(ready, shown)),
            AbortOnDrop::spawn(look_after(Arc::clone(&authority), access.leading.clone())),
            AbortOnDrop::spawn(roots::keep(access.clone(), Arc::clone(&authority))),
            AbortOnDrop::spawn(apply::run(access.clone(), refused)),
            AbortOnDrop::spawn(classes::keep(access.clone())),
            AbortOnDrop::spawn(xmesh::keep(access.clone(), settings(&access.config))),
            AbortOnDrop::spawn(webhook::keep(access.clone(), Arc::clone(&authority))),
            AbortOnDrop::spawn(admit(self.webhook, &access, &authority, &identity)?),
            AbortOnDrop::spawn(reporting),
        ];
        let takes_part = election.is_some();
        tasks.extend(election.map(|election| AbortOnDrop::spawn(election.run())));
        let told = (ads.fleet().clone(), Arc::clone(&authority));
        let reviewer = reviewer(&access, node_proxy(&access.config)?);
        let nodes = Some(NodeService::new(Notes::new(access.clone(), Arc::clone(&reviewer))));
        let attestors = Attestors::new([reviewer as Arc<dyn Attestor>, Arc::new(PeerSvidAttestor)]);
        let services = Services { ads, authority, attestors, nodes };
        let outcome = tokio::select! {
            outcome = serve(listener, &peer, services, shutdown) => outcome.map_err(ClusterError::from),
            () = follow(controller, (source, pods), told, &mut tell) => Ok(()),
        };
        drop(tasks);
        if takes_part {
            election::release(&access.api, &access.config.namespace, &access.config.replica).await;
        }
        outcome
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Answers what the API server asks about new pods.
fn admit(
    listener: TcpListener,
    access: &Access,
    authority: &Arc<Authority>,
    identity: &SpiffeId,
) -> Result<impl Future<Output = ()> + use<>, ClusterError> {
    let config = &access.config;
    let name = format!("{ACCOUNT}.{}.svc", config.namespace);
    let settings = Injection {
        controller_address: format!("{name}:15012"),
        controller_identity: identity.clone(),
        image: config.proxy_image.clone(),
        revision: config.revision.clone(),
        trust_domain: config.trust_domain.clone(),
    };
    let tls = named_server_config(Arc::clone(authority), vec![name]).map_err(ServeError::from)?;
    let (api, view) = (access.api.clone(), access.view.clone());
    Ok(admission::serve(listener, tls, Admission { api, settings: Arc::new(settings), view }))
}

/// The identity of the proxies of nodes. They need rights that the control plane's own namespace forbids, so they have
/// one beside it.
fn node_proxy(config: &ClusterConfig) -> Result<SpiffeId, SpiffeIdError> {
    SpiffeId::for_service_account(&config.trust_domain, &format!("{}-node", config.namespace), NODE_ACCOUNT)
}

/// Classes are objects here, and services have their addresses from the API server.
fn settings(config: &ClusterConfig) -> Settings {
    Settings {
        trust_domain: config.trust_domain.clone(),
        controller_name: config.controller_name.clone(),
        builtin_classes: std::collections::BTreeSet::new(),
        follows_pods: true,
        allocate_addresses: false,
        disabled_features: config.disabled_features.clone(),
        gateway_addresses: GatewayAddresses::OfService,
        root_namespace: Some(config.namespace.clone()),
        ..Settings::default()
    }
}

/// `proxy` is the identity of the proxies of nodes.
fn reviewer(access: &Access, proxy: SpiffeId) -> Arc<TokenReviewer> {
    let (api, trust_domain) = (access.api.clone(), access.config.trust_domain.clone());
    let nodes = Nodes { proxy, view: access.view.clone() };
    let reviewer = TokenReviewer::new(api, trust_domain, access.clock.clone(), nodes);
    Arc::new(reviewer.anywhere(access.config.tokens_anywhere))
}

/// Takes every change in, for ever.
async fn follow(
    mut controller: Controller,
    (mut source, mut pods): (Source, Pods),
    (fleet, authority): (Fleet, Arc<Authority>),
    tell: &mut impl FnMut(Event),
) {
    // Objects come after the first list of pods: with endpoints it must be known which of them are meshed.
    controller.take_pods(pods.next().await);
    let mut heard = fleet.watch();
    let mut roots = authority.trust().subscribe();
    let mut reading = source.reading();
    let mut ticks = tokio::time::interval(TICK);
    let mut told: Option<Arc<[Finding]>> = None;
    let view = controller.watch();
    loop {
        tokio::select! {
            (snapshot, changed) = source.next() => controller.take_changed(snapshot, changed),
            changed = pods.next() => controller.take_pods(changed),
            Ok(()) = heard.changed() => controller.hear(&fleet),
            Ok(()) = roots.changed() => controller.take_session_keys(session_keys(&authority)),
            Ok(()) = reading.changed() => {
                let unread = unread(&reading.borrow_and_update());
                controller.complain(unread);
            }
            _ = ticks.tick() => controller.tick(),
        }
        let findings = Arc::clone(&view.borrow().findings);
        if told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &findings)) {
            tell(Event::Findings(Arc::clone(&findings)));
            told = Some(findings);
        }
    }
}

/// Kinds that cannot be read, as findings.
fn unread(reading: &Reading) -> Vec<Finding> {
    let problems = reading.problems.iter().map(|(kind, problem)| {
        let whole = SourceRef::new(*kind, ObjectName::new("", ""), Origin::Builtin);
        let text = format!("objects of this kind cannot be read: {problem}");
        Finding::error(Reason::Unreadable, &whole, FieldPath::root(), text)
    });
    problems.collect()
}

/// The authority that all replicas share. A server that cannot be reached is waited for, and so is another
/// replica that makes the first state at the same moment.
async fn open_authority(
    api: &Api,
    config: &ClusterConfig,
    clock: &SharedClock,
) -> Result<Arc<Authority>, ClusterError> {
    let mut pauses = Pauses::default();
    loop {
        let passing = match sealing_key(api, &config.namespace, config.authority_key.as_deref()).await {
            Err(SealingError::Call(error)) if is_passing(&error) => error.to_string(),
            Err(error) => return Err(ClusterError::SealingKey(error.to_string())),
            Ok(key) => {
                let vault = Vault::start(&config.namespace, Api::connect).map_err(ClusterError::Thread)?;
                let (trust_domain, lives, clock) = (config.trust_domain.clone(), config.lives, clock.clone());
                let open = move || Authority::open(trust_domain, lives, clock, vault, key);
                match tokio::task::spawn_blocking(open).await {
                    Ok(Err(AuthorityError::Store(error @ StoreError::Io { .. }))) => error.to_string(),
                    Ok(outcome) => return Ok(outcome?),
                    Err(error) => return Err(ClusterError::Api(error.to_string())),
                }
            }
        };
        tracing::warn!(error = passing, "the authority cannot be opened; trying again");
        pauses.wait().await;
    }
}

/// Whether waiting may help. Permissions may be granted a moment after the pod has started.
fn is_passing(error: &CallError) -> bool {
    matches!(error.fault(), Fault::Conflict | Fault::Forbidden | Fault::Unavailable)
}

/// Takes over what another replica changed; the leader takes the steps that are due.
async fn look_after(authority: Arc<Authority>, leading: watch::Receiver<bool>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let (authority, leads) = (Arc::clone(&authority), *leading.borrow());
        let look = move || {
            authority.reload()?;
            if leads { authority.tick() } else { Ok(Vec::new()) }
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "rotation is delayed"),
            Err(error) => tracing::error!(%error, "rotation failed"),
        }
    }
}

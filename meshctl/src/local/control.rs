//! The control plane of a local mesh: files in, discovery over mutual TLS on a loopback port out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use mesh_ca::attest::{Attestors, PeerSvidAttestor};
use mesh_ca::tls::PeerTls;
use mesh_ca::{Authority, SvidSource};
use mesh_controller::controller::{Controller, View};
use mesh_controller::local::Replica;
use mesh_controller::serve::{Services, serve, session_keys};
use mesh_controller::source;
use mesh_controller::translate::Settings;
use mesh_model::{ObjectName, SpiffeId, TrustDomain};
use mesh_rt::{SharedClock, SystemClock};
use mesh_xds::server::Fleet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Namespace and account of the control plane.
const CONTROLLER: (&str, &str) = ("service-mesh-system", "service-mesh-controller");

/// A running control plane. It ends when its token is cancelled.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    /// Where discovery is served.
    pub(crate) address: SocketAddr,
    /// Who serves it.
    pub(crate) identity: SpiffeId,
    /// Whose certificates everybody has.
    pub(crate) authority: Arc<Authority>,
    /// The clock.
    pub(crate) clock: SharedClock,
    /// What it holds.
    pub(crate) view: watch::Receiver<View>,
    replicas: mpsc::UnboundedSender<(ObjectName, Vec<Replica>)>,
}

impl ControlPlane {
    /// Reads the files, begins to watch them and serves what they hold.
    pub(crate) async fn start(path: &Path, stop: CancellationToken) -> anyhow::Result<Self> {
        let clock = SystemClock::shared();
        let settings = Settings::default();
        let trust_domain = settings.trust_domain.clone();
        let authority = Authority::in_memory(trust_domain.clone(), clock.clone())?;
        let mut controller = Controller::new(settings, clock.clone());
        let snapshots = source::watch(path).context("the files cannot be read")?;
        controller.take_session_keys(session_keys(&authority));
        controller.take(snapshots.borrow().clone());
        let view = controller.watch();
        let ads = controller.ads();
        let fleet = ads.fleet().clone();
        let listener = mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let identity = controller_identity(&trust_domain)?;
        let peer = own_identity(&authority, &identity, &clock)?;
        let services = Services {
            ads,
            authority: Arc::clone(&authority),
            attestors: Attestors::new([Arc::new(PeerSvidAttestor) as _]),
            nodes: None,
        };
        let (replicas, changed) = mpsc::unbounded_channel();
        tokio::spawn(Arc::clone(&authority).run());
        let ended = stop.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(listener, &peer, services, ended.cancelled()).await {
                tracing::error!(%error, "the control plane's port ended");
            }
        });
        let told = (fleet, Arc::clone(&authority));
        tokio::task::spawn_local(follow((controller, told), snapshots, changed, stop));
        Ok(Self { address, identity, authority, clock, view, replicas })
    }

    /// Tells which replicas of a process run now.
    pub(crate) fn report(&self, process: ObjectName, replicas: Vec<Replica>) {
        // The control plane goes only when the whole mesh does.
        let _ = self.replicas.send((process, replicas));
    }
}

/// Feeds the controller with changes of files and of replicas, until the end.
async fn follow(
    (mut controller, (fleet, authority)): (Controller, (Fleet, Arc<Authority>)),
    mut snapshots: watch::Receiver<source::Snapshot>,
    mut replicas: mpsc::UnboundedReceiver<(ObjectName, Vec<Replica>)>,
    stop: CancellationToken,
) {
    let mut heard = fleet.watch();
    let mut roots = authority.trust().subscribe();
    loop {
        tokio::select! {
            Ok(()) = heard.changed() => controller.hear(&fleet),
            Ok(()) = roots.changed() => controller.take_session_keys(session_keys(&authority)),
            changed = snapshots.changed() => match changed {
                Ok(()) => {
                    let snapshot = snapshots.borrow_and_update().clone();
                    controller.take(snapshot);
                }
                // The watcher is gone; what is held stays in force.
                Err(_) => stop.cancelled().await,
            },
            Some((process, all)) = replicas.recv() => controller.take_replicas(process, all),
            () = stop.cancelled() => return,
        }
    }
}

/// The identity of the control plane in a trust domain.
fn controller_identity(trust_domain: &TrustDomain) -> anyhow::Result<SpiffeId> {
    Ok(SpiffeId::for_service_account(trust_domain, CONTROLLER.0, CONTROLLER.1)?)
}

/// The control plane's own certificate, renewed in this process.
fn own_identity(authority: &Arc<Authority>, id: &SpiffeId, clock: &SharedClock) -> anyhow::Result<PeerTls> {
    let source = SvidSource::empty(clock.clone());
    source.publish(authority.issue_svid(id)?);
    super::member::keep_fresh(authority, id, &source);
    Ok(PeerTls::new(source, authority.trust()))
}

//! The thread of the control link: renewing the identity, following the configuration and the names that it has, keeping
//! both.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mesh_ca::Rotation;
use mesh_ca::grpc;
use mesh_ca::rotate::{Connected, Connecting, Remote};
use mesh_ca::tls::{PeerTls, TlsError, client_config};
use mesh_dns::Resolver;
use mesh_xds::client::{Client, ClientConfig, ClientState};
use mesh_xds::lastgood::{Recorder, Writer};
use mesh_xds::native::FEATURES;
use mesh_xds::proto::Node;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::{Kept, Restored};
use super::staging::Staging;
use super::{ControlError, ControlOptions, ControllerAddress};
use crate::names::keep_names;
use crate::snapshot::SharedMesh;

/// How often ages are told.
const TELL: Duration = Duration::from_secs(1);

pub(super) struct Link {
    pub(super) options: ControlOptions,
    pub(super) identity: PeerTls,
    pub(super) mesh: SharedMesh,
    pub(super) kept: Option<Kept>,
    pub(super) restored: Option<Restored>,
}

/// Starts the thread; it runs until the process ends.
pub(super) fn start(link: Link) -> Result<watch::Receiver<ClientState>, ControlError> {
    let Link { options, identity, mesh, kept, restored } = link;
    let clock = Arc::clone(&options.clock);
    let (recorder, writer) = match &kept {
        Some(kept) => {
            let last = restored.as_ref().map(|restored| &restored.last);
            let (recorder, writer) = Recorder::new(kept.snapshot.clone(), clock, last);
            (Some(recorder), Some(writer))
        }
        None => (None, None),
    };
    let connector = Connector::new(&options.controller, &identity)?;
    let ads = connector.clone();
    let config = client_options(&options, restored.as_ref());
    let consumer = Staging::new(mesh.clone(), recorder);
    let source = Arc::clone(&identity.source);
    let connect = move || {
        let (ads, source, mut svids) = (ads.clone(), Arc::clone(&source), source.subscribe());
        async move {
            // Without an identity the controller would refuse; the rotation is asking for one, and a pause between two
            // tries would be added to every first start.
            while source.current().is_none() {
                svids.changed().await.map_err(io::Error::other)?;
            }
            ads.connect().await
        }
    };
    let (client, state) = Client::new(config, connect, consumer);
    let rotation = rotation(&options, &identity, connector);
    let told = state.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(async move {
            if let Some(writer) = writer {
                tokio::spawn(keep_snapshot(writer, told.clone()));
            }
            if let Some(kept) = kept {
                tokio::spawn(keep_identity(kept, identity.clone()));
            }
            tokio::spawn(keep_names(mesh.clone(), Resolver::system()));
            tokio::spawn(tell(options, identity, mesh, told));
            tokio::spawn(rotation.run());
            client.run(pending()).await;
        });
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(work)?;
    Ok(state)
}

fn client_options(options: &ControlOptions, restored: Option<&Restored>) -> ClientConfig {
    let node = Node::with_features(options.name.clone(), "local", FEATURES);
    let mut config = ClientConfig::new(node);
    if let Some(restored) = restored {
        config.restored = restored.last.versions();
        config.restored_age = Some(restored.age);
    }
    config
}

/// Dials the controller, whose host is looked up anew each time.
#[derive(Debug, Clone)]
pub struct Connector {
    address: Arc<str>,
    config: Arc<rustls::ClientConfig>,
}

impl Connector {
    /// Dials this controller and shows this identity, once there is one.
    ///
    /// # Errors
    /// The TLS parameters are unusable.
    pub fn new(controller: &ControllerAddress, identity: &PeerTls) -> Result<Self, TlsError> {
        let config = client_config(identity, vec![controller.identity.clone()], &[grpc::ALPN])?;
        Ok(Self { address: Arc::from(controller.address.as_str()), config })
    }

    /// A connection, its handshake done.
    ///
    /// # Errors
    /// The controller is not found, does not answer, or is another one.
    pub async fn connect(&self) -> io::Result<Connected> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the controller's name has no address");
        for address in tokio::net::lookup_host(&*self.address).await? {
            match grpc::dial(address, Arc::clone(&self.config)).await {
                Ok(connected) => return Ok(connected),
                Err(problem) => last = problem,
            }
        }
        Err(last)
    }
}

fn rotation(options: &ControlOptions, identity: &PeerTls, connector: Connector) -> Rotation {
    let connect = move || {
        let connector = connector.clone();
        Box::pin(async move { connector.connect().await }) as Connecting
    };
    let mut remote = Remote::through(connect, Arc::clone(&identity.source));
    if let Some(token) = options.controller.token.clone() {
        remote = remote.with_token(move || std::fs::read_to_string(&token).map(Into::into));
    }
    let rotation = Rotation::new(Arc::clone(&identity.source), Arc::clone(&identity.trust), remote);
    match &options.expected {
        Some(expected) => rotation.expecting(expected.clone()),
        None => rotation,
    }
}

async fn keep_snapshot(writer: Writer, state: watch::Receiver<ClientState>) {
    writer.run(state, pending()).await;
}

/// Writes the identity after every change of SVID or bundles.
async fn keep_identity(kept: Kept, identity: PeerTls) {
    let (mut svids, mut bundles) = (identity.source.subscribe(), identity.trust.subscribe());
    let kept = Arc::new(kept);
    loop {
        let (kept, identity) = (Arc::clone(&kept), identity.clone());
        let saving = tokio::task::spawn_blocking(move || kept.save_identity(&identity));
        let _ = saving.await;
        tokio::select! {
            changed = svids.changed() => if changed.is_err() { return },
            changed = bundles.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells the age of the configuration and the time to the certificate's end.
async fn tell(
    options: ControlOptions,
    identity: PeerTls,
    mesh: SharedMesh,
    state: watch::Receiver<ClientState>,
) {
    let metrics = Arc::clone(&options.telemetry.metrics);
    loop {
        if let Some(age) = state.borrow().age(Instant::now()) {
            metrics.config_age.set(age.as_secs_f64());
        }
        metrics.svid_expiry.set(identity.source.remaining().as_secs_f64());
        mesh.sweep();
        tokio::time::sleep(TELL).await;
    }
}

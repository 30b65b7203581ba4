//! One certificate for each account that the node's pods run as, asked for in the node's name and kept fresh. The
//! control plane gives it only while such a pod is here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mesh_ca::rotate::{Connecting, Remote};
use mesh_ca::tls::PeerTls;
use mesh_ca::{Rotation, SvidSource};
use mesh_model::SpiffeId;
use mesh_proxy::control::Connector;
use mesh_rt::SharedClock;
use tokio::task::JoinHandle;

/// The identities in use.
pub struct Accounts {
    connector: Connector,
    token: PathBuf,
    node: PeerTls,
    clock: SharedClock,
    held: BTreeMap<SpiffeId, Held>,
}

#[derive(Debug)]
struct Held {
    tls: PeerTls,
    renewing: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Accounts {
    /// Asks by these connections; `node` is the identity of the node's own proxy, and the token in the file its proof.
    pub fn new(connector: Connector, token: PathBuf, node: PeerTls, clock: SharedClock) -> Self {
        Self { connector, token, node, clock, held: BTreeMap::new() }
    }

    /// The identity of an account, once its certificate is there. Asking for it begins to keep it.
    pub fn ready(&mut self, id: &SpiffeId) -> Option<PeerTls> {
        let held = match self.held.contains_key(id) {
            true => self.held.get(id)?,
            false => {
                let fresh = self.start(id);
                self.held.entry(id.clone()).or_insert(fresh)
            }
        };
        held.tls.source.current().map(|_| held.tls.clone())
    }

    /// Forgets all others.
    pub fn keep(&mut self, ids: &BTreeSet<SpiffeId>) {
        self.held.retain(|id, _| ids.contains(id));
    }

    fn start(&self, id: &SpiffeId) -> Held {
        let source = SvidSource::empty(Arc::clone(&self.clock));
        let tls = PeerTls::new(Arc::clone(&source), Arc::clone(&self.node.trust));
        let (connector, token) = (self.connector.clone(), self.token.clone());
        let connect = move || {
            let connector = connector.clone();
            Box::pin(async move { connector.connect().await }) as Connecting
        };
        let remote = Remote::through(connect, Arc::clone(&source))
            .with_token(move || std::fs::read_to_string(&token).map(Into::into))
            .on_behalf_of(id.clone());
        let rotation = Rotation::new(source, Arc::clone(&self.node.trust), remote).expecting(id.clone());
        Held { tls, renewing: tokio::spawn(rotation.run()) }
    }
}

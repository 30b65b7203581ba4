//! A member of the local mesh: an identity that stays fresh, and a snapshot that follows the control plane.

use std::sync::Arc;

use mesh_ca::grpc::{self, ALPN};
use mesh_ca::rotate::InProcess;
use mesh_ca::tls::{PeerTls, client_config};
use mesh_ca::{Authority, Rotation, SvidSource};
use mesh_model::SpiffeId;
use mesh_proxy::names::{Resolver, keep_names};
use mesh_proxy::snapshot::SharedMesh;
use mesh_xds::client::{Client, ClientConfig};
use mesh_xds::native::{FEATURES, MeshConsumer};
use mesh_xds::proto::Node;
use tokio_util::sync::CancellationToken;

use super::control::ControlPlane;

/// What a proxy needs of the mesh.
#[derive(Clone)]
pub(crate) struct Member {
    /// Its identity and whom it trusts.
    pub(crate) tls: PeerTls,
    /// What it decides with.
    pub(crate) mesh: SharedMesh,
    /// Its name.
    pub(crate) id: SpiffeId,
}

impl Member {
    /// Joins the mesh under an identity; everything ends with the token.
    pub(crate) fn join(
        control: &ControlPlane,
        node: &str,
        id: SpiffeId,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let source = SvidSource::empty(control.clock.clone());
        source.publish(control.authority.issue_svid(&id)?);
        let renewing = keep_fresh(&control.authority, &id, &source);
        let tls = PeerTls::new(source, control.authority.trust());
        let mesh = SharedMesh::default();
        let config = client_config(&tls, vec![control.identity.clone()], &[ALPN])?;
        let address = control.address;
        let connect = move || grpc::dial(address, Arc::clone(&config));
        let shared = mesh.clone();
        let consumer = MeshConsumer::new(move |delta| shared.change(|mesh| mesh.apply(&delta)));
        let names = tokio::spawn(keep_names(mesh.clone(), Resolver::system()));
        let (client, _) =
            Client::new(ClientConfig::new(Node::with_features(node, "local", FEATURES)), connect, consumer);
        let stop = stop.clone();
        tokio::spawn(async move {
            client.run(stop.cancelled_owned()).await;
            renewing.abort();
            names.abort();
        });
        Ok(Self { tls, mesh, id })
    }
}

/// Renews an identity from the authority of this process for as long as the task lives.
pub(crate) fn keep_fresh(
    authority: &Arc<Authority>,
    id: &SpiffeId,
    source: &Arc<SvidSource>,
) -> tokio::task::JoinHandle<()> {
    let issuance = InProcess::new(Arc::clone(authority), id.clone());
    let rotation = Rotation::new(Arc::clone(source), authority.trust(), issuance).expecting(id.clone());
    tokio::spawn(rotation.run())
}

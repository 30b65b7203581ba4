//! The service over real connections, judged by a client that shares no code with it.

mod mesh_client;
mod native;
mod plain_client;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mesh_model::SpiffeId;
use mesh_xds::server::{AdsService, Identified, Peers, ServerConfig};
use mesh_xds::{Change, Encoded, Entry, Key, ResourceCache, Types};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;

const A: &str = "type/a";
const B: &str = "type/b";

fn types() -> Types {
    Types::new([A.into(), B.into()])
}

fn entry(body: impl Into<Vec<u8>>) -> Entry {
    Entry::new(Encoded::new(Bytes::from(body.into())).expect("small"))
}

fn set(type_url: &str, name: &str, body: impl Into<Vec<u8>>) -> Change {
    Change::Set(Key::new(type_url.into(), name), entry(body))
}

fn unset(type_url: &str, name: &str) -> Change {
    Change::Remove(Key::new(type_url.into(), name))
}

fn open_to_anyone() -> ServerConfig {
    ServerConfig { types: types(), peers: Peers::Anyone, ..ServerConfig::default() }
}

/// A running server.
struct Server {
    cache: ResourceCache,
    service: AdsService,
    address: SocketAddr,
}

impl Server {
    async fn start(config: ServerConfig, peer: Option<&str>) -> Self {
        let cache = ResourceCache::new();
        cache.mark_synced();
        Self::over(cache, config, peer, ([127, 0, 0, 1], 0).into()).await
    }

    async fn over(cache: ResourceCache, config: ServerConfig, peer: Option<&str>, on: SocketAddr) -> Self {
        let listener = mesh_rt::net::listen_tcp(on, false).expect("a free port");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("bound");
        let peer: Option<SpiffeId> = peer.map(|id| id.parse().expect("an identity"));
        let incoming =
            TcpListenerStream::new(listener).map(move |io| io.map(|io| Identified::new(io, peer.clone())));
        let service = AdsService::new(cache.clone(), config);
        tokio::spawn(service.clone().serve(incoming, std::future::pending()));
        Self { cache, service, address }
    }

    /// Waits until the fleet's state satisfies the condition.
    async fn until(&self, what: &str, holds: impl Fn(&mesh_xds::server::Fleet) -> bool) {
        let fleet = self.service.fleet();
        let mut revision = fleet.watch();
        let waiting = async {
            while !holds(fleet) {
                revision.changed().await.expect("the fleet lives");
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(result.is_ok(), "{what} did not happen: {:?}", fleet.proxies());
    }
}

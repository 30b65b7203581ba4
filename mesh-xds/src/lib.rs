//! Delta ADS for the mesh: a session for each side without IO, the cache behind it, and the tasks around it.
//!
//! A server and a client in one process, over a pipe:
//!
//! ```
//! use std::sync::Mutex;
//!
//! use mesh_model::{Delta, Kind, ObjectName, Origin, Resource, ResourceKey, Service, SourceRef};
//! use mesh_xds::client::{Client, ClientConfig};
//! use mesh_xds::native::{FEATURES, MeshConsumer, Publisher};
//! use mesh_xds::proto::Node;
//! use mesh_xds::server::{AdsService, Identified, ServerConfig};
//! use mesh_xds::ResourceCache;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = ObjectName::new("shop", "cart");
//! let service = Service {
//!     key: ResourceKey::local(Kind::Service, name.clone()),
//!     source: SourceRef::new("Service", name.clone(), Origin::Builtin),
//!     name,
//!     addresses: vec!["240.0.0.1".parse()?],
//!     ports: vec![],
//!     retry_budget: None,
//!     hostname: None,
//!     session: None,
//! };
//! let delta = Delta { set: vec![Resource::Service(service.into())], removed: vec![] };
//!
//! // The server: publish what there is, say that it is all, serve connections that are already verified.
//! let cache = ResourceCache::new();
//! let (steps, _too_large) = Publisher::new().changes(&delta);
//! cache.apply(steps);
//! cache.mark_synced();
//! let (ours, theirs) = tokio::io::duplex(1 << 16);
//! let peer = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
//! let incoming = tokio_stream::iter([Ok::<_, std::io::Error>(Identified::new(ours, Some(peer)))]);
//! tokio::spawn(AdsService::new(cache, ServerConfig::default()).serve(incoming, std::future::pending()));
//!
//! // The client: a connector, and what to do with changes.
//! let pipe = Mutex::new(Some(theirs));
//! let connector = move || {
//!     let pipe = pipe.lock().ok().and_then(|mut pipe| pipe.take());
//!     async move { pipe.ok_or_else(|| std::io::ErrorKind::NotConnected.into()) }
//! };
//! let (sender, mut deltas) = tokio::sync::mpsc::unbounded_channel();
//! let consumer = MeshConsumer::new(move |delta: Delta| _ = sender.send(delta));
//! let config = ClientConfig::new(Node::with_features("proxy-1", "shop", FEATURES));
//! let (client, state) = Client::new(config, connector, consumer);
//! tokio::spawn(client.run(std::future::pending()));
//!
//! let received = tokio::time::timeout(std::time::Duration::from_secs(10), deltas.recv()).await?;
//! let received = received.ok_or("the client ended")?;
//! assert_eq!(received.set, delta.set);
//! assert!(state.borrow().rejected.is_empty());
//! # Ok(()) }
//! ```
#![doc = include_str!("../README.md")]

pub mod cache;
pub mod client;
pub mod generated;
pub mod key;
pub mod lastgood;
pub mod native;
pub mod nodes;
pub mod proto;
pub mod server;
pub mod session;

pub use cache::{Applied, Change, Encoded, Entry, ResourceCache, Snapshot, TooLarge};
pub use key::{Key, TypeUrl, Types, Version};

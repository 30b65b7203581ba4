//! The crate's own client against its own server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_xds::client::{Client, ClientConfig, ClientState, Connection, Consumer, Update};
use mesh_xds::proto::Node;
use mesh_xds::{Key, TypeUrl, Version};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::{A, B, Server, open_to_anyone, set, types, unset};

/// Hands every update to the test; refuses payloads that begin with `bad`.
struct Collect(mpsc::UnboundedSender<Update<Bytes>>);

impl Consumer for Collect {
    type Item = Bytes;

    fn decode(&mut self, _: &TypeUrl, _: &str, body: &Bytes) -> Result<Bytes, String> {
        if body.starts_with(b"bad") { Err("it says so".to_owned()) } else { Ok(body.clone()) }
    }

    fn apply(&mut self, update: Update<Bytes>) {
        _ = self.0.send(update);
    }
}

struct Running {
    updates: mpsc::UnboundedReceiver<Update<Bytes>>,
    state: watch::Receiver<ClientState>,
}

impl Running {
    fn start(address: std::net::SocketAddr, restored: Vec<(Key, Version)>) -> Self {
        let (sender, updates) = mpsc::unbounded_channel();
        let config = ClientConfig {
            types: types(),
            restored,
            restored_age: Some(Duration::from_secs(60)),
            longest_pause: Duration::from_millis(100),
            ..ClientConfig::new(Node::with_features("proxy-1", "test", []))
        };
        let connector = move || TcpStream::connect(address);
        let (client, state) = Client::new(config, connector, Collect(sender));
        tokio::spawn(client.run(std::future::pending()));
        Self { updates, state }
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&ClientState) -> bool) {
        let result = tokio::time::timeout(Duration::from_secs(10), self.state.wait_for(holds)).await;
        assert!(result.is_ok(), "{what} did not happen");
    }

    /// The next update that changes something, as text.
    async fn next(&mut self) -> String {
        let next = async {
            loop {
                let update = self.updates.recv().await.expect("the client runs");
                let name = |name: &Arc<str>| name.to_string();
                let set = update.set.iter().map(|(n, _, b)| format!("{n}={}", String::from_utf8_lossy(b)));
                let removed = update.removed.iter().map(|n| format!("-{}", name(n)));
                let rejected = update.rejected.iter().map(|r| format!("!{}", name(&r.name)));
                let text = set.chain(removed).chain(rejected).collect::<Vec<_>>().join(" ");
                if !text.is_empty() {
                    return text;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("an update")
    }
}

#[tokio::test]
async fn good_resources_apply_although_others_of_the_response_are_refused() {
    let server = Server::start(open_to_anyone(), None).await;
    server.cache.apply([set(A, "x", "1"), set(A, "y", "bad"), set(B, "z", "1")]);
    let mut client = Running::start(server.address, vec![]);
    assert_eq!(client.next().await, "x=1 !y");
    assert_eq!(client.next().await, "z=1");
    client.until("sync", |state| state.synced).await;
    let key = Key::new(A.into(), "y");
    assert_eq!(client.state.borrow().rejected[&key].reason, "it says so");
    let sequence = server.cache.snapshot().sequence();
    server
        .until("the reason at the server", |fleet| {
            let refused = fleet.progress(&key, sequence).refused;
            refused.iter().any(|(node, refusal)| (&*node.id, &*refusal.reason) == ("proxy-1", "it says so"))
        })
        .await;
    server.cache.apply([set(A, "y", "2")]);
    assert_eq!(client.next().await, "y=2");
    server.cache.apply([unset(A, "x")]);
    assert_eq!(client.next().await, "-x");
    assert!(client.state.borrow().rejected.is_empty());
}

#[tokio::test]
async fn a_client_outlives_its_server_and_comes_back_with_what_it_holds() {
    let server = Server::start(open_to_anyone(), None).await;
    server.cache.apply([set(A, "x", "1"), set(A, "y", "1")]);
    let mut client = Running::start(server.address, vec![]);
    assert_eq!(client.next().await, "x=1 y=1");
    client.until("sync", |state| state.synced).await;
    assert_eq!(client.state.borrow().age(Instant::now()), Some(Duration::ZERO));
    server.service.close();
    client.until("the loss", |state| matches!(state.connection, Connection::Waiting { .. })).await;
    client.until("an attempt", |state| !matches!(state.connection, Connection::Waiting { .. })).await;
    assert!(client.state.borrow().age(Instant::now()) < Some(Duration::from_secs(50)));
    assert!(client.updates.try_recv().is_ok_and(|update| update.set.is_empty()), "the answer for type b");
    assert!(client.updates.try_recv().is_err(), "a lost server changes nothing");
}

#[tokio::test]
async fn a_restarted_server_that_has_not_read_its_source_takes_nothing_away() {
    let first = Server::start(open_to_anyone(), None).await;
    first.cache.apply([set(A, "x", "1"), set(A, "y", "1")]);
    let held = [("x", "1"), ("y", "1")];
    let restored = held.map(|(n, text)| (Key::new(A.into(), n), Version::of(text.as_bytes()))).to_vec();
    let cache = mesh_xds::ResourceCache::new();
    let second = Server::over(cache, open_to_anyone(), None, ([127, 0, 0, 1], 0).into()).await;
    let mut client = Running::start(second.address, restored);
    second.until("the stream", |fleet| fleet.proxies().values().any(|p| p.node.id == "proxy-1")).await;
    assert!(client.state.borrow().age(Instant::now()) >= Some(Duration::from_secs(60)));
    second.cache.apply([set(A, "x", "1"), set(A, "y", "2")]);
    second.cache.mark_synced();
    assert_eq!(client.next().await, "y=2", "only the difference, and no removal");
    client.until("sync", |state| state.synced).await;
    assert_eq!(client.state.borrow().age(Instant::now()), Some(Duration::ZERO));
}

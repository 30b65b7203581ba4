//! How proxies end: what they have begun is finished, and what does not end is cut at the deadline.

use std::time::Duration;

use mesh_model::AppProtocol;
use mesh_proxy::drain::{DrainTimes, Phase};
use mesh_proxy::proxy::{ListenerId, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::*;

/// An outbound proxy in front of an echo, draining with these times.
async fn proxy(world: &World, drain: DrainTimes) -> (mesh_proxy::proxy::ProxyHandle, std::net::SocketAddr) {
    world.set([service("old", AppProtocol::Tcp), endpoints("old", [(echo("hi ").await, None)])]);
    let mut options = world.options("web");
    options.outbound.push(outbound("old"));
    options.drain = drain;
    let proxy = Proxy::start(options).expect("threads");
    let at = proxy.addresses()[&ListenerId::Outbound(0)];
    (proxy, at)
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing_that_was_accepted() {
    let world = World::new();
    let times = DrainTimes { lame_duck: Duration::from_millis(100), deadline: Duration::from_secs(10) };
    let (proxy, at) = proxy(&world, times).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..40_u64 {
        clients.spawn(async move {
            tokio::time::sleep(Duration::from_millis(client * 10)).await;
            let Ok(mut stream) = TcpStream::connect(at).await else { return None };
            let exchange = async {
                stream.write_all(b"begin ").await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
                stream.write_all(b"end ").await?;
                stream.shutdown().await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            Some(exchange.await)
        });
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(proxy.is_ready());
    proxy.drain();
    until(|| !proxy.is_ready()).await;
    let mut served = 0;
    while let Some(client) = clients.join_next().await {
        // A client is refused at its first step or served to its end; nothing lies between.
        if let Some(answer) = client.expect("no panic") {
            assert_eq!(answer.expect("accepted, so served"), "hi begin end bye");
            served += 1;
        }
    }
    in_time(proxy.stopped()).await;
    assert!((20..40).contains(&served), "{served} of 40 came before the listener closed");
    assert_eq!(proxy.phase(), Phase::Stopped);
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_cut_at_the_deadline() {
    let world = World::new();
    let times = DrainTimes { lame_duck: Duration::ZERO, deadline: Duration::from_millis(300) };
    let (proxy, at) = proxy(&world, times).await;
    let mut stream = TcpStream::connect(at).await.expect("open");
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.expect("served");
    let began = tokio::time::Instant::now();
    proxy.drain();
    assert!(in_time(stream.read(&mut greeting)).await.map_or(true, |some| some == 0));
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    in_time(proxy.stopped()).await;
}

#[tokio::test]
async fn a_proxy_ends_when_nobody_holds_it() {
    let world = World::new();
    let (proxy, at) = proxy(&world, DrainTimes::default()).await;
    assert_eq!(ask(at, "").await.expect("served"), "hi bye");
    drop(proxy);
    in_time(async { while TcpStream::connect(at).await.is_ok() {} }).await;
}

#[tokio::test]
async fn thousands_of_idle_connections_leave_room_for_the_next() {
    let world = World::new();
    let (proxy, at) = proxy(&world, DrainTimes::default()).await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(at).await.expect("open"));
    }
    assert_eq!(ask(at, "ping ").await.expect("served"), "hi ping bye");
    drop(idle);
    proxy.stop();
    in_time(proxy.stopped()).await;
}

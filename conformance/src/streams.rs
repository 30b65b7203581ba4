//! Connections that stay: a WebSocket and a gRPC stream on which a counter goes there and back every 100 ms, so that a
//! gap is seen. Also the server for them, which answers requests and lines on other ports. Both run in pods; what is
//! changed meanwhile is decided elsewhere.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::arguments::Arguments;
use crate::clock::Stopwatch;
use crate::say;

mod grpc;
mod plain;
mod websocket;

pub(crate) use plain::GREETING;

pub(crate) const OPTIONS: &[&str] = &["to", "kind"];

/// Between two numbers.
const BEAT: Duration = Duration::from_millis(100);
/// A number that takes longer to come back is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Grpc,
    WebSocket,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Grpc, Self::WebSocket];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
        }
    }

    fn parse(word: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word).with_context(|| format!("no kind `{word}`"))
    }

    /// Where the server has it.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Grpc => 9090,
            Self::WebSocket => 8081,
        }
    }
}

/// What became of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Numbers that came back, in order and without a gap.
    pub(crate) numbers: u64,
    /// The longest time that one took, in milliseconds.
    pub(crate) longest: u64,
    /// What ended it, unless it was told to end.
    pub(crate) problem: Option<String>,
}

/// Serves (`serve`), or keeps a stream until its input ends (`follow`) and prints what became of it.
///
/// # Errors
/// When an option is wrong or a port cannot be had. A broken stream is no error here; it is told.
pub(crate) fn run(given: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    match given.rest.first().map(String::as_str) {
        Some("serve") => local.block_on(&runtime, serve()),
        Some("follow") => {
            let to: SocketAddr = given.get("to").context("--to is missing")?.parse().context("--to")?;
            let kind = Kind::parse(given.get("kind").context("--kind is missing")?)?;
            let told = local.block_on(&runtime, follow(to, kind, crate::attended::input_ends()));
            say(&serde_json::to_string(&told)?);
            Ok(())
        }
        _ => bail!("`serve` or `follow`"),
    }
}

async fn serve() -> anyhow::Result<()> {
    tokio::task::spawn_local(listen(8080, plain::request)?);
    tokio::task::spawn_local(listen(9091, plain::line)?);
    tokio::task::spawn_local(listen(9092, plain::greet)?);
    tokio::task::spawn_local(listen(Kind::WebSocket.port(), websocket::repeat)?);
    listen(Kind::Grpc.port(), grpc::repeat)?.await;
    Ok(())
}

/// Serves each connection of a port as a task.
fn listen<F>(port: u16, serve: fn(TcpStream) -> F) -> anyhow::Result<impl Future<Output = ()>>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let listener = mesh_rt::net::listen_tcp(SocketAddr::from(([0, 0, 0, 0], port)), false)?;
    let listener = TcpListener::from_std(listener)?;
    Ok(async move {
        loop {
            match listener.accept().await {
                // How a connection ends is the client's to judge.
                Ok((stream, _)) => drop(tokio::task::spawn_local(async move { drop(serve(stream).await) })),
                Err(_) => tokio::time::sleep(BEAT).await,
            }
        }
    })
}

/// One stream, whichever kind.
enum Stream {
    Grpc(Box<grpc::Stream>),
    WebSocket(Box<websocket::Stream>),
}

impl Stream {
    async fn open(to: SocketAddr, kind: Kind) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        Ok(match kind {
            Kind::Grpc => Self::Grpc(Box::new(grpc::Stream::open(stream).await?)),
            Kind::WebSocket => Self::WebSocket(Box::new(websocket::Stream::open(stream).await?)),
        })
    }

    /// Sends a number, and gives the one that comes back.
    async fn exchange(&mut self, number: u64) -> anyhow::Result<u64> {
        match self {
            Self::Grpc(stream) => stream.exchange(number).await,
            Self::WebSocket(stream) => stream.exchange(number).await,
        }
    }
}

async fn follow(to: SocketAddr, kind: Kind, mut end: oneshot::Receiver<()>) -> Told {
    let mut told = Told { numbers: 0, longest: 0, problem: None };
    let counting = async {
        let mut stream =
            tokio::time::timeout(PATIENCE, Stream::open(to, kind)).await.context("opening it")??;
        let mut beats = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                biased;
                _ = &mut end => return anyhow::Ok(()),
                _ = beats.tick() => {}
            }
            let watch = Stopwatch::start();
            let next = told.numbers + 1;
            let exchanged = tokio::time::timeout(PATIENCE, stream.exchange(next)).await;
            let back = exchanged.with_context(|| format!("number {next} did not come back"))??;
            ensure!(back == next, "after {} there came {back}", told.numbers);
            told.numbers = next;
            told.longest = told.longest.max(u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
    };
    if let Err(error) = counting.await {
        told.problem = Some(format!("{error:#}"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of one kind, and whether it ends after its first connections were opened.
    async fn followed<F>(kind: Kind, serve: fn(TcpStream) -> F, beats: u32) -> Told
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        let listener = mesh_rt::net::listen_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let to = listener.local_addr().unwrap();
        let serving = tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // The connection ends with the time for it.
            drop(tokio::time::timeout(BEAT * 4, serve(stream)).await);
        });
        let (tell, end) = oneshot::channel();
        let ending = async {
            tokio::time::sleep(BEAT * beats).await;
            let _ = tell.send(());
        };
        let (told, ()) = tokio::join!(follow(to, kind, end), ending);
        serving.abort();
        told
    }

    #[tokio::test]
    async fn a_stream_counts_until_it_is_told_to_end_and_a_broken_one_says_so() {
        let all = async {
            let whole = [
                followed(Kind::Grpc, grpc::repeat, 2).await,
                followed(Kind::WebSocket, websocket::repeat, 2).await,
            ];
            for told in whole {
                assert!(told.numbers >= 1 && told.problem.is_none(), "{told:?}");
            }
            let broken = [
                followed(Kind::Grpc, grpc::repeat, 9).await,
                followed(Kind::WebSocket, websocket::repeat, 9).await,
            ];
            for told in broken {
                assert!(told.numbers >= 1 && told.problem.is_some(), "{told:?}");
            }
        };
        LocalSet::new().run_until(all).await;
    }
}

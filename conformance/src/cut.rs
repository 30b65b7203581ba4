//! A server in front of the API server that lets so many writes pass and then neither: the program behind it can be
//! killed at exactly that write, before the API server has it or before the answer comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::arguments::Arguments;
use crate::say;

pub(crate) const OPTIONS: &[&str] = &["listen", "to", "after", "side"];

/// On which side of the API server a write is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It never gets there.
    Before,
    /// It gets there, and its answer never comes back.
    Behind,
}

impl Side {
    pub(crate) const ALL: [Self; 2] = [Self::Before, Self::Behind];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Behind => "behind",
        }
    }
}

/// Where writes are held.
#[derive(Debug)]
struct Cut {
    to: SocketAddr,
    /// Writes that pass.
    after: usize,
    side: Side,
    seen: AtomicUsize,
}

/// Serves until it is ended. Prints `listening`, then a line when a write is held.
///
/// # Errors
/// When an option is wrong or the address cannot be listened on.
pub(crate) fn run(given: &Arguments) -> anyhow::Result<()> {
    let address = |name| -> anyhow::Result<SocketAddr> {
        Ok(given.get(name).with_context(|| format!("--{name} is needed"))?.parse()?)
    };
    let (listen, to) = (address("listen")?, address("to")?);
    let after = given.get("after").context("--after is needed")?.parse()?;
    let word = given.get("side").context("--side is needed")?;
    let side =
        Side::ALL.into_iter().find(|side| side.word() == word).context("--side is before or behind")?;
    let cut = Arc::new(Cut { to, after, side, seen: AtomicUsize::new(0) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listen, cut))
}

async fn serve(listen: SocketAddr, cut: Arc<Cut>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(mesh_rt::net::listen_tcp(listen, false)?)?;
    say("listening");
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(connection(client, Arc::clone(&cut)));
    }
}

/// Each connection has one of its own behind it.
async fn connection(client: TcpStream, cut: Arc<Cut>) -> anyhow::Result<()> {
    let (sender, behind) = handshake(TokioIo::new(TcpStream::connect(cut.to).await?)).await?;
    tokio::spawn(behind);
    let sender = Arc::new(Mutex::new(sender));
    let answer = service_fn(move |request| pass(request, Arc::clone(&cut), Arc::clone(&sender)));
    Ok(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), answer).await?)
}

async fn pass(
    request: Request<Incoming>,
    cut: Arc<Cut>,
    behind: Arc<Mutex<SendRequest<Incoming>>>,
) -> hyper::Result<Response<Incoming>> {
    let what = format!("{} {}", request.method(), request.uri().path());
    let before = if is_write(&request) { cut.seen.fetch_add(1, Ordering::Relaxed) } else { 0 };
    // Further ones would come while the program is killed; they neither get there.
    let held = is_write(&request) && before >= cut.after;
    if !held {
        return behind.lock().await.send_request(request).await;
    }
    if before == cut.after {
        if cut.side == Side::Behind {
            behind.lock().await.send_request(request).await?;
        }
        say(&what);
    }
    std::future::pending().await
}

/// Reviews of tokens and the like ask and change nothing.
fn is_write(request: &Request<Incoming>) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD) && !request.uri().path().ends_with("reviews")
}

//! Accepting connections: a loop that survives the lack of descriptors, counts what is open, and drains.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::stream::tune;
use crate::drain::{Guard, Phase, Signal};

/// The pause after the system could not give a descriptor or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections a worker may hold, and how many it holds.
#[derive(Debug, Clone)]
pub struct Admission {
    open: Rc<Cell<usize>>,
    limit: usize,
}

impl Admission {
    /// Admits at most this many connections at a time.
    pub fn new(limit: usize) -> Self {
        Self { open: Rc::default(), limit }
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    fn enter(&self) -> Option<Permit> {
        if self.open.get() >= self.limit {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Permit(Rc::clone(&self.open)))
    }
}

/// The place of one connection.
#[derive(Debug)]
struct Permit(Rc<Cell<usize>>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What an accept loop needs beside its listener.
#[derive(Debug, Clone)]
pub struct Accepting {
    /// The worker's limit.
    pub admission: Admission,
    /// The drain of the proxy and of this listener.
    pub drain: Signal,
}

/// Accepts until the drain closes the listener, and runs `serve` for each connection on this thread. What the
/// system has queued by then is served too.
pub async fn accept<F>(listener: TcpListener, with: Accepting, serve: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let _open = with.drain.guard();
    let mut closing = Box::pin(with.drain.reached(Phase::Closing));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closing => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &with, &serve),
            Err(problem) if of_one_connection(&problem) => {}
            Err(problem) => {
                tracing::warn!(%problem, "cannot accept; waiting");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // The listener's readiness may lag behind its queue: empty the queue itself.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            admit(stream, peer, &with, &serve);
        }
    }
}

fn admit<F>(
    stream: TcpStream,
    peer: SocketAddr,
    with: &Accepting,
    serve: &impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + 'static,
{
    // Roles, policies and logs see a client in its own family.
    let peer = mesh_rt::net::canonical(peer);
    let Some(permit) = with.admission.enter() else {
        tracing::warn!(%peer, limit = with.admission.limit, "connection refused: the limit is reached");
        return;
    };
    if tune(&stream).is_err() {
        return;
    }
    let guard: Guard = with.drain.guard();
    let serving = serve(stream, peer);
    tokio::task::spawn_local(async move {
        serving.await;
        drop((permit, guard));
    });
}

/// Errors of the connection that was next in the queue, not of the listener.
fn of_one_connection(problem: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(problem.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted | K::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::{Drain, DrainTimes};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = mesh_rt::net::listen_tcp("127.0.0.1:0".parse().expect("address"), false);
        let listener = TcpListener::from_std(listener.expect("a free port")).expect("a runtime");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    async fn greet(mut stream: TcpStream) {
        let _ = stream.write_all(b"hello").await;
        let _ = stream.read(&mut [0; 1]).await;
    }

    async fn greeted(address: SocketAddr) -> (TcpStream, usize) {
        let mut stream = TcpStream::connect(address).await.expect("the port is open");
        let some = stream.read(&mut [0; 5]).await.unwrap_or(0);
        (stream, some)
    }

    #[tokio::test]
    async fn connections_above_the_limit_are_closed_and_their_places_come_back() {
        let (listener, address) = listener();
        let drain = Drain::default();
        let with = Accepting { admission: Admission::new(1), drain: drain.signal() };
        let open = with.admission.clone();
        let local = LocalSet::new();
        local.spawn_local(accept(listener, with, |stream, _| greet(stream)));
        local
            .run_until(async {
                let (first, some) = greeted(address).await;
                assert_eq!((some, greeted(address).await.1, open.open()), (5, 0, 1));
                drop(first);
                while open.open() > 0 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(greeted(address).await.1, 5);
            })
            .await;
    }

    #[tokio::test]
    async fn what_waits_in_the_queue_when_the_drain_begins_is_served() {
        let (listener, address) = listener();
        let drain = Drain::default();
        let with = Accepting { admission: Admission::new(9), drain: drain.signal() };
        // The loop is not running yet: the connection waits in the queue.
        let mut waiting = TcpStream::connect(address).await.expect("the port is open");
        let local = LocalSet::new();
        let times = DrainTimes { lame_duck: Duration::ZERO, deadline: Duration::from_secs(9) };
        let signal = drain.signal();
        let served = async {
            let held = signal.guard();
            signal.reached(Phase::Closing).await;
            tokio::task::spawn_local(accept(listener, with, |stream, _| greet(stream)));
            let mut greeting = String::new();
            waiting.shutdown().await.expect("open");
            waiting.read_to_string(&mut greeting).await.expect("served");
            drop(held);
            greeting
        };
        let (greeting, ()) = local.run_until(async { tokio::join!(served, drain.run(times)) }).await;
        assert_eq!((greeting.as_str(), drain.phase()), ("hello", Phase::Stopped));
    }
}

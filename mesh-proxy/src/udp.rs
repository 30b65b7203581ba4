//! UDP: sessions by client address, each with its own upstream socket, bounded in number and by idleness.
//!
//! Datagrams carry no identity and no TLS: a UDP port is open to whoever reaches it, as far as its listener and
//! the policies that ask for no identity let him.

mod sessions;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mesh_model::Reason;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::drain::{Phase, Signal};
use sessions::Sessions;

/// Most sessions of one listener; the one that was silent longest gives way.
pub const MAX_SESSIONS: usize = 4096;
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Datagrams of a new session that wait for its upstream.
const MAX_WAITING: usize = 8;

/// One client of a listener.
struct Session<T> {
    upstream: Upstream<T>,
    used: Rc<Cell<Instant>>,
    task: AbortHandle,
}

enum Upstream<T> {
    /// Being chosen; what came meanwhile is sent first.
    Opening(Vec<Vec<u8>>),
    Open(Rc<Joined<T>>),
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the bytes of a session are counted, for as long as it lasts.
pub(crate) trait Tally {
    /// Bytes from the client.
    fn received(&self, bytes: usize);
    /// Bytes to the client.
    fn sent(&self, bytes: usize);
}

/// A connected upstream socket, and where its bytes are counted.
type Joined<T> = (UdpSocket, T);

/// Told when a session's upstream is ready, or that the session is over.
enum News<T> {
    Ended(SocketAddr, u64),
    Opened(SocketAddr, u64, Rc<Joined<T>>),
}

/// Serves a UDP listener until its drain stops it, or nothing is left to do while it closes. `open` makes the
/// connected upstream socket of a new client; what it refuses is dropped.
pub(crate) async fn serve<F, T>(
    socket: UdpSocket,
    idle: Duration,
    drain: Signal,
    open: impl Fn(SocketAddr) -> F,
    refused: impl Fn(SocketAddr, Reason),
) where
    F: Future<Output = Result<(UdpSocket, T), Reason>> + 'static,
    T: Tally + 'static,
{
    let _guard = drain.guard();
    let socket = Rc::new(socket);
    let (tell, mut news) = tokio::sync::mpsc::unbounded_channel();
    let mut sessions: Sessions<Session<T>> = Sessions::new(MAX_SESSIONS);
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut closing = Box::pin(drain.reached(Phase::Closing));
    let mut stopped = Box::pin(drain.reached(Phase::Stopped));
    let mut accepting = true;
    while accepting || !sessions.is_empty() {
        tokio::select! {
            biased;
            () = &mut stopped => return,
            () = &mut closing, if accepting => accepting = false,
            Some(told) = news.recv() => match told {
                News::Opened(client, id, upstream) => opened(&mut sessions, client, id, upstream),
                News::Ended(client, id) => drop(sessions.remove(&client, id)),
            },
            received = socket.recv_from(&mut buffer) => {
                // An error is of an earlier answer (ICMP); the socket itself stays good.
                let Ok((size, client)) = received else { continue };
                if pass(&mut sessions, client, &buffer[..size]) || !accepting {
                    continue;
                }
                let used = Rc::new(Cell::new(Instant::now()));
                let (id, opening) = (sessions.next_id(), open(client));
                let session = Running { socket: Rc::clone(&socket), client, id, used: Rc::clone(&used), idle };
                let task = tokio::task::spawn_local(run(session, opening, tell.clone()));
                let task = task.abort_handle();
                let upstream = Upstream::Opening(vec![buffer[..size].to_vec()]);
                if let Some(oldest) = sessions.insert(client, Session { upstream, used, task }) {
                    refused(oldest, Reason::Overloaded);
                }
            }
        }
    }
}

/// Sends a datagram on its session; false when there is none.
fn pass<T: Tally>(sessions: &mut Sessions<Session<T>>, client: SocketAddr, datagram: &[u8]) -> bool {
    let Some(session) = sessions.touch(&client) else { return false };
    session.used.set(Instant::now());
    match &mut session.upstream {
        Upstream::Opening(waiting) if waiting.len() < MAX_WAITING => waiting.push(datagram.to_vec()),
        Upstream::Opening(_) => {}
        Upstream::Open(upstream) => send(upstream, datagram),
    }
    true
}

fn send<T: Tally>((socket, tally): &Joined<T>, datagram: &[u8]) {
    tally.received(datagram.len());
    // A full socket buffer loses the datagram, as the network would.
    drop(socket.try_send(datagram));
}

fn opened<T: Tally>(
    sessions: &mut Sessions<Session<T>>,
    client: SocketAddr,
    id: u64,
    upstream: Rc<Joined<T>>,
) {
    let Some(session) = sessions.find(&client, id) else { return };
    if let Upstream::Opening(waiting) = std::mem::replace(&mut session.upstream, Upstream::Open(upstream)) {
        let Upstream::Open(upstream) = &session.upstream else { return };
        waiting.iter().for_each(|datagram| send(upstream, datagram));
    }
}

/// The answers' side of one session.
struct Running {
    socket: Rc<UdpSocket>,
    client: SocketAddr,
    id: u64,
    used: Rc<Cell<Instant>>,
    idle: Duration,
}

async fn run<T: Tally>(
    session: Running,
    opening: impl Future<Output = Result<Joined<T>, Reason>>,
    tell: tokio::sync::mpsc::UnboundedSender<News<T>>,
) {
    if let Ok(upstream) = opening.await {
        let upstream = Rc::new(upstream);
        // A new socket counts as full until the runtime has looked at it once.
        let _ = upstream.0.writable().await;
        let _ = tell.send(News::Opened(session.client, session.id, Rc::clone(&upstream)));
        let _ = session.answer(&upstream).await;
    }
    let _ = tell.send(News::Ended(session.client, session.id));
}

impl Running {
    /// Passes answers until nothing moved for the idle time or the upstream refuses datagrams.
    async fn answer(&self, (upstream, tally): &Joined<impl Tally>) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let until = self.used.get() + self.idle;
            match tokio::time::timeout_at(until, upstream.readable()).await {
                Ok(readable) => readable?,
                Err(_) if self.used.get() + self.idle <= Instant::now() => return Ok(()),
                Err(_) => continue,
            }
            // The buffer lives while answers come, so that a silent session holds none.
            buffer.resize(MAX_DATAGRAM, 0);
            loop {
                match upstream.try_recv(&mut buffer) {
                    Ok(size) => {
                        self.used.set(Instant::now());
                        tally.sent(size);
                        let _ = self.socket.send_to(&buffer[..size], self.client).await;
                    }
                    Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break,
                    Err(problem) => return Err(problem),
                }
            }
            buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;

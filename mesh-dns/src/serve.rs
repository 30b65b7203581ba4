//! A name server for one application: it answers what it knows and passes on the rest, letter by letter. What is known is
//! decided elsewhere.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::query::{Known, Query};
use crate::transport::{read, socket_to, write};

/// Most questions that wait for others at a time, and most connections.
const UNDER_WAY: usize = 256;
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all of them may take: less than clients wait.
const LIMIT: Duration = Duration::from_secs(4);
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// The longest datagram that is passed on, in bytes: more than clients ask for.
const LONGEST: usize = 4096;
/// The longest message over TCP.
const WHOLE: usize = u16::MAX as usize;
/// A silence after which nothing is left that had come.
const REST: Duration = Duration::from_millis(10);
/// Pause after a refused accept, which comes of a lack of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered from what is known.
    Answered,
    /// Nobody could say, or too many wait already.
    Failed,
    /// Somebody else answered.
    Forwarded,
}

/// What is known of names.
pub trait Names: Send + Sync + 'static {
    /// The zone that is answered for, such as `cluster.local`.
    fn zone(&self) -> &str;
    /// What is known; `None` when that is for others to say.
    fn known(&self, query: &Query) -> Option<Known>;
    /// What to say when none of them answers; `None` is a failure.
    fn in_doubt(&self, query: &Query) -> Option<Known>;
    /// Hears what became of each question.
    fn heard(&self, outcome: Outcome);
}

/// Who else is asked, and how.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// The servers, in order.
    pub servers: Vec<SocketAddr>,
    /// A firewall mark of the sockets, by which rules leave them alone.
    pub mark: Option<u32>,
}

/// A name server.
#[derive(Debug)]
pub struct Server<N> {
    names: N,
    upstream: Upstream,
    /// Questions that were answered from what is known.
    turn: AtomicUsize,
}

impl<N: Names> Server<N> {
    /// One that knows these names and asks others about the rest.
    pub fn new(names: N, upstream: Upstream) -> Self {
        Self { names, upstream, turn: AtomicUsize::new(0) }
    }

    /// Answers datagrams until `end` resolves, and those that have come until then. What comes later is for whoever else
    /// has the port by then (`SO_REUSEPORT`), though answers may still be waited for here.
    pub async fn datagrams(self: Arc<Self>, socket: UdpSocket, end: impl Future<Output = ()>) {
        let mut desk = Desk {
            socket: Arc::new(socket),
            places: Arc::new(Semaphore::new(UNDER_WAY)),
            asked: JoinSet::new(),
        };
        let mut end = std::pin::pin!(end);
        let mut buffer = vec![0; LONGEST];
        loop {
            tokio::select! {
                received = desk.socket.recv_from(&mut buffer) => {
                    // An error is what the kernel was told about an earlier answer.
                    if let Ok((length, client)) = received {
                        self.take(&mut desk, &buffer[..length], client);
                    }
                }
                Some(_) = desk.asked.join_next(), if !desk.asked.is_empty() => {}
                () = &mut end => break,
            }
        }
        // A socket that is connected, here to itself, is sent nothing from elsewhere, and keeps what it has.
        if let Ok(own) = desk.socket.local_addr() {
            let _ = desk.socket.connect(own).await;
        }
        while let Ok(received) = timeout(REST, desk.socket.recv_from(&mut buffer)).await {
            if let Ok((length, client)) = received {
                self.take(&mut desk, &buffer[..length], client);
            }
        }
        while desk.asked.join_next().await.is_some() {}
    }

    /// Answers one question, now or when others have said something.
    fn take(self: &Arc<Self>, desk: &mut Desk, message: &[u8], client: SocketAddr) {
        let query = Query::read(message);
        if let Some(answer) = query.as_ref().ok().and_then(|query| self.at_once(query, query.limit())) {
            // A client that is gone needs none.
            let _ = desk.socket.try_send_to(&answer, client);
            return;
        }
        let Ok(place) = Arc::clone(&desk.places).try_acquire_owned() else {
            self.names.heard(Outcome::Failed);
            if let Ok(query) = &query {
                let _ = desk.socket.try_send_to(&query.failed(), client);
            }
            return;
        };
        let (server, socket, message) = (Arc::clone(self), Arc::clone(&desk.socket), message.to_vec());
        desk.asked.spawn(async move {
            if let Some(answer) = server.of_others(&message, query.as_ref().ok(), Way::Datagram).await {
                let _ = socket.send_to(&answer, client).await;
            }
            drop(place);
        });
    }

    /// Answers connections (RFC 7766) until `end` resolves. Then it closes those that ask nothing, and gives the others the
    /// time of one question.
    pub async fn connections(self: Arc<Self>, listener: TcpListener, end: impl Future<Output = ()>) {
        let (mut open, mut end) = (JoinSet::new(), std::pin::pin!(end));
        let (goes_on, ends) = watch::channel(());
        loop {
            tokio::select! {
                accepted = listener.accept(), if open.len() < UNDER_WAY => match accepted {
                    Ok((stream, _)) => drop(open.spawn(Arc::clone(&self).connection(stream, ends.clone()))),
                    Err(_) => tokio::time::sleep(BREATH).await,
                },
                Some(_) = open.join_next(), if !open.is_empty() => {}
                () = &mut end => break,
            }
        }
        drop((listener, goes_on));
        let _ = timeout(LIMIT, async { while open.join_next().await.is_some() {} }).await;
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, mut ends: watch::Receiver<()>) {
        let mut first = [0];
        loop {
            tokio::select! {
                biased;
                // A question that has begun to come is read to its end.
                come = stream.peek(&mut first) => if !matches!(come, Ok(1)) { return },
                _ = ends.changed() => return,
                () = tokio::time::sleep(IDLE) => return,
            }
            let Ok(Ok(message)) = timeout(IDLE, read(&mut stream)).await else { return };
            let query = Query::read(&message).ok();
            let known = query.as_ref().and_then(|query| self.at_once(query, WHOLE));
            let answer = match known {
                Some(answer) => Some(answer),
                None => self.of_others(&message, query.as_ref(), Way::Connection).await,
            };
            let Some(answer) = answer else { return };
            if !matches!(timeout(IDLE, write(&mut stream, &answer)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn at_once(&self, query: &Query, limit: usize) -> Option<Vec<u8>> {
        let known = self.names.known(query)?.turned(self.turn.fetch_add(1, Ordering::Relaxed));
        self.names.heard(Outcome::Answered);
        Some(query.answer(&known, self.names.zone(), limit))
    }

    /// What the first server says that answers at all; `None` when there is nothing to say to what is no question.
    async fn of_others(&self, message: &[u8], query: Option<&Query>, way: Way) -> Option<Vec<u8>> {
        if let Ok(Some(answer)) = timeout(LIMIT, self.ask_all(message, query, way)).await {
            self.names.heard(Outcome::Forwarded);
            return Some(answer);
        }
        let query = query?;
        let Some(known) = self.names.in_doubt(query) else {
            self.names.heard(Outcome::Failed);
            return Some(query.failed());
        };
        self.names.heard(Outcome::Answered);
        Some(query.answer(&known, self.names.zone(), query.limit()))
    }

    async fn ask_all(&self, message: &[u8], query: Option<&Query>, way: Way) -> Option<Vec<u8>> {
        for server in &self.upstream.servers {
            let asked = async {
                match way {
                    Way::Connection => self.over_connection(*server, message).await,
                    Way::Datagram => self.by_datagram(*server, message, query).await,
                }
            };
            if let Ok(Ok(answer)) = timeout(PATIENCE, asked).await {
                return Some(answer);
            }
        }
        None
    }

    async fn by_datagram(
        &self,
        server: SocketAddr,
        message: &[u8],
        query: Option<&Query>,
    ) -> io::Result<Vec<u8>> {
        let socket = socket_to(server, self.upstream.mark).await?;
        socket.send(message).await?;
        let mut answer = vec![0; LONGEST];
        loop {
            let length = socket.recv(&mut answer).await?;
            let said = &answer[..length];
            let is_answer = match query {
                Some(query) => query.is_answered_by(said),
                // Not ours to understand: the number of the message must do.
                None => said.len() > 2 && said.get(..2) == message.get(..2),
            };
            if is_answer {
                answer.truncate(length);
                return Ok(answer);
            }
        }
    }

    async fn over_connection(&self, server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(mark) = self.upstream.mark {
            mesh_rt::net::mark(&socket, mark)?;
        }
        let mut stream = socket.connect(server).await?;
        write(&mut stream, message).await?;
        read(&mut stream).await
    }
}

/// A socket, and the questions that came there and wait for others.
struct Desk {
    socket: Arc<UdpSocket>,
    places: Arc<Semaphore>,
    asked: JoinSet<()>,
}

/// How a question came, and goes on.
#[derive(Debug, Clone, Copy)]
enum Way {
    Connection,
    Datagram,
}

#[cfg(test)]
mod tests;

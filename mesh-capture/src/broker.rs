//! Sockets of a workload's network namespace for the proxy: connections to the application, and sockets bound inside.
//! The broker process makes them, a small stock is always at hand.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_rt::passing::AsyncPackets;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc, oneshot};

use super::wire::{Answer, Order, hear_from, say_to};

/// Sockets fetched at a time. Stock and batch together stay small against a limit of 1,024 descriptors.
const BATCH: usize = 16;
/// The stock at which more are fetched.
const LOW: usize = 12;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The workload is gone, and its namespace with it.
    #[error("the workload is gone")]
    Gone,
    /// The connection or the binding failed, as inside the workload.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<BrokerError> for io::Error {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Gone => Self::new(io::ErrorKind::NotConnected, error),
            BrokerError::Io(error) => error,
        }
    }
}

/// Hands out sockets of one workload; clones share the stock, from any thread and runtime. When the last one is
/// dropped the workload ends.
#[derive(Debug, Clone)]
pub struct SocketBroker {
    orders: mpsc::Sender<Errand>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    gone: AtomicBool,
    ipv4: Stock,
    ipv6: Stock,
}

#[derive(Debug, Default)]
struct Stock {
    arrived: Notify,
    fetching: AtomicBool,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The error of the last batch, for one of those who wait for it.
    refused: Option<io::Error>,
    sockets: VecDeque<OwnedFd>,
}

/// Something to be fetched from the broker process.
#[derive(Debug)]
enum Errand {
    Ask { order: Order, reply: oneshot::Sender<io::Result<Vec<OwnedFd>>> },
    Fill { ipv6: bool },
}

impl SocketBroker {
    /// Takes over the socket to the broker process and begins to fill the stock of IPv4.
    ///
    /// # Panics
    /// Outside a tokio runtime; the task that fetches lives in it.
    pub(super) fn start(control: AsyncPackets) -> Self {
        // Two fills and a few bindings can wait at once; more callers wait for a place.
        let (orders, waiting) = mpsc::channel(8);
        let shared = Arc::new(Shared::default());
        tokio::spawn(fetch(control, waiting, Arc::clone(&shared)));
        let broker = Self { orders, shared };
        if let Ok(place) = broker.orders.try_reserve() {
            broker.shared.ipv4.order(false, place);
        }
        broker
    }

    /// A connection to an address of the workload's namespace, such as `127.0.0.1` and the application's port.
    /// `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The workload is gone, or the error of `connect`, such as a refusal when nothing listens there.
    pub async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, BrokerError> {
        let socket = self.take(address.is_ipv6()).await?;
        Ok(TcpSocket::from_std_stream(socket.into()).connect(address).await?)
    }

    /// A UDP socket of the workload's namespace, connected to an address in it.
    ///
    /// # Errors
    /// As [`Self::connect_tcp`].
    pub async fn connect_udp(&self, address: SocketAddr) -> Result<UdpSocket, BrokerError> {
        let any = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = self.bind_udp(SocketAddr::new(any, 0)).await?;
        socket.connect(address).await?;
        Ok(socket)
    }

    /// A UDP socket bound to an address inside the workload's namespace, such as `127.0.0.1:53` for a resolver.
    ///
    /// # Errors
    /// The workload is gone, or the error of `bind`.
    pub async fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, BrokerError> {
        Ok(UdpSocket::from_std(self.one(Order::Bind { address, datagrams: true }).await?.into())?)
    }

    /// A UDP socket that gets what the workload sends to this address and port of a service; what is sent from it
    /// comes to the application from the service. Asked again for the same service, the new socket gets a share of
    /// the senders. A conversation is forgotten after half a minute in which nothing was answered, two minutes
    /// otherwise; a later datagram of the application begins it anew.
    ///
    /// # Errors
    /// The workload is gone, or the kernel refused the rule.
    pub async fn capture_udp(&self, service: SocketAddr) -> Result<UdpSocket, BrokerError> {
        Ok(UdpSocket::from_std(self.one(Order::Capture { service }).await?.into())?)
    }

    /// Ends the capture of datagrams to a service; no error when there was none. The application is told afterwards
    /// that nobody listens there, as with every address that is not captured.
    ///
    /// # Errors
    /// The workload is gone, or the kernel refused the change.
    pub async fn release_udp(&self, service: SocketAddr) -> Result<(), BrokerError> {
        self.ask(Order::Release { service }).await.map(drop)
    }

    /// A TCP listener inside the workload's namespace.
    ///
    /// # Errors
    /// The workload is gone, or the error of `bind` or `listen`.
    pub async fn listen_tcp(&self, address: SocketAddr) -> Result<std::net::TcpListener, BrokerError> {
        Ok(self.one(Order::Bind { address, datagrams: false }).await?.into())
    }

    async fn one(&self, order: Order) -> Result<OwnedFd, BrokerError> {
        let socket = self.ask(order).await?.into_iter().next();
        Ok(socket.ok_or(io::Error::from(io::ErrorKind::InvalidData))?)
    }

    async fn ask(&self, order: Order) -> Result<Vec<OwnedFd>, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Errand::Ask { order, reply }).await.map_err(|_| BrokerError::Gone)?;
        Ok(answer.await.map_err(|_| BrokerError::Gone)??)
    }

    /// Takes a socket from the stock; waits only when it is empty.
    async fn take(&self, ipv6: bool) -> Result<OwnedFd, BrokerError> {
        let stock = self.shared.stock(ipv6);
        loop {
            let mut arrived = std::pin::pin!(stock.arrived.notified());
            arrived.as_mut().enable();
            if self.shared.gone.load(Ordering::Acquire) {
                return Err(BrokerError::Gone);
            }
            let (socket, left) = stock.pop()?;
            if let Some(socket) = socket {
                if left <= LOW
                    && let Ok(place) = self.orders.try_reserve()
                {
                    stock.order(ipv6, place);
                }
                return Ok(socket);
            }
            let place = self.orders.reserve().await.map_err(|_| BrokerError::Gone)?;
            stock.order(ipv6, place);
            arrived.await;
        }
    }
}

impl Shared {
    fn stock(&self, ipv6: bool) -> &Stock {
        if ipv6 { &self.ipv6 } else { &self.ipv4 }
    }

    /// A socket in the stock would keep the namespace alive.
    fn close(&self) {
        self.gone.store(true, Ordering::Release);
        for stock in [&self.ipv4, &self.ipv6] {
            stock.lock().sockets.clear();
            stock.arrived.notify_waiters();
        }
    }
}

impl Stock {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing inside the lock can panic half-way.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket, and how many are left.
    fn pop(&self) -> io::Result<(Option<OwnedFd>, usize)> {
        let mut shelf = self.lock();
        match (shelf.sockets.pop_front(), shelf.refused.take()) {
            (None, Some(error)) => Err(error),
            (socket, _) => Ok((socket, shelf.sockets.len())),
        }
    }

    /// Orders a batch, unless one is on its way.
    fn order(&self, ipv6: bool, place: mpsc::Permit<'_, Errand>) {
        if !self.fetching.swap(true, Ordering::AcqRel) {
            place.send(Errand::Fill { ipv6 });
        }
    }

    fn put(&self, batch: io::Result<Vec<OwnedFd>>) {
        let mut shelf = self.lock();
        match batch {
            Ok(sockets) => shelf.sockets.extend(sockets),
            Err(error) => shelf.refused = Some(error),
        }
        drop(shelf);
        self.fetching.store(false, Ordering::Release);
        self.arrived.notify_waiters();
    }
}

/// Runs errands until the broker process is gone or nobody needs it.
async fn fetch(control: AsyncPackets, mut waiting: mpsc::Receiver<Errand>, shared: Arc<Shared>) {
    loop {
        let errand = tokio::select! {
            errand = waiting.recv() => errand,
            // It says nothing unasked, so this is its end.
            _ = hear_from::<Answer>(&control) => None,
        };
        let Some(errand) = errand else { break };
        if run(&control, errand, &shared).await.is_err() {
            break;
        }
    }
    shared.close();
}

/// # Errors
/// The broker process is gone; a refusal is the asker's.
async fn run(control: &AsyncPackets, errand: Errand, shared: &Shared) -> io::Result<()> {
    match errand {
        Errand::Ask { order, reply } => {
            // The asker may have given up.
            let _ = reply.send(ask(control, &order).await?);
        }
        Errand::Fill { ipv6 } => {
            let got = ask(control, &Order::Sockets { count: BATCH, ipv6 }).await?;
            shared.stock(ipv6).put(got);
        }
    }
    Ok(())
}

async fn ask(control: &AsyncPackets, order: &Order) -> io::Result<io::Result<Vec<OwnedFd>>> {
    say_to(control, order, &[]).await?;
    let answer = match hear_from::<Answer>(control).await {
        // Descriptors that did not fit under this process's limit are cut off.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Err(error)),
        other => other?,
    };
    match answer {
        Some((Answer::Passed, passed)) => Ok(Ok(passed)),
        Some((Answer::Refused { code, text, .. }, _)) => {
            Ok(Err(code.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error)))
        }
        Some((Answer::Opened { .. }, _)) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

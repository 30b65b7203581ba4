//! A thin epoll loop for the bench's own origin, relay and load generator. Level-triggered, one thread.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// A set of sockets waited for together.
pub(crate) struct Poller {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    streams: HashMap<u64, TcpStream>,
    next: u64,
}

/// The token of the listener.
pub(crate) const LISTENER: u64 = 0;
/// How long a wait is when nothing is due.
pub(crate) const LONGEST: Duration = Duration::from_millis(100);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, ready: Vec::with_capacity(256), streams: HashMap::new(), next: 1 })
    }

    pub(crate) fn listen(&self, listener: &TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        epoll::add(&self.epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Watches a stream and gives it a token.
    pub(crate) fn add(&mut self, stream: TcpStream) -> io::Result<u64> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let token = self.next;
        self.next += 1;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        self.streams.insert(token, stream);
        Ok(token)
    }

    pub(crate) fn stream(&mut self, token: u64) -> Option<&mut TcpStream> {
        self.streams.get_mut(&token)
    }

    pub(crate) fn close(&mut self, token: u64) {
        self.streams.remove(&token);
    }

    /// The tokens that can be read; waits for so long at most, which is below a second.
    pub(crate) fn wait(&mut self, tokens: &mut Vec<u64>, longest: Duration) -> io::Result<()> {
        let limit = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        tokens.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&limit)) {
            Ok(_) => tokens.extend(self.ready.drain(..).map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Reads once: `None` when nothing is there, 0 at the end.
pub(crate) fn read_once(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes everything; bench messages are small, so that a full socket buffer is rare and simply waited for.
pub(crate) fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

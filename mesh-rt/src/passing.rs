//! Messages with descriptors between two processes: how an open socket is handed over. Related ones share a pair;
//! others meet at a path. What the bytes mean, and whom to trust, is the caller's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// Most descriptors that travel with one message; the kernel's own limit is 253.
pub const DESCRIPTORS_LIMIT: usize = 64;

/// Longest message in bytes; it fits into the kernel's default socket buffer.
pub const MESSAGE_LIMIT: usize = 128 * 1024;

/// Connections that wait to be accepted at a path.
const WAITING: i32 = 8;

/// One message.
#[derive(Debug, Default)]
pub struct Packet {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What was handed over; closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a pair of connected sockets that keeps messages apart (`SOCK_SEQPACKET`), and ends with its process.
#[derive(Debug)]
pub struct Packets(OwnedFd);

impl Packets {
    /// Makes both ends; they are closed on exec unless passed on.
    ///
    /// # Errors
    /// The system is out of descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(left), Self(right)))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The other end is gone (`BrokenPipe`), or the message is longer than [`MESSAGE_LIMIT`] or has more than
    /// [`DESCRIPTORS_LIMIT`] descriptors (`InvalidInput`).
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.as_fd(), bytes, descriptors)
    }

    /// Receives one message; `None` when the other end is gone.
    ///
    /// # Errors
    /// The error of `recvmsg`; `InvalidData` when a message was longer than the limits.
    pub fn receive(&self) -> io::Result<Option<Packet>> {
        receive(self.0.as_fd())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > MESSAGE_LIMIT || descriptors.len() > DESCRIPTORS_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message is empty or too long"));
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_LIMIT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; MESSAGE_LIMIT];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_LIMIT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
    }
    bytes.truncate(got.bytes);
    Ok(Some(Packet { bytes, descriptors }))
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Packets {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Packets> for OwnedFd {
    fn from(packets: Packets) -> Self {
        packets.0
    }
}

/// The same end for asynchronous code; it belongs to the runtime in which it was made.
#[derive(Debug)]
pub struct AsyncPackets(UnixStream);

impl AsyncPackets {
    /// Takes an end over and makes it non-blocking.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(packets: Packets) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&packets, true)?;
        // The stream only watches the descriptor; it is never read or written as a stream.
        Ok(Self(UnixStream::from_std(packets.0.into())?))
    }

    /// Connects to a [`PacketListener`] at a path. Never waits.
    ///
    /// # Errors
    /// Nobody listens there (`NotFound`, `ConnectionRefused`), or nobody accepts (`WouldBlock`).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket_at_path()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(UnixStream::from_std(socket.into())?))
    }

    /// The user that the process at the other end ran as when it connected or listened, as the kernel says.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn peer_user(&self) -> io::Result<u32> {
        self.0.peer_cred().map(|peer| peer.uid())
    }

    /// As [`Packets::send`].
    ///
    /// # Errors
    /// As [`Packets::send`].
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(self.0.as_fd(), bytes, descriptors)).await
    }

    /// As [`Packets::receive`]; may be dropped without losing a message.
    ///
    /// # Errors
    /// As [`Packets::receive`].
    pub async fn receive(&self) -> io::Result<Option<Packet>> {
        self.0.async_io(Interest::READABLE, || receive(self.0.as_fd())).await
    }
}

/// A path at which processes meet that are not related.
#[derive(Debug)]
pub struct PacketListener(UnixListener);

impl PacketListener {
    /// Listens at a path that does not exist. The file stays when the listener is dropped.
    ///
    /// # Errors
    /// The file exists (`AddrInUse`) or cannot be made.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = socket_at_path()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, WAITING)?;
        // The listener only watches and accepts; what it accepts is never read or written as a stream.
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// The next one who connects.
    ///
    /// # Errors
    /// The system is out of descriptors.
    pub async fn accept(&self) -> io::Result<AsyncPackets> {
        self.0.accept().await.map(|(stream, _)| AsyncPackets(stream))
    }
}

fn socket_at_path() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (left, right) = Packets::pair().unwrap();
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        left.send(b"one", &[far.as_fd()]).unwrap();
        left.send(b"two", &[]).unwrap();
        drop((far, left));
        let first = right.receive().unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.descriptors.len()), (b"one".as_slice(), 1));
        let mut passed = std::os::unix::net::UnixStream::from(first.descriptors.into_iter().next().unwrap());
        passed.write_all(b"through").unwrap();
        let mut text = [0; 7];
        near.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"through");
        assert_eq!(right.receive().unwrap().unwrap().bytes, b"two");
        assert!(right.receive().unwrap().is_none(), "the end of the other side is seen");
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused() {
        let (left, _right) = Packets::pair().unwrap();
        let error = left.send(&vec![0; MESSAGE_LIMIT + 1], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    #[tokio::test]
    async fn strangers_meet_at_a_path_and_are_told_apart_by_their_user() {
        let path = std::env::temp_dir().join(format!("packets-{}", std::process::id()));
        let listener = PacketListener::bind(&path).unwrap();
        let near = AsyncPackets::connect(&path).unwrap();
        let far = listener.accept().await.unwrap();
        let (_, descriptor) = std::os::unix::net::UnixStream::pair().unwrap();
        near.send(b"take it", &[descriptor.as_fd()]).await.unwrap();
        let heard = far.receive().await.unwrap().unwrap();
        assert_eq!((heard.bytes.as_slice(), heard.descriptors.len()), (b"take it".as_slice(), 1));
        let us = rustix::process::geteuid().as_raw();
        assert_eq!((near.peer_user().unwrap(), far.peer_user().unwrap()), (us, us));
        drop((near, listener));
        assert!(far.receive().await.unwrap().is_none(), "the end of the other side is seen");
        // The file is there, and nobody behind it.
        let refused = AsyncPackets::connect(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(AsyncPackets::connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn who_connects_where_nobody_accepts_does_not_wait() {
        let path = std::env::temp_dir().join(format!("packets-full-{}", std::process::id()));
        let _listener = PacketListener::bind(&path).unwrap();
        let all: Vec<_> = (0..=2 * WAITING).map(|_| AsyncPackets::connect(&path)).collect();
        std::fs::remove_file(&path).unwrap();
        let last = all.into_iter().last().unwrap().unwrap_err();
        assert_eq!(last.kind(), io::ErrorKind::WouldBlock);
    }
}

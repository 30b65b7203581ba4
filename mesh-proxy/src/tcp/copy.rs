//! Copying between two streams until both ends are done, with half-close, an idle limit and a cut from outside.
//!
//! Bytes are read into one buffer per worker and written at once; only what the other side does not take is
//! kept with the connection. So an idle connection holds no buffer, and the size of reads follows the traffic.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mesh_model::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::stream::Abort;

const SMALLEST_READ: usize = 8 << 10;
const LARGEST_READ: usize = 256 << 10;

/// The buffer that all copies of a worker read into.
#[derive(Debug, Clone, Default)]
pub struct Scratch(Rc<RefCell<Vec<u8>>>);

/// How a copy ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides closed.
    Closed,
    /// It was cut from outside.
    Cut(Reason),
    /// Nothing moved for too long.
    Idle,
    /// The downstream broke.
    Downstream(io::Error),
    /// The upstream broke.
    Upstream(io::Error),
}

/// What a copy moved, in bytes, and how it ended.
#[derive(Debug)]
pub struct Copied {
    /// From downstream to upstream.
    pub sent: u64,
    /// From upstream to downstream.
    pub received: u64,
    /// How it ended.
    pub ended: Ended,
}

/// Copies both ways until both sides have closed, one breaks, nothing moves for `idle`, or `cut` ends. What
/// did not end by itself is reset on both sides.
pub async fn copy<D, U>(
    mut downstream: D,
    mut upstream: U,
    scratch: &Scratch,
    idle: Duration,
    cut: impl Future<Output = Reason>,
) -> Copied
where
    D: AsyncRead + AsyncWrite + Abort + Unpin,
    U: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let (mut there, mut back) = (Pipe::default(), Pipe::default());
    let mut cut = pin!(cut);
    let mut timer = pin!(tokio::time::sleep(idle));
    let mut seen = (0, Instant::now());
    let ended = poll_fn(|cx| {
        if let Poll::Ready(reason) = cut.as_mut().poll(cx) {
            return Poll::Ready(Ended::Cut(reason));
        }
        let a = there.poll(cx, &mut downstream, &mut upstream, scratch);
        let b = back.poll(cx, &mut upstream, &mut downstream, scratch);
        match (a, b) {
            (Poll::Ready(Err(Broken::From(e))), _) | (_, Poll::Ready(Err(Broken::To(e)))) => {
                return Poll::Ready(Ended::Downstream(e));
            }
            (Poll::Ready(Err(Broken::To(e))), _) | (_, Poll::Ready(Err(Broken::From(e)))) => {
                return Poll::Ready(Ended::Upstream(e));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Closed),
            _ => {}
        }
        let moved = there.moved + back.moved;
        if moved != seen.0 {
            seen = (moved, Instant::now());
        }
        // The timer is moved only when it fires: a busy connection pays nothing for it.
        while timer.as_mut().poll(cx).is_ready() {
            let until = seen.1 + idle;
            if until <= Instant::now() {
                return Poll::Ready(Ended::Idle);
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await;
    if !matches!(ended, Ended::Closed) {
        downstream.abort();
        upstream.abort();
    }
    Copied { sent: there.moved, received: back.moved, ended }
}

enum Broken {
    From(io::Error),
    To(io::Error),
}

/// One direction.
struct Pipe {
    kept: Vec<u8>,
    written: usize,
    read_size: usize,
    moved: u64,
    unflushed: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Ending,
    Ended,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            written: 0,
            read_size: SMALLEST_READ,
            moved: 0,
            unflushed: false,
            stage: Stage::Open,
        }
    }
}

impl Pipe {
    fn poll<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        scratch: &Scratch,
    ) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if self.stage == Stage::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_kept(cx, to)).map_err(Broken::To)?;
            if self.stage == Stage::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::To)?;
                self.stage = Stage::Ended;
                continue;
            }
            match self.poll_read(cx, from, scratch) {
                Poll::Ready(read) => match read.map_err(Broken::From)? {
                    0 => self.stage = Stage::Ending,
                    some => self.poll_write_through(cx, to, some, scratch).map_err(Broken::To)?,
                },
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Broken::To)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what an earlier write did not take, then frees its buffer.
    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.written < self.kept.len() {
            let some = ready!(Pin::new(&mut *to).poll_write(cx, &self.kept[self.written..]))?;
            self.wrote(some)?;
            self.written += some;
        }
        (self.kept, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        scratch: &Scratch,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = scratch.0.borrow_mut();
        if buffer.len() < self.read_size {
            buffer.resize(self.read_size, 0);
        }
        let mut read = ReadBuf::new(&mut buffer[..self.read_size]);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        let some = read.filled().len();
        if some == self.read_size {
            self.read_size = (some * 2).min(LARGEST_READ);
        } else if some < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(SMALLEST_READ);
        }
        Poll::Ready(Ok(some))
    }

    /// Writes the first `some` bytes of the scratch buffer and keeps what is not taken now.
    fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        some: usize,
        scratch: &Scratch,
    ) -> io::Result<()> {
        let buffer = scratch.0.borrow();
        let mut at = 0;
        while at < some {
            match Pin::new(&mut *to).poll_write(cx, &buffer[at..some]) {
                Poll::Ready(wrote) => {
                    let wrote = wrote?;
                    self.wrote(wrote)?;
                    at += wrote;
                }
                Poll::Pending => {
                    self.kept = buffer[at..some].to_vec();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn wrote(&mut self, some: usize) -> io::Result<()> {
        if some == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.moved += some as u64;
        self.unflushed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

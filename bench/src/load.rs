//! An HTTP/1.1 generator: N kept-alive connections, the next request when an answer is complete, or so many a second.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mesh_rt::{Clock, SystemClock};

use crate::poller::{LONGEST, Poller, read_once, write_all};

const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";

/// Loads an address for a while over this many connections; gives the number of answers.
///
/// # Errors
/// Any answer that is not a complete 200 of 130 bytes ends the run: one error voids the row.
pub(crate) fn run(to: SocketAddr, connections: usize, time: Duration) -> io::Result<u64> {
    let end = SystemClock.monotonic() + time;
    until(to, connections, |_| SystemClock.monotonic() >= end)
}

/// Loads an address for a while with this many requests a second, each on a connection that waits for no answer. What
/// falls behind is caught up with as soon as a connection is free. Gives the number of answers.
///
/// # Errors
/// As [`run`].
pub(crate) fn paced(to: SocketAddr, connections: usize, (rate, time): (u32, Duration)) -> io::Result<u64> {
    let begin = SystemClock.monotonic();
    let due = |sent: u64| begin + Duration::from_secs_f64(sent as f64 / f64::from(rate));
    exchange(to, connections, due, |_| SystemClock.monotonic() >= begin + time)
}

/// Loads an address until at least this many answers came; gives their number.
///
/// # Errors
/// As [`run`].
pub(crate) fn requests(to: SocketAddr, connections: usize, count: u64) -> io::Result<u64> {
    until(to, connections, |answers| answers >= count)
}

/// Sends at once whatever can be sent.
fn until(to: SocketAddr, connections: usize, over: impl Fn(u64) -> bool) -> io::Result<u64> {
    let begin = SystemClock.monotonic();
    exchange(to, connections, |_| begin, over)
}

/// Sends each request when it is due, by the number of those before it, and a connection is free; until it is over, by
/// the number of answers.
fn exchange(
    to: SocketAddr,
    connections: usize,
    due: impl Fn(u64) -> Instant,
    over: impl Fn(u64) -> bool,
) -> io::Result<u64> {
    let mut poller = Poller::new()?;
    let (mut pending, mut free) = (HashMap::new(), VecDeque::new());
    for _ in 0..connections {
        let token = poller.add(TcpStream::connect(to)?)?;
        pending.insert(token, Vec::new());
        free.push_back(token);
    }
    let (mut sent, mut answers, mut buffer, mut tokens) = (0, 0, vec![0; 16 * 1024], Vec::new());
    while !over(answers) {
        let mut wait = LONGEST;
        while let Some(token) = free.front().copied() {
            wait = due(sent).saturating_duration_since(SystemClock.monotonic()).min(LONGEST);
            if !wait.is_zero() {
                break;
            }
            free.pop_front();
            send(&mut poller, token)?;
            (sent, wait) = (sent + 1, LONGEST);
        }
        poller.wait(&mut tokens, wait)?;
        for token in &tokens {
            let Some(stream) = poller.stream(*token) else { continue };
            let Some(count) = read_once(stream, &mut buffer)? else { continue };
            let answer = pending.entry(*token).or_insert_with(Vec::new);
            answer.extend_from_slice(&buffer[..count]);
            if count == 0 {
                return Err(io::Error::other("the connection was closed"));
            }
            if complete(answer)? {
                answer.clear();
                answers += 1;
                free.push_back(*token);
            }
        }
    }
    Ok(answers)
}

/// One small page, which the server ends by closing or by its length.
pub(crate) fn page(from: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(from)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: bench.test\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

fn send(poller: &mut Poller, token: u64) -> io::Result<()> {
    poller.stream(token).map_or(Ok(()), |stream| write_all(stream, REQUEST))
}

fn complete(answer: &[u8]) -> io::Result<bool> {
    let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(false) };
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&answer[..head]).into_owned()));
    }
    Ok(answer.len() == head + 4 + 130)
}

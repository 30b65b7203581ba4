//! An open-loop load generator. Requests leave at their intended times, whatever became of earlier ones, and
//! latency counts from the intended time. The client never retries: every failure is seen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::{JoinSet, LocalSet};

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// HTTP/1.1 over kept-alive connections.
    Http1,
    /// HTTP/1.1, a new connection for each request.
    Http1Close,
    /// HTTP/2 with prior knowledge over one connection.
    Http2,
    /// HTTP/2, a new connection for each request.
    Http2Close,
    /// One line to a TCP echo over kept-alive connections.
    Tcp,
    /// One line to a TCP echo, a new connection each.
    TcpClose,
}

/// A load: so many requests at such a rate.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where requests go.
    pub to: SocketAddr,
    /// What is spoken.
    pub client: Client,
    /// The authority of HTTP requests.
    pub host: String,
    /// The path of HTTP requests.
    pub path: String,
    /// Requests in a second.
    pub rate: u32,
    /// Requests in all.
    pub total: u32,
}

/// What became of a load.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests answered with 2xx, or echoed.
    pub good: u32,
    /// What else happened, and how often.
    pub failures: BTreeMap<String, u32>,
    latencies: Vec<Duration>,
}

impl Report {
    /// Requests that were sent.
    pub fn total(&self) -> u32 {
        self.good + self.failures.values().sum::<u32>()
    }

    /// A percentile of the latencies of good requests, from the intended time.
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut all = self.latencies.clone();
        all.sort();
        let at = ((all.len() as f64 * percent / 100.0) as usize).min(all.len().saturating_sub(1));
        all.get(at).copied().unwrap_or_default()
    }

    fn count(&mut self, outcome: Result<()>, latency: Duration) {
        match outcome {
            Ok(()) => {
                self.good += 1;
                self.latencies.push(latency);
            }
            Err(error) => *self.failures.entry(format!("{error:#}")).or_default() += 1,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.percentile(50.0), self.percentile(99.0));
        write!(
            f,
            "{} of {} good, p50 {p50:?}, p99 {p99:?}, failures {:?}",
            self.good,
            self.total(),
            self.failures
        )
    }
}

impl Load {
    /// Runs the load to its end on a thread and runtime of its own.
    pub async fn run(self) -> Result<Report> {
        let done = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, drive(self))
        });
        done.await?
    }
}

async fn drive(load: Load) -> Result<Report> {
    let load = Rc::new(load);
    let pool = Rc::new(Pool::default());
    let begin = tokio::time::Instant::now();
    let mut running = JoinSet::new();
    let mut report = Report::default();
    for n in 0..load.total {
        let intended = begin + Duration::from_secs_f64(f64::from(n) / f64::from(load.rate));
        tokio::time::sleep_until(intended).await;
        let (load, pool) = (Rc::clone(&load), Rc::clone(&pool));
        running.spawn_local(async move {
            let outcome = tokio::time::timeout(Duration::from_secs(10), one(&load, &pool)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within 10 s")));
            (outcome, intended.elapsed())
        });
        while let Some(done) = running.try_join_next() {
            let (outcome, latency) = done?;
            report.count(outcome, latency);
        }
    }
    while let Some(done) = running.join_next().await {
        let (outcome, latency) = done?;
        report.count(outcome, latency);
    }
    Ok(report)
}

type Sender1 = http1::SendRequest<Empty<Bytes>>;
type Sender2 = http2::SendRequest<Empty<Bytes>>;

/// Connections that wait for their next request.
#[derive(Default)]
struct Pool {
    http1: Mutex<Vec<Sender1>>,
    http2: Mutex<Option<Sender2>>,
    tcp: Mutex<Vec<TcpStream>>,
}

async fn one(load: &Load, pool: &Pool) -> Result<()> {
    match load.client {
        Client::Http1 | Client::Http1Close => over_http1(load, pool).await,
        Client::Http2 | Client::Http2Close => over_http2(load, pool).await,
        Client::Tcp | Client::TcpClose => over_tcp(load, pool).await,
    }
}

async fn over_http1(load: &Load, pool: &Pool) -> Result<()> {
    let keep = load.client == Client::Http1;
    let idle = if keep { take_ready(pool).await } else { None };
    let mut sender = match idle {
        Some(sender) => sender,
        None => {
            let (sender, connection) =
                http1::handshake(TokioIo::new(connect(load).await?)).await.context("handshake")?;
            tokio::task::spawn_local(connection);
            sender
        }
    };
    let mut request = request(load, Version::HTTP_11)?;
    if !keep {
        request.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    let answer = sender.send_request(request).await.context("send")?;
    finish(answer).await?;
    if keep {
        pool.http1.lock().await.push(sender);
    }
    Ok(())
}

/// An idle connection that the server has not closed, as any client would choose.
async fn take_ready(pool: &Pool) -> Option<Sender1> {
    let mut idle = pool.http1.lock().await;
    idle.retain(|sender| !sender.is_closed());
    let at = idle.iter().position(Sender1::is_ready)?;
    Some(idle.swap_remove(at))
}

async fn over_http2(load: &Load, pool: &Pool) -> Result<()> {
    let keep = load.client == Client::Http2;
    let mut shared = pool.http2.lock().await;
    let mut sender = match shared.take().filter(|sender| keep && !sender.is_closed()) {
        Some(sender) => sender,
        None => {
            let io = TokioIo::new(connect(load).await?);
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.context("handshake")?;
            tokio::task::spawn_local(connection);
            sender
        }
    };
    if keep {
        *shared = Some(sender.clone());
    }
    drop(shared);
    finish(sender.send_request(request(load, Version::HTTP_2)?).await.context("send")?).await
}

async fn over_tcp(load: &Load, pool: &Pool) -> Result<()> {
    let keep = load.client == Client::Tcp;
    let idle = if keep { pool.tcp.lock().await.pop() } else { None };
    let mut stream = match idle {
        Some(stream) => stream,
        None => connect(load).await?,
    };
    stream.write_all(b"ping\n").await.context("write")?;
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.context("read")?;
    if &echo != b"ping\n" {
        bail!("the echo differs");
    }
    if keep {
        pool.tcp.lock().await.push(stream);
    }
    Ok(())
}

async fn connect(load: &Load) -> Result<TcpStream> {
    let stream = TcpStream::connect(load.to).await.context("connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(load: &Load, version: Version) -> Result<Request<Empty<Bytes>>> {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let token = SERIAL.fetch_add(1, Ordering::Relaxed);
    let builder = Request::get(match version {
        Version::HTTP_2 => format!("http://{}{}", load.host, load.path),
        _ => load.path.clone(),
    });
    let builder = if version == Version::HTTP_11 { builder.header("host", &load.host) } else { builder };
    Ok(builder.header("x-token", token).body(Empty::new())?)
}

async fn finish(answer: http::Response<hyper::body::Incoming>) -> Result<()> {
    let status = answer.status();
    answer.into_body().collect().await.context("body")?;
    if status.is_success() { Ok(()) } else { bail!("status {}", status.as_u16()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers good requests until it has answered three, then with 503.
    async fn flaky() -> SocketAddr {
        let listener = mesh_rt::net::listen_tcp(([127, 0, 0, 1], 0).into(), false).expect("bind");
        let listener = tokio::net::TcpListener::from_std(listener).expect("non-blocking");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            let mut answered = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.expect("read");
                assert!(buffer[..read].ends_with(b"\r\n\r\n"));
                answered += 1;
                let status = if answered > 3 { "503 Busy" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("write");
            }
        });
        address
    }

    #[tokio::test]
    async fn every_failure_is_counted_and_none_is_retried() {
        let to = flaky().await;
        let client = Client::Http1Close;
        let load = Load { to, client, host: "h".to_owned(), path: "/".to_owned(), rate: 200, total: 10 };
        let report = load.run().await.expect("runs");
        assert_eq!((report.good, report.failures.get("status 503"), report.total()), (3, Some(&7), 10));
    }
}

//! A stub resolver: asks name servers over UDP, and over TCP what does not fit. It remembers nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::message::{Answer, Family, NameError, Question, UDP_SIZE};
use crate::settings::{PORT, SYSTEM, Settings};
use crate::transport::{read, socket_to, write};

/// How often every server is asked.
const ROUNDS: usize = 2;
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most addresses of a name.
pub const ADDRESSES: usize = 100;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, ordered; at least one.
    pub addresses: Vec<IpAddr>,
    /// How long they hold.
    pub ttl: Duration,
}

/// Why a name has no address now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No server gave an answer; what was known before may still hold.
    #[error("no name server answers: {0}")]
    Failed(String),
    /// It leads only to addresses of the proxy's own host.
    #[error("the name leads only to addresses that belong to every host alone")]
    Local,
    /// It is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It does not exist, or has no address.
    #[error("the name has no address")]
    NoAddress,
}

/// Looks names up.
pub trait Lookup: Clone + Send + 'static {
    /// The addresses of a name.
    fn lookup(&self, name: Arc<str>) -> impl Future<Output = Result<Found, LookupError>> + Send;
}

/// A resolver. Each look-up reads anew which servers there are.
#[derive(Debug, Clone)]
pub struct Resolver {
    servers: Servers,
    local: bool,
}

#[derive(Debug, Clone)]
enum Servers {
    Listed(Arc<[SocketAddr]>),
    System,
}

impl Resolver {
    /// One that asks these servers.
    pub fn at(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { servers: Servers::Listed(servers.into_iter().collect()), local: false }
    }

    /// One that asks the system's servers.
    pub fn system() -> Self {
        Self { servers: Servers::System, local: false }
    }

    /// Takes loopback and link-local addresses too. A proxy's own ports are there, and a name that somebody else
    /// controls must not lead to them: only for tests and for networks without others.
    #[must_use]
    pub fn with_local(self) -> Self {
        Self { local: true, ..self }
    }

    fn servers(&self) -> Result<Vec<SocketAddr>, LookupError> {
        match &self.servers {
            Servers::Listed(servers) => Ok(servers.to_vec()),
            Servers::System => {
                let settings = Settings::of_system();
                Ok(settings.map_err(|error| LookupError::Failed(format!("{SYSTEM}: {error}")))?.servers)
            }
        }
    }

    async fn of_family(&self, name: &str, family: Family) -> Result<Answer, LookupError> {
        let servers = self.servers()?;
        let mut last = String::from("there is none");
        for server in std::iter::repeat_n(servers.iter(), ROUNDS).flatten() {
            let id = u16::from_be_bytes(mesh_rt::random::secure());
            let question = Question::new(id, name, family)?;
            match tokio::time::timeout(PATIENCE, ask(*server, &question)).await {
                Ok(Ok(Answer::Failed(code))) => last = format!("{server} answers with code {code}"),
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(problem)) => last = format!("{server}: {problem}"),
                Err(_) => last = format!("{server} does not answer in time"),
            }
        }
        Err(LookupError::Failed(last))
    }
}

impl Lookup for Resolver {
    async fn lookup(&self, name: Arc<str>) -> Result<Found, LookupError> {
        let families = [self.of_family(&name, Family::V4), self.of_family(&name, Family::V6)];
        let [four, six] = families;
        let (four, six) = tokio::join!(four, six);
        let (mut addresses, mut ttl, mut failed) = (Vec::new(), u32::MAX, None);
        for answer in [four, six] {
            match answer {
                Ok(Answer::Addresses(found, life)) if !found.is_empty() => {
                    addresses.extend(found);
                    ttl = ttl.min(life);
                }
                Ok(_) => {}
                Err(problem) => failed = Some(problem),
            }
        }
        if addresses.is_empty() {
            return Err(failed.unwrap_or(LookupError::NoAddress));
        }
        addresses.retain(|address| self.local || !is_local(address.to_canonical()));
        if addresses.is_empty() {
            return Err(LookupError::Local);
        }
        if addresses.iter().any(has_way) {
            addresses.retain(has_way);
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES);
        Ok(Found { addresses, ttl: Duration::from_secs(ttl.into()) })
    }
}

/// Addresses that mean another host for everybody, or none.
fn is_local(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    special
        || match address {
            IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
            IpAddr::V6(six) => six.is_unicast_link_local(),
        }
}

/// Whether the host has a way to an address, as far as it knows itself: one without IPv6 has none to its addresses.
/// Nothing is sent.
fn has_way(address: &IpAddr) -> bool {
    let own: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = mesh_rt::net::bind_udp(SocketAddr::new(own, 0), false);
    socket.and_then(|socket| socket.connect((*address, PORT))).is_ok()
}

async fn ask(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let socket = socket_to(server, None).await?;
    socket.send(&question.encode()).await?;
    let mut buffer = vec![0; usize::from(UDP_SIZE)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match question.answer(&buffer[..length]) {
            Ok(Answer::Truncated) => return ask_whole(server, question).await,
            Ok(answer) => return Ok(answer),
            // Of somebody who guesses, or to a question that was given up.
            Err(_) => {}
        }
    }
}

/// Asks over TCP (RFC 7766).
async fn ask_whole(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, &question.encode()).await?;
    match question.answer(&read(&mut stream).await?).map_err(io::Error::other)? {
        Answer::Truncated => Err(io::Error::other("the answer is cut short over TCP too")),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_own_host_and_link_are_local() {
        let table = [
            ("127.0.0.1", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("fe80::1", true),
            ("224.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ];
        for (text, expected) in table {
            assert_eq!(is_local(text.parse::<IpAddr>().unwrap().to_canonical()), expected, "{text}");
        }
    }
}

//! What `resolv.conf` says (resolv.conf(5)): which servers to ask, and in a pod what the cluster's domain is.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of name servers.
pub(crate) const PORT: u16 = 53;
/// Where the system names its servers.
pub(crate) const SYSTEM: &str = "/etc/resolv.conf";
/// Most servers that are asked, as many as system resolvers take.
const SERVERS: usize = 3;
/// What precedes the cluster's domain in the search list of a pod.
const SERVICES: &str = "svc.";

/// The settings of a resolver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The servers, in order; at most three.
    pub servers: Vec<SocketAddr>,
    /// The cluster's domain, in a pod that searches it.
    pub domain: Option<String>,
}

impl Settings {
    /// Those of the system.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_system() -> io::Result<Self> {
        std::fs::read_to_string(SYSTEM).map(|text| Self::parse(&text))
    }

    /// Whether questions of the application are taken by its proxy: the servers are a cluster's.
    pub fn is_of_cluster(&self) -> bool {
        self.domain.is_some() && !self.servers.is_empty()
    }

    /// The loopback addresses of the families in which the servers are asked.
    pub fn loopbacks(&self) -> BTreeSet<IpAddr> {
        let of = |server: &SocketAddr| match server.is_ipv4() {
            true => Ipv4Addr::LOCALHOST.into(),
            false => Ipv6Addr::LOCALHOST.into(),
        };
        self.servers.iter().map(of).collect()
    }

    /// Reads them as system resolvers do: the last search list counts, and what is not understood is passed over.
    pub fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    settings.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                Some("search") => {
                    let domain = words.find_map(|word| word.strip_prefix(SERVICES));
                    let domain = domain.map(|domain| domain.trim_end_matches('.').to_owned());
                    settings.domain = domain.filter(|domain| !domain.is_empty());
                }
                _ => {}
            }
        }
        settings.servers.truncate(SERVERS);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_system_resolvers_do() {
        let text = "# first\nsearch a.example\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \nnameserver fe80::1%eth0\n\
                    options ndots:5\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let settings = Settings::parse(text);
        let found: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!((settings.is_of_cluster(), settings.loopbacks().len()), (false, 2));
    }

    #[test]
    fn the_domain_of_a_cluster_is_what_pods_search_for_services() {
        let table = [
            ("search shop.svc.cluster.local svc.cluster.local cluster.local", Some("cluster.local")),
            ("search a.svc.x.test. svc.x.test. x.test.", Some("x.test")),
            ("search svc.", None),
            ("search example.com", None),
            ("search a.svc.one svc.one\nsearch b.svc.two svc.two", Some("two")),
            ("search a.svc.one svc.one\nsearch example.com", None),
        ];
        for (text, expected) in table {
            assert_eq!(Settings::parse(text).domain.as_deref(), expected, "{text}");
        }
    }
}

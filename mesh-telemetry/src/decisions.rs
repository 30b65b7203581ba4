//! Recent decisions, kept small, and explained only when somebody asks.
//!
//! A record holds the snapshot and the parts of the request that any rule of it compares. The explanation is
//! made from them by the engine, so that it equals what the command line says of the same request.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method};
use mesh_model::engine::{Authorization, Decision, Place, explain_authorization, explain_route};
use mesh_model::{Authority, ConnectionFacts, Mesh, ObjectName, RequestHead, Service, Workload};
use mesh_rt::random::Fast;

/// Decisions that are kept.
const KEPT: usize = 4096;

/// Names one decision of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId(u64);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for DecisionId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Where a decision was made.
#[derive(Debug, Clone)]
pub enum At {
    /// At a gateway.
    Gateway {
        /// The gateway.
        gateway: ObjectName,
        /// Its port.
        port: u16,
        /// The server name, when TLS ended here.
        sni: Option<Arc<str>>,
    },
    /// At the destination: authorization.
    Inbound {
        /// The workload.
        workload: Arc<Workload>,
        /// What was known of the connection.
        facts: ConnectionFacts,
    },
    /// On the client's side of a service.
    Outbound {
        /// The service.
        service: Arc<Service>,
        /// Its port.
        port: u16,
        /// The client's namespace.
        namespace: Arc<str>,
    },
}

/// What a decision was made from. Thousands are kept, and each request replaces one: it is small, and its texts
/// lie in one place.
#[derive(Debug, Clone)]
pub struct Record {
    at: Arc<At>,
    mesh: Arc<Mesh>,
    method: Method,
    /// Host, path and query, one after the other.
    text: Box<str>,
    host: usize,
    port: Option<u16>,
    path: usize,
    has_query: bool,
    /// What rules compare, if the request has any of it.
    headers: Option<Box<HeaderMap>>,
}

impl Record {
    /// Remembers what a decision was made from.
    pub fn new(at: Arc<At>, mesh: &Arc<Mesh>, head: &RequestHead<'_>) -> Self {
        let mut headers: Option<Box<HeaderMap>> = None;
        for name in mesh.compared_headers() {
            for line in head.headers.get_all(name) {
                headers.get_or_insert_default().append(name.clone(), line.clone());
            }
        }
        let (host, query) = (head.authority.host(), head.query.unwrap_or_default());
        let mut text = String::with_capacity(host.len() + head.path.len() + query.len());
        [host, head.path, query].iter().for_each(|part| text.push_str(part));
        Self {
            at,
            mesh: Arc::clone(mesh),
            method: head.method.clone(),
            text: text.into_boxed_str(),
            host: host.len(),
            port: head.authority.port(),
            path: head.path.len(),
            has_query: head.query.is_some(),
            headers,
        }
    }

    fn authority(&self) -> Authority {
        let host = &self.text[..self.host];
        let text = self.port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        text.parse().expect("an authority's canonical form is an authority")
    }

    /// The explanation as JSON: a decision, or an authorization at the destination.
    pub fn explain(&self) -> serde_json::Value {
        let explained = match self.explained() {
            Explained::Inbound(authorization) => serde_json::to_value(authorization),
            Explained::Route(decision) => serde_json::to_value(decision),
        };
        explained.unwrap_or_default()
    }

    /// The same in lines for people.
    pub fn describe(&self) -> String {
        match self.explained() {
            Explained::Inbound(authorization) => authorization.to_string(),
            Explained::Route(decision) => decision.to_string(),
        }
    }

    fn explained(&self) -> Explained {
        let (authority, none) = (self.authority(), HeaderMap::new());
        let (path, query) = self.text[self.host..].split_at(self.path);
        let head = RequestHead {
            method: &self.method,
            authority: &authority,
            path,
            query: self.has_query.then_some(query),
            headers: self.headers.as_deref().unwrap_or(&none),
        };
        match &*self.at {
            At::Gateway { gateway, port, sni } => {
                let place = Place::Gateway { gateway, port: *port, sni: sni.as_deref() };
                Explained::Route(Box::new(explain_route(&self.mesh, place, &head)))
            }
            At::Inbound { workload, facts } => {
                let policies = self.mesh.policies_for(workload);
                Explained::Inbound(explain_authorization(workload, &policies, facts, Some(&head)))
            }
            At::Outbound { service, port, namespace } => {
                let place = Place::Service { service, port: *port, client_namespace: namespace };
                Explained::Route(Box::new(explain_route(&self.mesh, place, &head)))
            }
        }
    }
}

/// What a record explains.
enum Explained {
    Inbound(Authorization),
    Route(Box<Decision>),
}

/// The last decisions of a proxy: a ring for each worker, so that no worker waits for another.
#[derive(Debug)]
pub struct Decisions {
    rings: Mutex<Vec<Ring>>,
    /// For decisions that no worker keeps.
    others: Ring,
}

/// The last decisions of one worker. Only an explanation asked for elsewhere ever shares its lock.
#[derive(Debug, Clone)]
pub struct Ring(Arc<Mutex<(u64, VecDeque<Record>)>>);

impl Ring {
    fn new() -> Self {
        // The beginning is random, so that an id of another ring, proxy or earlier run names nothing here.
        Self(Arc::new(Mutex::new((Fast::from_entropy().next_u64() >> 1, VecDeque::new()))))
    }

    /// Keeps a record and names it.
    pub fn keep(&self, record: Record) -> DecisionId {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.1.len() == KEPT {
            ring.1.pop_front();
            ring.0 += 1;
        }
        ring.1.push_back(record);
        DecisionId(ring.0 + ring.1.len() as u64 - 1)
    }

    fn find(&self, id: DecisionId) -> Option<Record> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(id.0.checked_sub(ring.0)?).ok()?;
        ring.1.get(at).cloned()
    }
}

impl Default for Decisions {
    fn default() -> Self {
        let others = Ring::new();
        Self { rings: Mutex::new(vec![others.clone()]), others }
    }
}

impl Decisions {
    /// Keeps a record that no worker keeps, and names it.
    pub fn keep(&self, record: Record) -> DecisionId {
        self.others.keep(record)
    }

    /// A ring for one more worker.
    pub fn ring(&self) -> Ring {
        let ring = Ring::new();
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).push(ring.clone());
        ring
    }

    /// A decision that is still kept.
    pub fn find(&self, id: DecisionId) -> Option<Record> {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.iter().find_map(|ring| ring.find(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        let (authority, headers): (Authority, _) = ("h".parse().expect("authority"), HeaderMap::new());
        let head =
            RequestHead { method: &Method::GET, authority: &authority, path, query: None, headers: &headers };
        let at = At::Gateway { gateway: ObjectName::new("n", "g"), port: 80, sni: None };
        Record::new(Arc::new(at), &Arc::default(), &head)
    }

    #[test]
    fn a_record_is_small_and_gives_back_what_it_was_made_from() {
        assert!(size_of::<Record>() <= 96, "{} bytes", size_of::<Record>());
        let hosts = ["h", "h:8080", "[::1]", "[::1]:8080", "192.0.2.1:80"];
        for (host, query) in hosts.into_iter().flat_map(|h| [(h, None), (h, Some("")), (h, Some("a=/b?c"))]) {
            let (authority, headers): (Authority, _) = (host.parse().expect("authority"), HeaderMap::new());
            let head = RequestHead {
                method: &Method::GET,
                authority: &authority,
                path: "/p/q",
                query,
                headers: &headers,
            };
            let at = At::Gateway { gateway: ObjectName::new("n", "g"), port: 80, sni: None };
            let kept = Record::new(Arc::new(at), &Arc::default(), &head).describe();
            let place = Place::Gateway { gateway: &ObjectName::new("n", "g"), port: 80, sni: None };
            assert_eq!(kept, explain_route(&Mesh::default(), place, &head).to_string());
        }
    }

    #[test]
    fn the_last_decisions_are_found_and_older_ones_are_gone() {
        let decisions = Decisions::default();
        let ids: Vec<_> = (0..KEPT + 10).map(|n| decisions.keep(record(&format!("/{n}")))).collect();
        assert!(decisions.find(ids[9]).is_none());
        let text = ids[KEPT].to_string();
        let record = decisions.find(text.parse().expect("id")).expect("kept");
        let found = record.explain();
        assert!(record.describe().starts_with(&format!("GET h/{KEPT}\n")), "{}", record.describe());
        assert_eq!(found["request"], format!("GET h/{KEPT}"));
        assert_eq!(found["status"], 404);
    }
}

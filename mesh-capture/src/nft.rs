//! The redirect rules, for all three places of capture: which connections, whose are exempt, to which port. They are
//! written as nf_tables messages; no program is needed at run time.

mod expression;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink;

use super::netlink::{APPEND, Batch, Body, CREATE, NetlinkError};
use expression::Rule;

/// The table of rules that belong to the namespace itself: a sidecar's, or those of a local workload.
pub const TABLE: &str = "mesh";
/// The table of rules that the node's proxy sets, so that it can tell them from those of a sidecar.
pub const NODE_TABLE: &str = "mesh-node";

const NEW_TABLE: u16 = message(0);
const DELETE_TABLE: u16 = message(2);
const NEW_CHAIN: u16 = message(3);
const NEW_RULE: u16 = message(6);
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Where rules hang in the kernel.
struct Chain {
    hook: u32,
    kind: &'static str,
    name: &'static str,
    priority: i32,
}

/// The hook `output` with the priority of destination NAT.
const OUTBOUND: Chain = Chain { hook: 3, kind: "nat", name: "outbound", priority: -100 };
/// The hook `prerouting`, which connections made on this machine do not pass.
const INBOUND: Chain = Chain { hook: 0, kind: "nat", name: "inbound", priority: -100 };
/// Both hooks before the kernel looks for a connection that a packet belongs to.
const UNTRACKED_OUT: Chain = Chain { hook: 3, kind: "filter", name: "untracked-out", priority: -300 };
const UNTRACKED_IN: Chain = Chain { hook: 0, kind: "filter", name: "untracked-in", priority: -300 };
/// The hook `input`. Refused at `output`, the sender's call would fail with "not permitted"; refused where it would
/// arrive, the sender gets the answer that a closed port gives.
const REFUSED: Chain = Chain { hook: 1, kind: "filter", name: "refused", priority: 0 };

/// Whose connections are left alone: the proxy's own, or they would come back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exempt {
    /// Those with this firewall mark: the node's proxy, which makes sockets inside the pod's namespace.
    Mark(u32),
    /// Those to these prefixes: the local mesh, whose proxy connects from outside; everything leaves by loopback
    /// there, so the device says nothing.
    Prefixes(Vec<(IpAddr, u8)>),
    /// Those of this user: the sidecar, which shares the pod's namespace.
    User(u32),
}

/// The ports for connections that come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Ports that stay as they are, such as that of the health check.
    pub exempt: Vec<u16>,
    /// Ports that stay as they are for one client: the node, which asks there how the application is.
    pub probes: Vec<(IpAddr, u16)>,
    /// Where the proxy listens.
    pub port: u16,
}

/// Questions for names (port 53, over UDP and TCP) that go to known servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Where they are answered instead, on loopback addresses: answers go back through the translation from there, and
    /// seem to come from the server.
    pub port: u16,
    /// The servers. A question to any other one is left alone: whoever asks there wants to know what that one says.
    pub servers: Vec<IpAddr>,
}

/// All rules of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where datagrams to a service go; the socket must be bound to a loopback address, so that answers go back
    /// through the translation and come from the service.
    pub datagrams: BTreeMap<SocketAddr, u16>,
    /// What happens to questions for names; `None` leaves them alone.
    pub names: Option<Names>,
    /// Whose outgoing connections are left alone.
    pub exempt: Exempt,
    /// What happens to incoming connections; `None` leaves them alone.
    pub inbound: Option<Inbound>,
    /// Whether connections that are under way when the rules come are left alone: the kernel does not know them yet, and
    /// would take the next packet of one for its first.
    pub only_new: bool,
    /// Where the proxy listens for the outgoing connections.
    pub outbound: u16,
    /// Whether all other packets that are not exempt are refused ("port unreachable"). For a namespace from which no
    /// way leads out and in which every address is local: without it a datagram to a stranger would reach whatever
    /// socket of the application has that port.
    pub refuse_others: bool,
    /// The table they are in; others are not touched.
    pub table: &'static str,
}

impl Rules {
    /// Rules for a namespace of the local mesh.
    pub fn local(outbound: u16) -> Self {
        let prefixes = vec![
            (std::net::Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            (std::net::Ipv6Addr::LOCALHOST.into(), 128),
            (super::link::WORKLOAD_V4.into(), 32),
            (super::link::WORKLOAD_V6.into(), 128),
        ];
        let exempt = Exempt::Prefixes(prefixes);
        let datagrams = BTreeMap::new();
        Self {
            datagrams,
            names: None,
            exempt,
            inbound: None,
            only_new: false,
            outbound,
            refuse_others: true,
            table: TABLE,
        }
    }

    /// Rules for a pod whose proxy shares its namespace and runs as `user`: the pod's outgoing connections go to
    /// `outbound`, those that come in to `inbound`. What stays inside the pod is left alone.
    pub fn sidecar(user: u32, outbound: u16, inbound: Inbound) -> Self {
        Self::pod(Exempt::User(user), outbound, inbound)
    }

    /// Rules for a pod that may be running, whose proxy is elsewhere on its node and makes sockets with this mark in the
    /// pod's namespace. What stays inside the pod is left alone, and what is under way.
    pub fn node(mark: u32, outbound: u16, inbound: Inbound) -> Self {
        Self { only_new: true, table: NODE_TABLE, ..Self::pod(Exempt::Mark(mark), outbound, inbound) }
    }

    /// The same, which also takes questions for names.
    #[must_use]
    pub fn with_names(self, names: Option<Names>) -> Self {
        Self { names, ..self }
    }

    fn pod(exempt: Exempt, outbound: u16, inbound: Inbound) -> Self {
        let (datagrams, inbound) = (BTreeMap::new(), Some(inbound));
        Self {
            datagrams,
            names: None,
            exempt,
            inbound,
            only_new: false,
            outbound,
            refuse_others: false,
            table: TABLE,
        }
    }

    /// Puts the rules in force in this process's network namespace, in place of any we set before: one transaction,
    /// all or nothing.
    ///
    /// # Errors
    /// The first step that the kernel refused; the former rules are then still in force.
    pub fn apply(&self) -> Result<(), NetlinkError> {
        self.batch().send(Some(netlink::NETFILTER))
    }

    fn batch(&self) -> Batch {
        let mut batch = emptied(self.table);
        let mut add = |of: &Chain, rules: &[Rule]| chain(&mut batch, (self.table, of), rules);
        add(&OUTBOUND, &self.outbound_rules());
        if let Some(inbound) = &self.inbound {
            add(&INBOUND, &inbound.rules(self.only_new));
        }
        if let Some(names) = &self.names {
            add(&UNTRACKED_OUT, &names.asked_by_proxy(&self.exempt));
            add(&UNTRACKED_IN, &names.answers());
        }
        if self.refuse_others {
            // What was redirected has a loopback address by now, or is exempt anyway.
            let refuse = Rule::default().refuse();
            add(&REFUSED, &self.exempt.rules().into_iter().chain([refuse]).collect::<Vec<_>>());
        }
        batch.quiet(BATCH_END, &header_of_batch());
        batch
    }

    fn outbound_rules(&self) -> Vec<Rule> {
        let mut rules = self.exempt.rules();
        rules.extend(self.names.iter().flat_map(Names::rules));
        rules.extend(self.datagrams.iter().map(|(service, port)| {
            Rule::default()
                .destination(service.ip(), whole(&service.ip()))
                .udp()
                .port(service.port())
                .redirect(*port)
        }));
        rules.push(captured(self.only_new).redirect(self.outbound));
        rules
    }
}

impl Exempt {
    fn rules(&self) -> Vec<Rule> {
        match self {
            Self::Mark(mark) => {
                vec![Rule::default().mark(*mark).leave(), Rule::default().leaves_by_loopback().leave()]
            }
            Self::Prefixes(prefixes) => {
                let prefix =
                    |(address, length): &(IpAddr, u8)| Rule::default().destination(*address, *length).leave();
                prefixes.iter().map(prefix).collect()
            }
            Self::User(user) => {
                vec![Rule::default().user(*user).leave(), Rule::default().leaves_by_loopback().leave()]
            }
        }
    }
}

impl Names {
    /// The kernel remembers for a while where datagrams of a port went. So a question of the application would go past the
    /// proxy if it came from a port that the proxy has just asked from, and one of the proxy come back to it: what
    /// the proxy asks, and what it is told, are not remembered.
    fn asked_by_proxy(&self, exempt: &Exempt) -> Vec<Rule> {
        let of_proxy = || match exempt {
            Exempt::Mark(mark) => Some(Rule::default().mark(*mark)),
            // There it asks from outside.
            Exempt::Prefixes(_) => None,
            Exempt::User(user) => Some(Rule::default().user(*user)),
        };
        let to = |server: &IpAddr| {
            Some(of_proxy()?.destination(*server, whole(server)).udp().port(53).untracked())
        };
        self.servers.iter().filter_map(to).collect()
    }

    fn answers(&self) -> Vec<Rule> {
        let from = |server: &IpAddr| Rule::default().source(*server).udp().source_port(53).untracked();
        self.servers.iter().map(from).collect()
    }

    fn rules(&self) -> impl Iterator<Item = Rule> {
        self.servers.iter().flat_map(|server| {
            let to_it = || Rule::default().destination(*server, whole(server));
            [to_it().udp(), to_it().tcp()].map(|rule| rule.port(53).redirect(self.port))
        })
    }
}

impl Inbound {
    fn rules(&self, only_new: bool) -> Vec<Rule> {
        let exempt = self.exempt.iter().map(|port| Rule::default().tcp().port(*port).leave());
        let probe = |(node, port): &(IpAddr, u16)| Rule::default().source(*node).tcp().port(*port).leave();
        let probes = self.probes.iter().map(probe);
        exempt.chain(probes).chain([captured(only_new).redirect(self.port)]).collect()
    }
}

/// The length of the prefix that is one address.
fn whole(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Every connection, or those that begin.
fn captured(only_new: bool) -> Rule {
    if only_new { Rule::default().tcp().begins() } else { Rule::default().tcp() }
}

/// Stops capturing in this process's network namespace and leaves those connections as they are that were captured:
/// without chains and rules, the kernel would no longer translate their addresses.
///
/// # Errors
/// The step that the kernel refused.
pub fn release(table: &str) -> Result<(), NetlinkError> {
    let mut batch = emptied(table);
    // The kernel remembers connections as long as some rule would use that, be it one that nothing comes to.
    let idle = || [Rule::default().leave(), Rule::default().tcp().redirect(1)];
    chain(&mut batch, (table, &OUTBOUND), &idle());
    chain(&mut batch, (table, &INBOUND), &idle());
    batch.quiet(BATCH_END, &header_of_batch());
    batch.send(Some(netlink::NETFILTER))
}

/// Takes a table of ours out of this process's network namespace; no error when it is not there.
///
/// # Errors
/// The step that the kernel refused.
pub fn remove(name: &str) -> Result<(), NetlinkError> {
    let mut batch = Batch::default();
    batch.quiet(BATCH_BEGIN, &header_of_batch());
    table(&mut batch, (name, "make the table"), NEW_TABLE, CREATE);
    table(&mut batch, (name, "remove the table"), DELETE_TABLE, 0);
    batch.quiet(BATCH_END, &header_of_batch());
    batch.send(Some(netlink::NETFILTER))
}

/// The type of a message of the nf_tables subsystem.
const fn message(number: u16) -> u16 {
    (10 << 8) | number
}

/// `nfgenmsg` of the batch: no family, and the subsystem's number in network order.
fn header_of_batch() -> Body {
    let mut body = Body::default();
    body.raw(&[0, 0, 0, 10]);
    body
}

/// `nfgenmsg` of the family `inet`, which is IPv4 and IPv6.
fn inet() -> Body {
    let mut body = Body::default();
    body.raw(&[1, 0, 0, 0]);
    body
}

/// A batch that begins with a table without chains.
fn emptied(name: &str) -> Batch {
    let mut batch = Batch::default();
    batch.quiet(BATCH_BEGIN, &header_of_batch());
    // Deleting what is not there is an error, so it is made first.
    table(&mut batch, (name, "make the table"), NEW_TABLE, CREATE);
    table(&mut batch, (name, "empty the table"), DELETE_TABLE, 0);
    table(&mut batch, (name, "make the table"), NEW_TABLE, CREATE);
    batch
}

fn table(batch: &mut Batch, (name, step): (&str, &'static str), kind: u16, flags: u16) {
    let mut body = inet();
    body.text(1, name);
    batch.message(step, kind, flags, &body);
}

fn chain(batch: &mut Batch, (table, chain): (&str, &Chain), rules: &[Rule]) {
    let mut body = inet();
    body.text(1, table).text(3, chain.name);
    body.nested(4, |place| {
        place.number(1, chain.hook).attribute(2, &chain.priority.to_be_bytes());
    });
    body.text(7, chain.kind);
    batch.message("make a chain of rules", NEW_CHAIN, CREATE, &body);
    for found in rules {
        rule(batch, (table, chain.name), found);
    }
}

fn rule(batch: &mut Batch, (table, chain): (&str, &str), rule: &Rule) {
    let mut body = inet();
    body.text(1, table).text(2, chain);
    body.nested(4, |list| rule.write(list));
    batch.message("add a rule", NEW_RULE, CREATE | APPEND, &body);
}

#[cfg(test)]
mod tests;

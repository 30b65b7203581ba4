//! Who is connected, what each has acknowledged and refused: the state that status is written from, and a
//! stream of reports for logs. Nothing here influences what is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::key::{Key, TypeUrl, Version};
use crate::session::server::{Event, NodeScope};

/// Reports that a slow reader may lag behind before it loses the oldest. The state loses nothing.
const REPORTS: usize = 1024;

/// One stream, unique in the life of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// A version that a proxy refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The refused version.
    pub version: Version,
    /// The proxy's words, one line.
    pub reason: String,
}

/// What is known of one connected proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyState {
    /// Who it is.
    pub node: NodeScope,
    /// It has answered everything up to this snapshot of the cache.
    pub synced: u64,
    /// What it refuses at present.
    pub refused: BTreeMap<Key, Refusal>,
    /// The type of a response that it has left unanswered for too long.
    pub unanswered: Option<TypeUrl>,
}

/// How far the fleet is with one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many proxies have answered the asked snapshot and do not refuse the resource.
    pub applied: usize,
    /// Proxies that have not answered yet, and are not late.
    pub pending: Vec<NodeScope>,
    /// Proxies that refuse the resource.
    pub refused: Vec<(NodeScope, Refusal)>,
    /// Proxies that have not answered in time.
    pub unanswered: Vec<NodeScope>,
}

/// How far a group of proxies is with a snapshot of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Those that are connected.
    pub connected: usize,
    /// Those that have answered everything up to the snapshot.
    pub answered: usize,
    /// Those that refuse something at present.
    pub refusing: usize,
    /// Those that have not answered in time.
    pub silent: usize,
}

impl Reach {
    /// Whether every connected proxy, and at least one, holds the snapshot. One that does not answer in time does
    /// not count: it would hold up the others for ever.
    pub fn is_complete(&self) -> bool {
        let heard = self.connected - self.silent;
        heard > 0 && self.answered == heard && self.refusing == 0
    }
}

/// Something that happened on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which stream.
    pub stream: StreamId,
    /// Who is at its other end.
    pub node: NodeScope,
    /// What happened.
    pub kind: ReportKind,
}

/// What happened on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportKind {
    /// The stream ended, for this reason.
    Closed(String),
    /// The node has introduced itself.
    Connected,
    /// The session reports.
    Session(Event),
}

/// The state of all connected proxies. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    reports: broadcast::Sender<Arc<Report>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    proxies: BTreeMap<StreamId, ProxyState>,
}

impl Default for Fleet {
    fn default() -> Self {
        let (revision, reports) = (watch::Sender::new(0), broadcast::Sender::new(REPORTS));
        Self(Arc::new(Shared { state: Mutex::default(), revision, reports }))
    }
}

impl Fleet {
    /// Every connected proxy.
    pub fn proxies(&self) -> BTreeMap<StreamId, ProxyState> {
        self.state().proxies.clone()
    }

    /// How far the fleet is with a resource that changed at this snapshot of the cache.
    pub fn progress(&self, key: &Key, sequence: u64) -> Progress {
        let mut progress = Progress::default();
        for proxy in self.state().proxies.values() {
            let node = || proxy.node.clone();
            match proxy.refused.get(key) {
                Some(refusal) => progress.refused.push((node(), refusal.clone())),
                None if proxy.synced >= sequence => progress.applied += 1,
                None if proxy.unanswered.is_some() => progress.unanswered.push(node()),
                None => progress.pending.push(node()),
            }
        }
        progress
    }

    /// Every connected proxy that refuses something or does not answer.
    pub fn complaints(&self) -> Vec<ProxyState> {
        let complains = |proxy: &&ProxyState| !proxy.refused.is_empty() || proxy.unanswered.is_some();
        self.state().proxies.values().filter(complains).cloned().collect()
    }

    /// How far some of the proxies, such as those of one gateway, are with everything up to a snapshot of the cache.
    pub fn reach(&self, sequence: u64, of: impl Fn(&NodeScope) -> bool) -> Reach {
        let mut reach = Reach::default();
        for proxy in self.state().proxies.values().filter(|proxy| of(&proxy.node)) {
            reach.connected += 1;
            reach.answered += usize::from(proxy.synced >= sequence);
            reach.refusing += usize::from(!proxy.refused.is_empty());
            reach.silent += usize::from(proxy.synced < sequence && proxy.unanswered.is_some());
        }
        reach
    }

    /// A number that rises with every change of the state.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// What happens from now on. A reader that lags too far behind loses reports, never state.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Report>> {
        self.0.reports.subscribe()
    }

    pub(super) fn join(&self, node: &NodeScope) -> Member {
        let mut state = self.state();
        let stream = StreamId(state.next);
        state.next += 1;
        state.proxies.insert(stream, ProxyState { node: node.clone(), ..ProxyState::default() });
        Member { fleet: self.clone(), stream }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place in the fleet, given up when dropped.
#[derive(Debug)]
pub(super) struct Member {
    fleet: Fleet,
    stream: StreamId,
}

impl Member {
    pub(super) fn introduce(&self, node: &NodeScope) {
        self.edit(|proxy| proxy.node = node.clone());
        self.report(ReportKind::Connected);
    }

    pub(super) fn note(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.edit(|proxy| events.iter().for_each(|event| proxy.note(event)));
        events.into_iter().for_each(|event| self.report(ReportKind::Session(event)));
    }

    pub(super) fn leave(&self, reason: String) {
        self.report(ReportKind::Closed(reason));
    }

    fn edit(&self, edit: impl FnOnce(&mut ProxyState)) {
        self.fleet.state().proxies.entry(self.stream).and_modify(edit);
        self.fleet.0.revision.send_modify(|revision| *revision += 1);
    }

    fn report(&self, kind: ReportKind) {
        if self.fleet.0.reports.receiver_count() == 0 {
            return;
        }
        let node = self.fleet.state().proxies.get(&self.stream).map(|p| p.node.clone());
        let report = Report { stream: self.stream, node: node.unwrap_or_default(), kind };
        _ = self.fleet.0.reports.send(Arc::new(report)); // fails only when the last reader has just gone
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.fleet.state().proxies.remove(&self.stream);
        self.fleet.0.revision.send_modify(|revision| *revision += 1);
    }
}

impl ProxyState {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Acked { type_url, resources, removed } => {
                self.unanswered = None;
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                if !self.refused.is_empty() {
                    let key = |name: &Arc<str>| Key { type_url: type_url.clone(), name: name.clone() };
                    names.for_each(|name| _ = self.refused.remove(&key(name)));
                }
            }
            Event::Nacked { key, version, reason } => {
                let refusal = Refusal { version: version.clone(), reason: reason.clone() };
                self.unanswered = None;
                self.refused.insert(key.clone(), refusal);
            }
            Event::Synced { sequence } => self.synced = *sequence,
            Event::Unanswered { type_url } => self.unanswered = Some(type_url.clone()),
            Event::NackedResponse { .. } => self.unanswered = None,
            Event::UnknownType { .. } => {}
        }
    }
}

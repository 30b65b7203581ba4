//! The server's side of one delta stream: requests and snapshots in, responses and events out. No IO, no
//! clock: time is a parameter.
//!
//! At most one response waits for its answer. Changes are never queued: the session remembers up to which
//! snapshot it has told the client, and plans the next *round* from the difference to the latest one. A round
//! sends additions in the order of the types and removals in reverse, so that nothing a client holds refers
//! to something it does not hold.

mod push;
mod round;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::SpiffeId;

use self::push::Push;
use self::round::Round;
use self::subscription::Subscription;
use crate::cache::Snapshot;
use crate::key::{Key, TypeUrl, Types, Version};
use crate::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status};
use crate::session::rejection;

/// The most names one stream may subscribe to.
pub const MAX_NAMES: usize = 200_000;
/// The longest resource name, in bytes.
pub const MAX_NAME: usize = 4096;

/// Ends `system_version_info` when more responses of the same snapshot follow.
pub(crate) const MORE: &str = "+";

/// Who is at the other end of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeScope {
    /// The verified identity of the connection.
    pub identity: Option<SpiffeId>,
    /// `Node.id`, as claimed.
    pub id: String,
    /// `Node.cluster`, as claimed.
    pub cluster: String,
    /// `Node.metadata.features`.
    pub features: BTreeSet<String>,
}

/// Decides whether a subscriber may have a resource at all.
#[derive(Clone)]
pub struct Scope(Arc<Allows>);

type Allows = dyn Fn(&NodeScope, &Key) -> bool + Send + Sync;

impl Scope {
    /// A scope from a predicate, which must give the same answer for the life of a stream.
    pub fn new(allows: impl Fn(&NodeScope, &Key) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    fn allows(&self, node: &NodeScope, key: &Key) -> bool {
        (self.0)(node, key)
    }
}

impl Default for Scope {
    /// Every subscriber may have everything.
    fn default() -> Self {
        Self::new(|_, _| true)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}

/// Limits in time and size of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A response without an answer for this long is reported.
    pub report_after: Duration,
    /// After this long the content of an unanswered response is sent again under a new nonce; doubled for
    /// every further attempt, up to sixteen times.
    pub resend_after: Duration,
    /// A response carries at most this many payload bytes, or one resource.
    pub response_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            report_after: Duration::from_secs(5),
            resend_after: Duration::from_secs(20),
            response_bytes: 1 << 20,
        }
    }
}

/// What happened on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client applied these.
    Acked {
        /// Their type.
        type_url: TypeUrl,
        /// Names and versions it now holds.
        resources: Vec<(Arc<str>, Version)>,
        /// Names it has dropped.
        removed: Vec<Arc<str>>,
    },
    /// The client refused this version of this resource and keeps what it had.
    Nacked {
        /// Which resource.
        key: Key,
        /// Which version of it.
        version: Version,
        /// The client's words, one line.
        reason: String,
    },
    /// The client refused a response without saying which resource of it is wrong, and there was none in it.
    NackedResponse {
        /// The type of the response.
        type_url: TypeUrl,
        /// The client's words, one line.
        reason: String,
    },
    /// The client has answered everything up to this snapshot.
    Synced {
        /// The number of the snapshot.
        sequence: u64,
    },
    /// The client has not answered a response within [`Limits::report_after`].
    Unanswered {
        /// The type of the response.
        type_url: TypeUrl,
    },
    /// The client asked for a type this server does not have.
    UnknownType {
        /// The type URL, shortened.
        type_url: String,
    },
}

/// Why a stream must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A resource name is longer than [`MAX_NAME`].
    #[error("a resource name has {0} bytes; {MAX_NAME} are allowed")]
    NameTooLong(usize),
    /// The node names itself at greater length than [`MAX_NAME`].
    #[error("the node's name has {0} bytes; {MAX_NAME} are allowed")]
    NodeTooLong(usize),
    /// The stream subscribes to more than [`MAX_NAMES`] names, or claims to hold more.
    #[error("more than {MAX_NAMES} names are subscribed or held")]
    TooManyNames,
}

/// One delta stream as the server sees it.
#[derive(Debug)]
pub struct ServerSession {
    types: Types,
    scope: Scope,
    limits: Limits,
    node: NodeScope,
    subscriptions: BTreeMap<usize, Subscription>,
    awaited: usize,
    /// How many resources the client said it holds when it came.
    claimed: usize,
    latest: Snapshot,
    planned: u64,
    round: Round,
    outstanding: Option<Push>,
    nonce: u64,
    unanswered: u32,
    events: Vec<Event>,
}

impl ServerSession {
    /// A session for a new stream of a peer.
    pub fn new(types: Types, scope: Scope, limits: Limits, identity: Option<SpiffeId>) -> Self {
        Self {
            types,
            scope,
            limits,
            node: NodeScope { identity, ..NodeScope::default() },
            subscriptions: BTreeMap::new(),
            awaited: 0,
            claimed: 0,
            latest: Snapshot::default(),
            planned: 0,
            round: Round::default(),
            outstanding: None,
            nonce: 0,
            unanswered: 0,
            events: Vec::new(),
        }
    }

    /// Who the subscriber is.
    pub fn node(&self) -> &NodeScope {
        &self.node
    }

    /// Takes the latest snapshot; what changed since the last one is found when a response is due.
    pub fn changed(&mut self, snapshot: Snapshot) {
        self.latest = snapshot;
    }

    /// Takes a request: subscriptions, and the answer to the outstanding response if the nonce is its.
    ///
    /// # Errors
    /// When the request breaks a limit; the stream must then be closed.
    pub fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
        let DeltaDiscoveryRequest { node, type_url, error_detail, response_nonce, .. } = &request;
        if let Some(node) = node {
            self.introduce(node)?;
        }
        let Some(rank) = self.types.rank(type_url) else {
            self.awaited = self.awaited.saturating_sub(1);
            let shown = &type_url[..type_url.floor_char_boundary(256)];
            self.events.push(Event::UnknownType { type_url: shown.to_owned() });
            return Ok(());
        };
        let waits = |push: &Push| push.rank == rank && push.nonce == *response_nonce;
        if self.outstanding.as_ref().is_some_and(waits) {
            self.answered(error_detail.as_ref());
        }
        self.subscribe(rank, request)
    }

    /// The next response, if one is due. Call it whenever the transport can take a message.
    pub fn next_response(&mut self, now: Instant) -> Option<DeltaDiscoveryResponse> {
        if !self.has_work() {
            return None;
        }
        if self.round.is_empty() {
            self.plan();
        }
        let push = push::next(&mut self.round, &self.subscriptions, self.limits.response_bytes)?;
        self.nonce += 1;
        let more = if self.round.is_empty() { "" } else { MORE };
        let stamp = push::Stamp { nonce: self.nonce, version: format!("{}{more}", self.planned), now };
        let (push, response) = push.into_response(&self.types, stamp);
        self.outstanding = Some(push);
        Some(response)
    }

    /// Whether [`ServerSession::next_response`] has something to do.
    pub fn has_work(&self) -> bool {
        self.outstanding.is_none() && (!self.round.is_empty() || self.round_is_due())
    }

    /// When [`ServerSession::expire`] must be called, if nothing else happens.
    pub fn deadline(&self) -> Option<Instant> {
        let push = self.outstanding.as_ref()?;
        Some(push.sent + if push.reported { self.resend_after() } else { self.limits.report_after })
    }

    /// Acts on a passed deadline: reports an unanswered response, and later gives it up so that its content
    /// is sent again under a new nonce.
    pub fn expire(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let Some(push) = self.outstanding.as_mut() else { return };
        if !push.reported {
            push.reported = true;
            self.events.push(Event::Unanswered { type_url: self.types.at(push.rank).clone() });
            return;
        }
        let Some(push) = self.outstanding.take() else { return };
        self.unanswered += 1;
        if let Some(subscription) = self.subscriptions.get_mut(&push.rank) {
            subscription.doubt(push.names());
            subscription.greet_again();
        }
        self.round.abandon(&mut self.subscriptions);
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn resend_after(&self) -> Duration {
        self.limits.resend_after * (1 << self.unanswered.min(4))
    }

    fn introduce(&mut self, node: &Node) -> Result<(), ProtocolError> {
        if !self.subscriptions.is_empty() {
            return Ok(()); // the first request of a stream says who speaks; scope and features stay as they were
        }
        let longest = node.id.len().max(node.cluster.len());
        if longest > MAX_NAME {
            return Err(ProtocolError::NodeTooLong(longest));
        }
        self.node.id = node.id.clone();
        self.node.cluster = node.cluster.clone();
        self.node.features = node.features();
        self.awaited = node.announced();
        Ok(())
    }

    fn subscribe(&mut self, rank: usize, request: DeltaDiscoveryRequest) -> Result<(), ProtocolError> {
        let names = [&request.resource_names_subscribe, &request.resource_names_unsubscribe];
        let initial = request.initial_resource_versions.keys();
        let longest = names.into_iter().flatten().chain(initial).map(String::len).max();
        if let Some(length) = longest.filter(|length| *length > MAX_NAME) {
            return Err(ProtocolError::NameTooLong(length));
        }
        self.claimed = self.claimed.saturating_add(request.initial_resource_versions.len());
        if self.claimed > MAX_NAMES {
            return Err(ProtocolError::TooManyNames);
        }
        match self.subscriptions.get_mut(&rank) {
            Some(subscription) => subscription.edit(&request),
            None => {
                self.subscriptions.insert(rank, Subscription::first(&request));
                self.awaited = self.awaited.saturating_sub(1);
            }
        }
        let total: usize = self.subscriptions.values().map(Subscription::named).sum();
        if total > MAX_NAMES { Err(ProtocolError::TooManyNames) } else { Ok(()) }
    }

    fn answered(&mut self, error: Option<&Status>) {
        let Some(push) = self.outstanding.take() else { return };
        self.unanswered = 0;
        let Some(subscription) = self.subscriptions.get_mut(&push.rank) else { return };
        let type_url = self.types.at(push.rank);
        let outcome = push.answered(error);
        if let Some(error) = error.filter(|_| outcome.refused.is_empty()) {
            let reason = rejection::one_line(&error.message);
            self.events.push(Event::NackedResponse { type_url: type_url.clone(), reason });
        }
        for (name, version, reason) in outcome.refused {
            subscription.refused(&name, &version);
            let key = Key { type_url: type_url.clone(), name };
            self.events.push(Event::Nacked { key, version, reason });
        }
        outcome.applied.iter().for_each(|(name, version)| subscription.applied(name, version));
        outcome.removed.iter().for_each(|name| subscription.dropped(name));
        let (resources, removed) = (outcome.applied, outcome.removed);
        self.events.push(Event::Acked { type_url: type_url.clone(), resources, removed });
        if self.round.is_empty() {
            self.events.push(Event::Synced { sequence: self.planned });
        }
    }

    fn round_is_due(&self) -> bool {
        let opening = self.subscriptions.is_empty() || self.awaited > 0;
        let behind = self.planned != self.latest.sequence();
        let asked = || self.subscriptions.values().any(Subscription::wants_check);
        self.latest.is_synced() && !opening && (behind || asked())
    }

    /// Starts a round: the difference between what the client has been told and the latest snapshot.
    fn plan(&mut self) {
        let view =
            round::View { types: &self.types, scope: &self.scope, node: &self.node, snapshot: &self.latest };
        self.round = round::plan(&view, &mut self.subscriptions, self.planned);
        self.planned = self.latest.sequence();
        if self.round.is_empty() {
            self.events.push(Event::Synced { sequence: self.planned });
        }
    }
}

#[cfg(test)]
mod tests;

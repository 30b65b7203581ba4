//! One response on its way: cut from a round, remembered until it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::round::Round;
use super::subscription::Subscription;
use crate::cache::Encoded;
use crate::key::{Types, Version};
use crate::proto::{Any, DeltaDiscoveryResponse, Resource, Status};
use crate::session::rejection;

/// At most this many removed names travel in one response.
const MAX_REMOVED: usize = 10_000;

/// A piece of a round, to be sent as one response.
#[derive(Debug, Default)]
pub(super) struct Piece {
    rank: usize,
    updates: Vec<(Arc<str>, Encoded)>,
    removals: Vec<Arc<str>>,
}

/// What is written on a response.
pub(super) struct Stamp {
    pub(super) nonce: u64,
    /// For `system_version_info`.
    pub(super) version: String,
    pub(super) now: Instant,
}

/// A response that waits for its answer.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) rank: usize,
    pub(super) nonce: String,
    pub(super) sent: Instant,
    pub(super) reported: bool,
    resources: Vec<(Arc<str>, Version)>,
    removed: Vec<Arc<str>>,
}

/// What a client did with a response.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) applied: Vec<(Arc<str>, Version)>,
    pub(super) refused: Vec<(Arc<str>, Version, String)>,
    pub(super) removed: Vec<Arc<str>>,
}

/// Cuts the next piece from a round: updates in rising rank, then removals in falling rank. What is no longer
/// subscribed is left out. `None` when nothing remains.
pub(super) fn next(
    round: &mut Round,
    subscriptions: &BTreeMap<usize, Subscription>,
    budget: usize,
) -> Option<Piece> {
    if let Some(piece) = next_updates(round, subscriptions, budget) {
        return Some(piece);
    }
    while let Some((rank, removals)) = next_removals(round, subscriptions) {
        if !removals.is_empty() {
            return Some(Piece { rank, removals, updates: Vec::new() });
        }
    }
    None
}

fn next_updates(
    round: &mut Round,
    subscriptions: &BTreeMap<usize, Subscription>,
    budget: usize,
) -> Option<Piece> {
    let mut queue = round.updates.first_entry()?;
    let rank = *queue.key();
    let subscription = subscriptions.get(&rank)?;
    let mut piece = Piece { rank, ..Piece::default() };
    let mut size = 0;
    while let Some((name, encoded)) = queue.get_mut().pop_front() {
        if !subscription.covers(&name) {
            continue;
        }
        size += encoded.body().len() + 2 * name.len() + 128;
        if size > budget && !piece.updates.is_empty() {
            queue.get_mut().push_front((name, encoded));
            return Some(piece);
        }
        piece.updates.push((name, encoded));
    }
    queue.remove();
    let last_removal = round.removals.last_key_value().map(|(rank, _)| *rank);
    if round.updates.is_empty() && last_removal == Some(rank) {
        piece.removals = next_removals(round, subscriptions).map(|(_, names)| names).unwrap_or_default();
    }
    Some(piece)
}

fn next_removals(
    round: &mut Round,
    subscriptions: &BTreeMap<usize, Subscription>,
) -> Option<(usize, Vec<Arc<str>>)> {
    let mut queue = round.removals.last_entry()?;
    let rank = *queue.key();
    let rest = queue.get().len().saturating_sub(MAX_REMOVED);
    let mut names = queue.get_mut().split_off(rest);
    if queue.get().is_empty() {
        queue.remove();
    }
    names.retain(|name| subscriptions.get(&rank).is_some_and(|s| s.covers(name)));
    Some((rank, names))
}

impl Piece {
    /// The message, and what must be remembered of it.
    pub(super) fn into_response(self, types: &Types, stamp: Stamp) -> (Push, DeltaDiscoveryResponse) {
        let type_url = types.at(self.rank).as_str();
        let resource = |(name, encoded): &(Arc<str>, Encoded)| Resource {
            version: encoded.version().as_str().to_owned(),
            resource: Some(Any { type_url: type_url.to_owned(), value: encoded.body().clone() }),
            name: name.to_string(),
        };
        let response = DeltaDiscoveryResponse {
            system_version_info: stamp.version,
            resources: self.updates.iter().map(resource).collect(),
            type_url: type_url.to_owned(),
            nonce: stamp.nonce.to_string(),
            removed_resources: self.removals.iter().map(ToString::to_string).collect(),
        };
        let resources = self.updates.into_iter().map(|(name, e)| (name, e.version().clone())).collect();
        let push = Push {
            rank: self.rank,
            nonce: response.nonce.clone(),
            sent: stamp.now,
            reported: false,
            resources,
            removed: self.removals,
        };
        (push, response)
    }
}

impl Push {
    /// Every name the response was about.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.resources.iter().map(|(name, _)| name).chain(&self.removed)
    }

    /// Sorts the response's resources by what the client did. Removals cannot be refused.
    pub(super) fn answered(self, error: Option<&Status>) -> Outcome {
        let Some(error) = error else {
            return Outcome { applied: self.resources, refused: Vec::new(), removed: self.removed };
        };
        let named = rejection::from_status(error);
        let isolated = self.resources.iter().any(|(name, _)| named.contains_key(&**name));
        let mut outcome = Outcome { removed: self.removed, ..Outcome::default() };
        for (name, version) in self.resources {
            match named.get(&*name) {
                Some(reason) => outcome.refused.push((name, version, reason.clone())),
                None if isolated => outcome.applied.push((name, version)),
                None => outcome.refused.push((name, version, rejection::one_line(&error.message))),
            }
        }
        outcome
    }
}

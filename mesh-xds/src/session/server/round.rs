//! Planning of a round: what a client must be told to reach one snapshot. Building messages lives in `push`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::subscription::{Check, Need, Subscription};
use super::{NodeScope, Scope};
use crate::cache::{Encoded, Snapshot};
use crate::key::{Key, TypeUrl, Types};

/// What remains to be sent of a round, by rank of the type.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Additions and replacements, sent in rising rank.
    pub(super) updates: BTreeMap<usize, VecDeque<(Arc<str>, Encoded)>>,
    /// Removals, sent in falling rank after all updates.
    pub(super) removals: BTreeMap<usize, Vec<Arc<str>>>,
}

impl Round {
    /// Whether nothing remains.
    pub(super) fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.removals.is_empty()
    }

    /// Gives the rest up: what it was about is compared again at the next round.
    pub(super) fn abandon(&mut self, subscriptions: &mut BTreeMap<usize, Subscription>) {
        let round = std::mem::take(self);
        for (rank, updates) in &round.updates {
            let names = updates.iter().map(|(name, _)| name);
            subscriptions.entry(*rank).and_modify(|s| {
                s.recheck(names);
                s.greet_again();
            });
        }
        for (rank, names) in &round.removals {
            subscriptions.entry(*rank).and_modify(|s| s.recheck(names));
        }
    }
}

/// What a subscriber may see.
pub(super) struct View<'a> {
    pub(super) types: &'a Types,
    pub(super) scope: &'a Scope,
    pub(super) node: &'a NodeScope,
    pub(super) snapshot: &'a Snapshot,
}

impl View<'_> {
    fn wanted(&self, type_url: &TypeUrl, name: &Arc<str>) -> Option<Encoded> {
        let entry = self.snapshot.lookup(type_url, name)?;
        let key = Key { type_url: type_url.clone(), name: name.clone() };
        let allowed = entry.admits(self.node.identity.as_ref()) && self.scope.allows(self.node, &key);
        allowed.then(|| entry.for_features(&self.node.features).clone())
    }
}

/// Compares what every subscription's client holds with the snapshot. `planned` is the snapshot up to which
/// changes are already planned.
pub(super) fn plan(
    view: &View<'_>,
    subscriptions: &mut BTreeMap<usize, Subscription>,
    planned: u64,
) -> Round {
    let mut changed: BTreeMap<usize, BTreeSet<Arc<str>>> = BTreeMap::new();
    let recent = view.snapshot.changed_since(planned);
    let forgotten = recent.is_none();
    for key in recent.into_iter().flatten() {
        if let Some(rank) = view.types.rank(key.type_url.as_str()) {
            changed.entry(rank).or_default().insert(key.name.clone());
        }
    }
    let mut round = Round::default();
    for (&rank, subscription) in subscriptions {
        let (check, first) = subscription.take_check();
        let names = match check {
            Check::Names(mut names) if !forgotten => {
                names.append(changed.entry(rank).or_default());
                names
            }
            _ => every_name(view, subscription, rank),
        };
        if first {
            round.updates.entry(rank).or_default();
        }
        compare(view, subscription, rank, names, &mut round);
    }
    round
}

fn every_name(view: &View<'_>, subscription: &Subscription, rank: usize) -> BTreeSet<Arc<str>> {
    let offered = view.snapshot.iter(view.types.at(rank)).map(|(name, _)| name);
    offered.filter(|name| subscription.covers(name)).chain(subscription.known_names()).cloned().collect()
}

fn compare(
    view: &View<'_>,
    subscription: &mut Subscription,
    rank: usize,
    names: BTreeSet<Arc<str>>,
    round: &mut Round,
) {
    for name in names {
        let wanted = view.wanted(view.types.at(rank), &name);
        match (subscription.need(&name, wanted.as_ref().map(Encoded::version)), wanted) {
            (Need::Update, Some(wanted)) => round.updates.entry(rank).or_default().push_back((name, wanted)),
            (Need::Removal, _) => round.removals.entry(rank).or_default().push(name),
            _ => {}
        }
    }
}

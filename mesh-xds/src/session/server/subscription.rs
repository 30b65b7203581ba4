//! What one stream has subscribed to of one type, and what its client is known to hold. Decides nothing about
//! order or messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::key::Version;
use crate::proto::DeltaDiscoveryRequest;

/// The name that stands for all resources of a type.
pub(crate) const WILDCARD: &str = "*";

/// What the client holds under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    /// It knows that there is nothing.
    Absent,
    /// It holds this version.
    At(Version),
    /// It must be told, whatever it holds.
    Unknown,
}

#[derive(Debug, Clone)]
struct Known {
    held: Held,
    refused: Option<Version>,
}

impl Known {
    fn unknown() -> Self {
        Self { held: Held::Unknown, refused: None }
    }
}

/// What a client must be told about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// The resource is gone.
    Removal,
    /// The resource's current version.
    Update,
}

/// Which names must be compared at the next round, besides those that changed in the cache.
#[derive(Debug)]
pub(super) enum Check {
    /// All of the type.
    All,
    /// These.
    Names(BTreeSet<Arc<str>>),
}

/// One type's subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    known: BTreeMap<Arc<str>, Known>,
    check: Check,
    greeted: bool,
}

impl Subscription {
    /// The first request of a type on a stream: without names it is a wildcard, and it may say what the client
    /// already holds.
    pub(super) fn first(request: &DeltaDiscoveryRequest) -> Self {
        let mut subscription = Self {
            wildcard: request.resource_names_subscribe.is_empty(),
            names: BTreeSet::new(),
            known: BTreeMap::new(),
            check: Check::All,
            greeted: false,
        };
        subscription.edit(request);
        for (name, version) in &request.initial_resource_versions {
            let held = Known { held: Held::At(version.as_str().into()), refused: None };
            if subscription.covers(name) {
                subscription.known.insert(Arc::from(name.as_str()), held);
            }
        }
        subscription
    }

    /// A further request of the type.
    pub(super) fn edit(&mut self, request: &DeltaDiscoveryRequest) {
        request.resource_names_unsubscribe.iter().for_each(|name| self.remove(name));
        request.resource_names_subscribe.iter().for_each(|name| self.add(name));
    }

    fn add(&mut self, name: &str) {
        if name == WILDCARD {
            self.check = Check::All;
            self.wildcard = true;
            return;
        }
        let name: Arc<str> = Arc::from(name);
        self.names.insert(name.clone());
        self.doubt([&name]); // the client may have dropped it: it is told even if it is thought to hold it
    }

    fn remove(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.known.retain(|name, _| self.names.contains(name));
        } else if self.names.remove(name) && self.wildcard {
            self.doubt([&Arc::from(name)]); // it may still be covered by the wildcard
        } else if !self.wildcard {
            self.known.remove(name);
        }
    }

    /// A response may not have arrived: the next round has one for this type, even if it is empty, because the
    /// client may wait for the first.
    pub(super) fn greet_again(&mut self) {
        self.greeted = false;
    }

    /// These names must be compared again.
    pub(super) fn recheck<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        if let Check::Names(check) = &mut self.check {
            check.extend(names.into_iter().cloned());
        }
    }

    /// These names must be told again.
    pub(super) fn doubt<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        for name in names {
            self.known.entry(name.clone()).or_insert_with(Known::unknown).held = Held::Unknown;
            self.recheck([name]);
        }
    }

    /// Whether the client is subscribed to the name.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// How many names are subscribed one by one.
    pub(super) fn named(&self) -> usize {
        self.names.len()
    }

    /// Whether a round is due even if the cache did not change.
    pub(super) fn wants_check(&self) -> bool {
        !self.greeted || !matches!(&self.check, Check::Names(names) if names.is_empty())
    }

    /// Takes the names to compare, and whether this is the type's first round, which is always answered.
    pub(super) fn take_check(&mut self) -> (Check, bool) {
        let first = !std::mem::replace(&mut self.greeted, true);
        (std::mem::replace(&mut self.check, Check::Names(BTreeSet::new())), first)
    }

    /// Every name the client may hold or waits for.
    pub(super) fn known_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.keys()
    }

    /// What the client must be told, given the version it should have.
    pub(super) fn need(&mut self, name: &str, wanted: Option<&Version>) -> Need {
        let need = self.compared(name, wanted);
        if need == Need::Nothing && wanted.is_none() && !self.names.contains(name) {
            self.known.remove(name);
        }
        need
    }

    fn compared(&self, name: &str, wanted: Option<&Version>) -> Need {
        if !self.covers(name) {
            return Need::Nothing;
        }
        let known = self.known.get(name);
        let held = known.map_or(&Held::Absent, |known| &known.held);
        let refused = known.and_then(|known| known.refused.as_ref());
        match (wanted, held) {
            (Some(wanted), _) if refused == Some(wanted) => Need::Nothing,
            // Who refused a version is told when that version is history, even if it holds the right one.
            (Some(wanted), Held::At(held)) if wanted == held && refused.is_none() => Need::Nothing,
            (None, Held::Absent) if refused.is_none() => Need::Nothing,
            (Some(_), _) => Need::Update,
            (None, _) => Need::Removal,
        }
    }

    /// The client applied a version.
    pub(super) fn applied(&mut self, name: &Arc<str>, version: &Version) {
        if self.covers(name) {
            let known = Known { held: Held::At(version.clone()), refused: None };
            self.known.insert(name.clone(), known);
        }
    }

    /// The client refused a version and keeps what it had.
    pub(super) fn refused(&mut self, name: &Arc<str>, version: &Version) {
        if self.covers(name) {
            let absent = || Known { held: Held::Absent, refused: None };
            self.known.entry(name.clone()).or_insert_with(absent).refused = Some(version.clone());
        }
    }

    /// The client dropped a resource.
    pub(super) fn dropped(&mut self, name: &Arc<str>) {
        if self.names.contains(name) {
            self.known.insert(name.clone(), Known { held: Held::Absent, refused: None });
        } else {
            self.known.remove(name);
        }
    }
}

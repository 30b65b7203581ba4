//! Which objects were touched lately, so that who follows the controller need not look at all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::objects::ObjectKind;
use crate::store::ObjectKey;

/// As many updates and as many names are remembered; who is further behind looks at everything.
const MOST: (usize, usize) = (1024, 8192);

/// What updates touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Objects that are new, changed or gone, or whose status is to be another one.
    pub keys: BTreeSet<ObjectKey>,
    /// Whether some listener that proxies are told of came, changed or went.
    pub listeners: bool,
    /// Whether some workload came, changed or went.
    pub workloads: bool,
}

impl Batch {
    /// Whether an object of one of these kinds was touched.
    pub fn has(&self, kinds: &[ObjectKind]) -> bool {
        self.keys.iter().any(|key| kinds.contains(&key.kind))
    }
}

/// The last updates, bounded. A copy shares everything.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    revision: u64,
    batches: RedBlackTreeMapSync<u64, Arc<Batch>>,
    names: usize,
}

impl Touched {
    /// Counts updates.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What was touched after a revision; `None` when that is too long ago to tell.
    pub fn since(&self, revision: u64) -> Option<Batch> {
        let mut all = Batch::default();
        let mut next = revision + 1;
        for (number, batch) in self.batches.range(next..) {
            if *number != next {
                return None;
            }
            next += 1;
            all.keys.extend(batch.keys.iter().cloned());
            all.listeners |= batch.listeners;
            all.workloads |= batch.workloads;
        }
        (next == self.revision + 1).then_some(all)
    }

    pub(super) fn note(&mut self, batch: Batch) {
        self.revision += 1;
        self.names += batch.keys.len();
        self.batches.insert_mut(self.revision, Arc::new(batch));
        while self.batches.size() > MOST.0 || self.names > MOST.1 {
            let Some((first, batch)) = self.batches.first().map(|(first, batch)| (*first, Arc::clone(batch)))
            else {
                break;
            };
            self.names -= batch.keys.len();
            self.batches.remove_mut(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::ObjectName;

    use super::*;

    fn batch(names: impl IntoIterator<Item = usize>) -> Batch {
        let key = |n: usize| ObjectKey::new(ObjectKind::HttpRoute, ObjectName::new("shop", n.to_string()));
        Batch { keys: names.into_iter().map(key).collect(), ..Batch::default() }
    }

    #[test]
    fn what_was_touched_is_told_once_for_all_updates_since() {
        let mut touched = Touched::default();
        touched.note(batch([1, 2]));
        touched.note(Batch { listeners: true, ..batch([2, 3]) });
        assert_eq!(touched.since(0), Some(Batch { listeners: true, ..batch([1, 2, 3]) }));
        assert_eq!(touched.since(1), Some(Batch { listeners: true, ..batch([2, 3]) }));
        assert_eq!(touched.since(2), Some(Batch::default()));
    }

    #[test]
    fn who_is_too_far_behind_is_told_so() {
        let mut touched = Touched::default();
        (0..=MOST.0).for_each(|n| touched.note(batch([n])));
        assert_eq!(touched.since(0), None);
        assert!(touched.since(1).is_some());
        touched.note(batch(0..=MOST.1));
        assert_eq!(touched.since(touched.revision() - 1), None);
        assert_eq!(touched.since(touched.revision()), Some(Batch::default()));
        assert_eq!((touched.names, touched.batches.size()), (0, 0));
    }
}

//! An ordered map that takes little room while it holds few: most topics have one speaker, and most look-ups one reader,
//! but some have thousands. A leaf of an ordinary tree has room for eleven whether they are there or not.

use std::collections::{BTreeMap, btree_map};

/// Most entries of the flat form.
const FLAT: usize = 8;

#[derive(Debug)]
pub(super) enum Few<K, V> {
    Flat(Vec<(K, V)>),
    Tree(BTreeMap<K, V>),
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self::Flat(Vec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    /// Puts a value in the place of any before it.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Tree(tree) => drop(tree.insert(key, value)),
            Self::Flat(flat) => match flat.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => flat[at].1 = value,
                Err(at) if flat.len() < FLAT => {
                    flat.reserve_exact(1);
                    flat.insert(at, (key, value));
                }
                Err(_) => {
                    let mut tree: BTreeMap<K, V> = std::mem::take(flat).into_iter().collect();
                    tree.insert(key, value);
                    *self = Self::Tree(tree);
                }
            },
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        match self {
            Self::Tree(tree) => drop(tree.remove(key)),
            Self::Flat(flat) => {
                if let Ok(at) = flat.binary_search_by(|(k, _)| k.cmp(key)) {
                    flat.remove(at);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Flat(flat) => flat.is_empty(),
            Self::Tree(tree) => tree.is_empty(),
        }
    }

    /// All entries by key.
    pub(super) fn iter(&self) -> Entries<'_, K, V> {
        match self {
            Self::Flat(flat) => Entries::Flat(flat.iter()),
            Self::Tree(tree) => Entries::Tree(tree.iter()),
        }
    }
}

/// The entries of a map, by key.
pub(super) enum Entries<'f, K, V> {
    Flat(std::slice::Iter<'f, (K, V)>),
    Tree(btree_map::Iter<'f, K, V>),
}

impl<'f, K, V> Iterator for Entries<'f, K, V> {
    type Item = (&'f K, &'f V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Flat(flat) => flat.next().map(|(key, value)| (key, value)),
            Self::Tree(tree) => tree.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_as_a_tree_whatever_comes_and_goes() {
        let (mut few, mut tree) = (Few::default(), BTreeMap::new());
        // A walk through residues: every number comes, some twice, some go again, past the flat form and back.
        let mut at = 1_u32;
        for turn in 0..400 {
            at = at * 37 % 101;
            if turn % 3 == 2 {
                few.remove(&at);
                tree.remove(&at);
            } else {
                few.insert(at, turn);
                tree.insert(at, turn);
            }
            assert!(few.iter().eq(tree.iter()), "after {turn}");
            assert_eq!(few.is_empty(), tree.is_empty());
        }
        tree.keys().for_each(|key| few.remove(key));
        assert!(few.is_empty());
    }
}

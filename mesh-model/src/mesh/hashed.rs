//! Persistent hash maps as the mesh uses them: with a keyed hash that is quick for short names. Their order reaches
//! no output.

/// A map whose copies share what did not change.
pub(super) type HashTrieMapSync<K, V> = rpds::HashTrieMapSync<K, V, ahash::RandomState>;

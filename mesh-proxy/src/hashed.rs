//! Hash maps of one worker: keyed, and quick for short keys.

/// A map that is looked into for each request.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

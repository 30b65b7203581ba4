//! The endpoints of one service port, put together from their chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::{Endpoint, EndpointChunk};
use crate::name::ResourceKey;

/// All endpoints of a service port. Ready ones come first in [`EndpointSet::ready`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSet {
    chunks: BTreeMap<ResourceKey, Arc<EndpointChunk>>,
    ready: Arc<[Endpoint]>,
}

impl EndpointSet {
    /// The endpoints that may get new requests, in a stable order.
    pub fn ready(&self) -> &Arc<[Endpoint]> {
        &self.ready
    }

    /// Every endpoint, in a stable order.
    pub fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.chunks.values().flat_map(|chunk| &chunk.endpoints)
    }

    /// True when no chunk is known: the service port has no endpoint resource at all.
    pub fn is_unknown(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn with(mut self, chunk: Arc<EndpointChunk>) -> Self {
        self.chunks.insert(chunk.key.clone(), chunk);
        self.refreshed()
    }

    pub(super) fn without(&self, key: &ResourceKey) -> Self {
        let mut rest = self.clone();
        rest.chunks.remove(key);
        rest.refreshed()
    }

    fn refreshed(mut self) -> Self {
        let ready: Vec<_> = self.all().filter(|endpoint| endpoint.ready).cloned().collect();
        self.ready = Arc::from(ready);
        self
    }
}

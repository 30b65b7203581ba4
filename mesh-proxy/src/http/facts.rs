//! The head of a request as authorization saw it, packed so that it can be looked at again. No IO.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_model::{Authority, RequestHead};

use super::call::Head;
use super::downstream::Downstream;

/// The head of a request, kept for later checks. It owns its bytes: a head that only
/// points into a connection's buffer would keep the buffer.
#[derive(Debug)]
pub struct Facts {
    /// The method.
    pub method: Method,
    /// Host and port.
    pub authority: Authority,
    /// The connection.
    pub downstream: Arc<Downstream>,
    /// Path and query, then each header as two lengths, name and value.
    packed: Box<[u8]>,
    path_length: usize,
    target_length: usize,
}

/// Facts in the form that decisions take.
#[derive(Debug)]
pub struct Unpacked<'f> {
    facts: &'f Facts,
    headers: HeaderMap,
}

impl Facts {
    /// Packs a head.
    pub(crate) fn new(head: &Head, downstream: &Arc<Downstream>) -> Self {
        let path = head.uri.path();
        let query = head.uri.query();
        let target_length = path.len() + query.map_or(0, |query| query.len() + 1);
        let length = |(name, value): (&HeaderName, &HeaderValue)| 4 + name.as_str().len() + value.len();
        let mut packed = Vec::with_capacity(target_length + head.headers.iter().map(length).sum::<usize>());
        packed.extend_from_slice(path.as_bytes());
        if let Some(query) = query {
            packed.push(b'?');
            packed.extend_from_slice(query.as_bytes());
        }
        for (name, value) in &head.headers {
            let name = name.as_str().as_bytes();
            // A head is smaller than 64 KiB, so that every length fits.
            packed.extend_from_slice(&(name.len() as u16).to_be_bytes());
            packed.extend_from_slice(&(value.len() as u16).to_be_bytes());
            packed.extend_from_slice(name);
            packed.extend_from_slice(value.as_bytes());
        }
        Self {
            method: head.method.clone(),
            authority: head.authority.clone(),
            downstream: Arc::clone(downstream),
            packed: packed.into_boxed_slice(),
            path_length: path.len(),
            target_length,
        }
    }

    /// The path, normalised.
    pub fn path(&self) -> &str {
        std::str::from_utf8(&self.packed[..self.path_length]).unwrap_or("/")
    }

    /// The query.
    pub fn query(&self) -> Option<&str> {
        let query = self.packed.get(self.path_length + 1..self.target_length)?;
        std::str::from_utf8(query).ok()
    }

    /// The head with its headers.
    pub fn unpack(&self) -> Unpacked<'_> {
        let mut headers = HeaderMap::new();
        let mut rest = &self.packed[self.target_length..];
        while let Some((lengths, after)) = rest.split_first_chunk::<4>() {
            let name_length = usize::from(u16::from_be_bytes([lengths[0], lengths[1]]));
            let value_length = usize::from(u16::from_be_bytes([lengths[2], lengths[3]]));
            let (name, after) = after.split_at(name_length);
            let (value, after) = after.split_at(value_length);
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
            rest = after;
        }
        Unpacked { facts: self, headers }
    }
}

impl Unpacked<'_> {
    /// The head as the engine takes it.
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.facts.method,
            authority: &self.facts.authority,
            path: self.facts.path(),
            query: self.facts.query(),
            headers: &self.headers,
        }
    }
}

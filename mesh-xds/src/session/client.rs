//! The client's side of delta streams: responses in, changes and answers out. No IO; it outlives streams, so
//! that a reconnect says what is already held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::rejection;
use super::server::{MAX_NAME, MORE};
use crate::key::{TypeUrl, Types, Version};
use crate::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource, Status};

/// The most resources of one type that a client holds.
pub const MAX_HELD: usize = 1_000_000;
const WILDCARD: &str = "*";
const NOT_FOUND: i32 = 5;

/// A resource that was refused; what was held before stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: Arc<str>,
    /// The refused version.
    pub version: Version,
    /// Why, in one line.
    pub reason: String,
}

/// What one response changes. All of it takes effect as one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<T> {
    /// The type of all the resources below.
    pub type_url: TypeUrl,
    /// New and replaced resources.
    pub set: Vec<(Arc<str>, Version, T)>,
    /// Names that are gone; each was held.
    pub removed: Vec<Arc<str>>,
    /// Resources that were refused.
    pub rejected: Vec<Rejected>,
    /// Whether this ends a step of the server; otherwise more responses of the same step follow.
    pub complete: bool,
}

/// What the client wants and holds of one type.
#[derive(Debug, Default)]
struct Interest {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    held: BTreeMap<Arc<str>, Version>,
    rejected: BTreeMap<Arc<str>, Rejected>,
    answered: bool,
}

impl Interest {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn request(&self, type_url: &TypeUrl) -> DeltaDiscoveryRequest {
        let wildcard = self.wildcard.then(|| WILDCARD.to_owned());
        let names = self.names.iter().map(ToString::to_string);
        let held = self.held.iter().filter(|(name, _)| self.covers(name));
        DeltaDiscoveryRequest {
            type_url: type_url.to_string(),
            resource_names_subscribe: wildcard.into_iter().chain(names).collect(),
            initial_resource_versions: held.map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// The client's state over all streams.
#[derive(Debug)]
pub struct ClientSession {
    types: Types,
    node: Node,
    interests: BTreeMap<usize, Interest>,
    open: bool,
    complete: bool,
}

impl ClientSession {
    /// A client that holds nothing and wants nothing yet.
    pub fn new(types: Types, node: Node) -> Self {
        Self { types, node, interests: BTreeMap::new(), open: false, complete: false }
    }

    /// Notes a resource that is held from an earlier life, such as a last-good snapshot. Call it before the
    /// first stream. Ignored when the service does not have the type.
    pub fn restore(&mut self, type_url: &TypeUrl, name: impl Into<Arc<str>>, version: Version) {
        if let Some(rank) = self.types.rank(type_url.as_str()) {
            self.interests.entry(rank).or_default().held.insert(name.into(), version);
        }
    }

    /// Wants all resources of a type. Returns what to send when a stream is open.
    pub fn subscribe_all(&mut self, type_url: &TypeUrl) -> Option<DeltaDiscoveryRequest> {
        self.edit(type_url, [WILDCARD], [])
    }

    /// Wants these resources of a type. Returns what to send when a stream is open.
    pub fn subscribe<'a>(
        &mut self,
        type_url: &TypeUrl,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<DeltaDiscoveryRequest> {
        self.edit(type_url, names, [])
    }

    /// No longer wants these names (`*` for the wildcard). Resources that nothing covers any more are dropped
    /// from what is held. Returns what to send when a stream is open.
    pub fn unsubscribe<'a>(
        &mut self,
        type_url: &TypeUrl,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<DeltaDiscoveryRequest> {
        self.edit(type_url, [], names)
    }

    fn edit<'a, 'b>(
        &mut self,
        type_url: &TypeUrl,
        add: impl IntoIterator<Item = &'a str>,
        remove: impl IntoIterator<Item = &'b str>,
    ) -> Option<DeltaDiscoveryRequest> {
        let rank = self.types.rank(type_url.as_str())?;
        let known = self.interests.contains_key(&rank);
        let interest = self.interests.entry(rank).or_default();
        let (add, remove) = (owned(add), owned(remove));
        for name in &remove {
            interest.wildcard &= name != WILDCARD;
            interest.names.remove(name.as_str());
        }
        for name in &add {
            match name.as_str() {
                WILDCARD => interest.wildcard = true,
                name => _ = interest.names.insert(Arc::from(name)),
            }
        }
        let (wildcard, names) = (interest.wildcard, &interest.names);
        interest.held.retain(|name, _| wildcard || names.contains(name));
        interest.rejected.retain(|name, _| wildcard || names.contains(name));
        if !known {
            return self.open.then(|| self.interests[&rank].request(type_url));
        }
        self.open.then(|| DeltaDiscoveryRequest {
            type_url: type_url.to_string(),
            resource_names_subscribe: add,
            resource_names_unsubscribe: remove,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// A new stream is open. Returns its first requests, one per type, in the order of the types; each says
    /// what is held, so that only differences come back.
    pub fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.open = true;
        self.complete = false;
        for interest in self.interests.values_mut() {
            interest.answered = false;
            interest.rejected.clear(); // what still exists of it is sent again on a new stream
        }
        let first = |(rank, interest): (&usize, &Interest)| interest.request(self.types.at(*rank));
        let mut requests: Vec<_> = self.interests.iter().map(first).collect();
        let mut node = self.node.clone();
        node.announce(requests.len());
        if let Some(request) = requests.first_mut() {
            request.node = Some(node);
        }
        requests
    }

    /// The stream is gone; what is held stays.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Whether everything that is wanted has been answered on this stream, to the end of the server's step.
    pub fn is_synced(&self) -> bool {
        self.open && self.complete && self.interests.values().all(|interest| interest.answered)
    }

    /// What is held of a type, with versions.
    pub fn held(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Arc<str>, &Version)> {
        let interest = self.types.rank(type_url.as_str()).and_then(|rank| self.interests.get(&rank));
        interest.into_iter().flat_map(|interest| interest.held.iter())
    }

    /// Every resource whose last version was refused, with its type.
    pub fn rejected(&self) -> impl Iterator<Item = (&TypeUrl, &Rejected)> {
        let of = |(rank, interest): (&usize, _)| (self.types.at(*rank), interest);
        self.interests.iter().map(of).flat_map(|(type_url, interest): (_, &Interest)| {
            interest.rejected.values().map(move |rejected| (type_url, rejected))
        })
    }

    /// Takes a response. `decode` turns a payload into a valid resource or says why it is none. Good resources
    /// take effect whatever happened to others in the same response. The request returned is the answer to
    /// send: an ACK, or a NACK that names what was refused.
    pub fn response<T>(
        &mut self,
        response: DeltaDiscoveryResponse,
        mut decode: impl FnMut(&TypeUrl, &str, &Bytes) -> Result<T, String>,
    ) -> (Update<T>, DeltaDiscoveryRequest) {
        let type_url = TypeUrl::from(response.type_url.as_str());
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        let complete = !response.system_version_info.ends_with(MORE);
        let (set, removed, rejected) = (Vec::new(), Vec::new(), Vec::new());
        let mut update = Update { type_url, set, removed, rejected, complete };
        let rank = self.types.rank(update.type_url.as_str());
        let Some(interest) = rank.and_then(|rank| self.interests.get_mut(&rank)) else {
            let message = "this type is not subscribed".to_owned();
            answer.error_detail = Some(Status { code: NOT_FOUND, message, details: Vec::new() });
            return (update, answer);
        };
        self.complete = complete;
        interest.answered = true;
        interest.replace(&response.resources, &response.removed_resources, &mut update, &mut decode);
        if !update.rejected.is_empty() {
            let reasons = update.rejected.iter().map(|r| (r.name.to_string(), r.reason.clone()));
            answer.error_detail = Some(rejection::to_status(&reasons.collect()));
        }
        (update, answer)
    }
}

impl Interest {
    fn replace<T>(
        &mut self,
        resources: &[Resource],
        removed: &[String],
        update: &mut Update<T>,
        decode: &mut impl FnMut(&TypeUrl, &str, &Bytes) -> Result<T, String>,
    ) {
        let gone: BTreeSet<&str> = removed.iter().map(String::as_str).collect();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        resources.iter().for_each(|r| *count.entry(&r.name).or_default() += 1);
        for resource in resources {
            if !self.covers(&resource.name) {
                continue; // sent before the server saw the unsubscription
            }
            let twice = count[&*resource.name] > 1 || gone.contains(&*resource.name);
            let decoded = checked(&update.type_url, resource, twice)
                .and_then(|body| decode(&update.type_url, &resource.name, body));
            self.take(resource, decoded, update);
        }
        for name in gone.into_iter().filter(|name| !count.contains_key(name)) {
            self.rejected.remove(name);
            if let Some((name, _)) = self.held.remove_entry(name) {
                update.removed.push(name);
            }
        }
    }

    fn take<T>(&mut self, resource: &Resource, decoded: Result<T, String>, update: &mut Update<T>) {
        let name: Arc<str> = Arc::from(resource.name.as_str());
        let version = Version::from(resource.version.as_str());
        let full = self.held.len() >= MAX_HELD && !self.held.contains_key(&name);
        let decoded = if full { Err("too many resources are held".to_owned()) } else { decoded };
        match decoded {
            Ok(item) => {
                self.rejected.remove(&name);
                self.held.insert(name.clone(), version.clone());
                update.set.push((name, version, item));
            }
            Err(reason) => {
                let reason = rejection::one_line(&reason);
                let rejected = Rejected { name: name.clone(), version, reason };
                update.rejected.push(rejected.clone());
                self.rejected.insert(name, rejected);
            }
        }
    }
}

fn owned<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn checked<'a>(type_url: &TypeUrl, resource: &'a Resource, twice: bool) -> Result<&'a Bytes, String> {
    if twice {
        return Err("the name appears twice in one response".to_owned());
    }
    if resource.name.len() > MAX_NAME {
        return Err(format!("the name has {} bytes; {MAX_NAME} are allowed", resource.name.len()));
    }
    let any = resource.resource.as_ref().ok_or_else(|| "the resource has no payload".to_owned())?;
    if any.type_url != type_url.as_str() {
        return Err(format!("the payload is a {:?}", any.type_url));
    }
    Ok(&any.value)
}

#[cfg(test)]
mod tests;

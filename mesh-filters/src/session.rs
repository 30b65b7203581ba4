//! Session persistence (GEP-1619): the value by which a client finds again the endpoint that served it, in a cookie or
//! a header.
//!
//! The value holds a token for each backend that the client met, the newest first. A token names an endpoint of one
//! backend and the moment at which the session began; it is sealed by a key of the route or service, so that nobody
//! without the key can make one, and it does not tell the endpoint's address. It leads only to endpoints that are ready
//! now: sessions never change which backend is chosen.

mod carrier;
mod token;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use mesh_model::{Endpoint, ObjectName, Session, SessionKey};

use token::{EndpointId, Sealed, Sealing};

/// Backends of which the endpoints' names are remembered before all are dropped; they are only made again then.
const MOST: usize = 4096;

/// One request to a backend, as far as sessions see it.
#[derive(Debug, Clone)]
pub struct Visit {
    session: Arc<Session>,
    backend: (ObjectName, u16),
    /// As many as the session has keys, in their order.
    sealings: Vec<Sealing>,
    /// Tokens of this backend that are in time, with the number of the key that sealed them.
    own: Vec<(usize, Sealed)>,
    /// Tokens that are no such: other backends may know them.
    others: Vec<Sealed>,
    /// Milliseconds since 1970.
    now: u64,
    /// The client's side is TLS.
    secure: bool,
}

/// A backend with the key that names its endpoints.
type Slot = (ObjectName, u16, SessionKey);

/// The endpoints of backends by their names in tokens. A worker has one; it is not shared between threads.
#[derive(Debug, Default)]
pub struct Sessions {
    places: RefCell<HashMap<Slot, Rc<Places>, ahash::RandomState>>,
    made: Cell<u64>,
}

/// The ready endpoints of a backend by their names.
#[derive(Debug)]
struct Places {
    ready: Arc<[Endpoint]>,
    by_id: HashMap<EndpointId, usize, ahash::RandomState>,
}

impl Visit {
    /// What a request to a port of a service brings. `secure` says whether the client's side is TLS.
    pub fn new(
        session: &Arc<Session>,
        (service, port): (&ObjectName, u16),
        headers: &HeaderMap,
        now: SystemTime,
        secure: bool,
    ) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut visit = Self {
            session: Arc::clone(session),
            backend: (service.clone(), port),
            sealings: session.keys.iter().map(Sealing::new).collect(),
            own: Vec::new(),
            others: Vec::new(),
            now: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            secure,
        };
        for token in carrier::read(&session.carrier, headers) {
            let sealed_by = visit.sealings.iter().position(|s| s.is_whole(&token, (service, port)));
            match sealed_by {
                Some(number) if visit.age(token.began()).is_some() => visit.own.push((number, token)),
                Some(_) => {}
                None => visit.others.push(token),
            }
        }
        visit
    }

    /// How long a session that began then has been going on; `None` when it is over.
    fn age(&self, began: u64) -> Option<Duration> {
        // Another replica's clock may be ahead: its sessions are young, not old.
        let age = Duration::from_millis(self.now.saturating_sub(began));
        self.session.absolute_timeout.is_none_or(|limit| age < limit).then_some(age)
    }

    /// How many tokens the request brought, whatever they are worth.
    pub fn brought(&self) -> usize {
        self.own.len() + self.others.len()
    }

    fn backend(&self) -> (&ObjectName, u16) {
        (&self.backend.0, self.backend.1)
    }

    /// Tells the client its session with the endpoint that served it, where it does not have it already.
    pub fn mark(&self, endpoint: (SocketAddr, &str), answer: &mut HeaderMap) {
        let Some(newest) = self.sealings.first() else { return };
        let id = |sealing: &Sealing| sealing.endpoint(self.backend(), endpoint);
        let names_it = |(number, token): &&(usize, Sealed)| token.endpoint() == id(&self.sealings[*number]);
        let began = match self.own.iter().find(names_it) {
            Some((0, _)) => return,
            // Sealed by a key that will go: it is sealed anew, and no younger for it.
            Some((_, token)) => token.began(),
            None => self.now,
        };
        let fresh = newest.seal(self.backend(), id(newest), began);
        // A split of traffic may choose the other backends again.
        let tokens: Vec<&Sealed> = std::iter::once(&fresh).chain(&self.others).take(carrier::MOST).collect();
        carrier::write(&self.session, (&tokens, self.age(began).unwrap_or_default()), self.secure, answer);
    }
}

impl Sessions {
    /// The place, among the ready endpoints of its backend, of the one that a client's session names.
    pub fn held(&self, visit: &Visit, ready: &Arc<[Endpoint]>) -> Option<usize> {
        let place = |(number, token): &(usize, Sealed)| {
            self.places(visit, *number, ready).by_id.get(&token.endpoint()).copied()
        };
        visit.own.iter().find_map(place)
    }

    /// How often the names of a backend's endpoints were made.
    pub fn made(&self) -> u64 {
        self.made.get()
    }

    /// The endpoints by the names that the key of this number gives them.
    fn places(&self, visit: &Visit, number: usize, ready: &Arc<[Endpoint]>) -> Rc<Places> {
        let (service, port) = visit.backend();
        let slot = (service.clone(), port, visit.session.keys[number].clone());
        let mut all = self.places.borrow_mut();
        if let Some(found) = all.get(&slot).filter(|found| Arc::ptr_eq(&found.ready, ready)) {
            return Rc::clone(found);
        }
        self.made.set(self.made.get() + 1);
        let id = |e: &Endpoint| visit.sealings[number].endpoint((service, port), (e.address, &e.workload));
        let by_id = ready.iter().enumerate().map(|(at, endpoint)| (id(endpoint), at)).collect();
        let places = Rc::new(Places { ready: Arc::clone(ready), by_id });
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(slot, Rc::clone(&places));
        places
    }
}

#[cfg(test)]
mod tests;

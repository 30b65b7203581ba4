//! Choices of one worker: which backend of a rule by weight, and which endpoint of a service by load. The
//! state is keyed by rule and service, so that it survives the exchange of a snapshot.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_model::backend::{Backend, Endpoint, Target};
use mesh_model::mesh::EndpointSet;
use mesh_model::named::{NameAnd, Named};
use mesh_model::{ObjectName, ResourceKey};
use mesh_rt::random::Fast;

use crate::wheel::Wheel;

/// A map that is looked into for each request.
type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// Rules and services remembered before all state is dropped; only fairness of a moment is lost then.
const MOST: usize = 8192;

/// A rule: its route and its place there.
type RuleKey = (ResourceKey, usize);
/// A filter: its route, its rule and its place there.
type FilterKey = (ResourceKey, (usize, usize));

/// The choices of a worker.
#[derive(Debug)]
pub struct Balancer {
    random: RefCell<Fast>,
    wheels: RefCell<HashMap<RuleKey, Weights>>,
    /// By service and port.
    services: RefCell<HashMap<Named<u16>, Loads>>,
    shares: RefCell<HashMap<FilterKey, u64>>,
}

#[derive(Debug)]
struct Weights {
    targets: Vec<(Target, u32)>,
    wheel: Wheel,
}

/// The loads of the ready endpoints of a service port, in their order.
#[derive(Debug)]
struct Loads {
    ready: Arc<[Endpoint]>,
    counts: Rc<[Rc<Cell<u32>>]>,
}

impl Loads {
    /// The loads of a set, with what is known of its endpoints from before.
    fn of(set: &EndpointSet, before: Option<&Self>) -> Self {
        let known: HashMap<SocketAddr, &Rc<Cell<u32>>> = before.map_or_else(HashMap::default, |old| {
            old.ready.iter().map(|endpoint| endpoint.address).zip(old.counts.iter()).collect()
        });
        let counts =
            set.ready().iter().map(|e| known.get(&e.address).map_or_else(Rc::default, |c| Rc::clone(c)));
        Self { ready: Arc::clone(set.ready()), counts: counts.collect() }
    }

    /// The endpoint at a place, with one request more.
    fn taken(&self, place: usize) -> Option<(Endpoint, InFlight)> {
        let (endpoint, load) = (self.ready.get(place)?, self.counts.get(place)?);
        load.set(load.get() + 1);
        Some((endpoint.clone(), InFlight(Rc::clone(load))))
    }
}

/// A request in flight at an endpoint.
#[derive(Debug)]
pub struct InFlight(Rc<Cell<u32>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Balancer {
    /// A balancer with its own chance.
    pub fn new(random: Fast) -> Self {
        Self {
            random: RefCell::new(random),
            wheels: RefCell::default(),
            services: RefCell::default(),
            shares: RefCell::default(),
        }
    }

    /// The backend of this request, by weight. `None` when all weights are zero.
    pub fn backend<'b>(
        &self,
        route: &ResourceKey,
        rule: usize,
        backends: &'b [Backend],
    ) -> Option<&'b Backend> {
        if let [only] = backends {
            return (only.weight > 0).then_some(only);
        }
        let mut wheels = self.wheels.borrow_mut();
        let key = (route.clone(), rule);
        let same = |found: &Weights| {
            found.targets.len() == backends.len()
                && found.targets.iter().zip(backends).all(|((t, w), b)| *w == b.weight && *t == b.target)
        };
        if !wheels.get(&key).is_some_and(same) {
            if wheels.len() >= MOST {
                wheels.clear();
            }
            let targets: Vec<_> = backends.iter().map(|b| (b.target.clone(), b.weight)).collect();
            let start = self.random.borrow_mut().next_u64();
            let wheel = Wheel::new(backends.iter().map(|b| b.weight), start);
            wheels.insert(key.clone(), Weights { targets, wheel });
        }
        wheels.get_mut(&key)?.wheel.turn().map(|at| &backends[at])
    }

    /// The endpoint of this try: the less loaded of two ready ones chosen by chance, one that was not tried
    /// yet where there is one. `None` when none is ready.
    pub fn endpoint(
        &self,
        service: &ObjectName,
        port: u16,
        set: &EndpointSet,
        tried: &[SocketAddr],
    ) -> Option<(Endpoint, InFlight)> {
        self.with_loads((service, port), set, |loads| self.chosen(loads, tried))
    }

    fn chosen(&self, loads: &Loads, tried: &[SocketAddr]) -> Option<(Endpoint, InFlight)> {
        let untried: Vec<usize>;
        let candidates = if tried.is_empty() {
            None
        } else {
            let fresh = |at: &usize| !tried.contains(&loads.ready[*at].address);
            untried = (0..loads.ready.len()).filter(fresh).collect();
            (!untried.is_empty()).then_some(untried.as_slice())
        };
        let count = candidates.map_or(loads.ready.len(), <[usize]>::len);
        let at = |n: usize| candidates.map_or(n, |c| c[n]);
        let chosen = match count {
            0 => return None,
            1 => at(0),
            _ => {
                let mut random = self.random.borrow_mut();
                let first = random.below(count as u64) as usize;
                let second = (first + 1 + random.below(count as u64 - 1) as usize) % count;
                let (first, second) = (at(first), at(second));
                if loads.counts[second].get() < loads.counts[first].get() { second } else { first }
            }
        };
        loads.taken(chosen)
    }

    /// The endpoint at a place among the ready ones, for a request that belongs to it.
    pub fn endpoint_at(
        &self,
        service: &ObjectName,
        port: u16,
        set: &EndpointSet,
        place: usize,
    ) -> Option<(Endpoint, InFlight)> {
        self.with_loads((service, port), set, |loads| loads.taken(place))
    }

    /// Does something with the loads of a set; counts of endpoints that stay are kept.
    fn with_loads<T>(
        &self,
        (service, port): (&ObjectName, u16),
        set: &EndpointSet,
        act: impl FnOnce(&Loads) -> T,
    ) -> T {
        let mut services = self.services.borrow_mut();
        let key: &dyn NameAnd<_> = &(service, port);
        let found = services.get(key);
        if let Some(loads) = found.filter(|found| Arc::ptr_eq(&found.ready, set.ready())) {
            return act(loads);
        }
        let loads = Loads::of(set, found);
        let done = act(&loads);
        if services.len() >= MOST {
            services.clear();
        }
        services.insert((service.clone(), port), loads);
        done
    }

    /// Whether this request falls into a share of the requests of a rule's filter. The error of each choice
    /// is carried to the next, so that the share is met over every few requests.
    pub fn share(
        &self,
        route: &ResourceKey,
        place: (usize, usize),
        numerator: u32,
        denominator: u32,
    ) -> bool {
        if numerator >= denominator {
            return denominator > 0;
        }
        let mut shares = self.shares.borrow_mut();
        if shares.len() >= MOST {
            shares.clear();
        }
        let denominator = u64::from(denominator);
        let fresh = || self.random.borrow_mut().below(denominator);
        let carried = shares.entry((route.clone(), place)).or_insert_with(fresh);
        *carried += u64::from(numerator);
        let falls = *carried >= denominator;
        *carried %= denominator;
        falls
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// The next 64 random bits; not for secrets.
    pub fn bits(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A duration around `around`, spread by half of it to both sides.
    pub fn jitter(&self, around: std::time::Duration) -> std::time::Duration {
        self.random.borrow_mut().jitter(around, 0.5)
    }
}

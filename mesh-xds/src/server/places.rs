//! Who may open one more stream: there are so many places, and nobody takes them all. No IO.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_model::{Caller, SpiffeId};

/// What part of the free places the streams of one peer may be: one of so many.
const SHARE: usize = 8;

/// One workload at one address: a proxy, or several behind one address.
type Peer = (Option<SpiffeId>, IpAddr);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// All are taken.
    #[error("too many streams")]
    Full,
    /// One peer holds too many for what is free.
    #[error("too many streams of one peer")]
    Greedy,
}

/// The places of a server. Cloning shares them.
///
/// A peer gets one more as long as those it has are no more than an eighth of the free ones. So the first stream of
/// each peer needs only a free place, and a peer that opens all it can leaves eight ninths to the others.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Peer, usize>,
}

/// A place that is taken, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: Option<Peer>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, taken: Mutex::default() }))
    }

    /// Takes one. A connection that comes from no address, such as one over a private socket, counts by itself.
    pub(super) fn take(&self, caller: &Caller) -> Result<Place, Refused> {
        let peer = caller.address.map(|address| (caller.identity.clone(), address));
        let mut taken = self.taken();
        let free = self.0.most.saturating_sub(taken.all);
        if free == 0 {
            return Err(Refused::Full);
        }
        if let Some(peer) = &peer {
            let own = taken.by.get(peer).copied().unwrap_or_default();
            if own > free / SHARE {
                return Err(Refused::Greedy);
            }
            taken.by.insert(peer.clone(), own + 1);
        }
        taken.all += 1;
        Ok(Place { places: self.clone(), peer })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(peer) = &self.peer else { return };
        if let Some(own) = taken.by.get_mut(peer) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(account: &str, last: u8) -> Caller {
        let identity = format!("spiffe://td/ns/a/sa/{account}").parse().ok();
        Caller { identity, address: Some(IpAddr::from([10, 0, 0, last])) }
    }

    fn all(places: &Places, caller: &Caller) -> Vec<Place> {
        std::iter::from_fn(|| places.take(caller).ok()).collect()
    }

    #[test]
    fn a_peer_that_opens_all_it_can_leaves_most_places_to_others() {
        let places = Places::new(900);
        let greedy = all(&places, &caller("a", 1));
        assert_eq!(greedy.len(), 101);
        assert_eq!(places.take(&caller("a", 1)).unwrap_err(), Refused::Greedy);
        let others: Vec<_> = (2..250).map(|last| places.take(&caller("a", last)).unwrap()).collect();
        drop(greedy);
        assert_eq!(places.taken().by.len(), others.len());
        assert!(places.take(&caller("a", 1)).is_ok());
    }

    #[test]
    fn the_last_place_is_for_whoever_has_none() {
        let places = Places::new(2);
        let first = places.take(&caller("a", 1)).unwrap();
        assert_eq!(places.take(&caller("a", 1)).unwrap_err(), Refused::Greedy);
        let second = places.take(&caller("b", 1)).unwrap();
        assert_eq!(places.take(&caller("c", 1)).unwrap_err(), Refused::Full);
        drop((first, second));
        assert!(matches!(&*places.taken(), Taken { all: 0, by } if by.is_empty()));
    }

    #[test]
    fn connections_without_an_address_are_limited_together_only() {
        let places = Places::new(3);
        let taken = all(&places, &Caller::default());
        assert_eq!(taken.len(), 3);
        assert_eq!(places.take(&Caller::default()).unwrap_err(), Refused::Full);
    }
}

//! A bounded map by client address in which the least recently used entry gives way. No IO.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Entries by client.
pub(super) struct Sessions<S> {
    limit: usize,
    entries: HashMap<SocketAddr, Entry<S>>,
    /// Clients by when they were last used.
    order: BTreeMap<u64, SocketAddr>,
    turn: u64,
}

struct Entry<S> {
    id: u64,
    used: u64,
    value: S,
}

impl<S> Sessions<S> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, entries: HashMap::new(), order: BTreeMap::new(), turn: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The id that the next inserted entry will have.
    pub(super) fn next_id(&self) -> u64 {
        self.turn + 1
    }

    /// Adds an entry; returns the client that gave way, if one had to.
    pub(super) fn insert(&mut self, client: SocketAddr, value: S) -> Option<SocketAddr> {
        let oldest = if self.entries.len() >= self.limit { self.order.pop_first() } else { None };
        let gone = oldest.map(|(_, client)| client);
        if let Some(client) = &gone {
            self.entries.remove(client);
        }
        self.turn += 1;
        self.order.insert(self.turn, client);
        self.entries.insert(client, Entry { id: self.turn, used: self.turn, value });
        gone
    }

    /// The entry of a client, which counts as used now.
    pub(super) fn touch(&mut self, client: &SocketAddr) -> Option<&mut S> {
        let entry = self.entries.get_mut(client)?;
        self.order.remove(&entry.used);
        self.turn += 1;
        entry.used = self.turn;
        self.order.insert(self.turn, *client);
        Some(&mut entry.value)
    }

    /// The entry of a client, if it is still this one.
    pub(super) fn find(&mut self, client: &SocketAddr, id: u64) -> Option<&mut S> {
        self.entries.get_mut(client).filter(|entry| entry.id == id).map(|entry| &mut entry.value)
    }

    /// Removes the entry of a client, if it is still this one.
    pub(super) fn remove(&mut self, client: &SocketAddr, id: u64) -> Option<S> {
        self.entries.get(client).filter(|entry| entry.id == id)?;
        let entry = self.entries.remove(client)?;
        self.order.remove(&entry.used);
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_least_recently_used_gives_way() {
        let mut sessions = Sessions::new(2);
        assert_eq!((sessions.insert(client(1), 'a'), sessions.insert(client(2), 'b')), (None, None));
        assert_eq!(sessions.touch(&client(1)), Some(&mut 'a'));
        assert_eq!(sessions.insert(client(3), 'c'), Some(client(2)));
        assert_eq!(sessions.touch(&client(2)), None);
        assert_eq!(sessions.touch(&client(1)), Some(&mut 'a'));
    }

    #[test]
    fn news_of_an_earlier_session_do_not_touch_its_successor() {
        let mut sessions = Sessions::new(1);
        let first = sessions.next_id();
        sessions.insert(client(1), 'a');
        sessions.insert(client(2), 'b');
        let again = sessions.next_id();
        sessions.insert(client(1), 'c');
        assert_eq!(sessions.find(&client(1), first), None);
        assert_eq!(sessions.remove(&client(1), first), None);
        assert_eq!((sessions.remove(&client(1), again), sessions.is_empty()), (Some('c'), true));
    }
}

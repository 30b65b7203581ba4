//! What a client's owner can see: connection, age of the configuration, refused resources.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;
use crate::session::client::Rejected;
use crate::session::rejection::one_line;

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A stream is open.
    Connected,
    /// A connection is being opened.
    Connecting,
    /// The last attempt failed; the next follows after the pause.
    Waiting {
        /// Why, in one line.
        error: String,
        /// The length of the pause.
        pause: Duration,
    },
}

/// The client's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientState {
    /// Where the connection stands.
    pub connection: Connection,
    /// Whether the server has delivered everything on the present stream.
    pub synced: bool,
    /// Whether it has ever done so in the life of this client.
    pub ever_synced: bool,
    /// Resources whose latest version was refused; what was held before stays in use.
    pub rejected: BTreeMap<Key, Rejected>,
    current_until: Option<(Instant, Duration)>,
}

impl ClientState {
    pub(crate) fn restored(age: Option<Duration>) -> Self {
        Self {
            connection: Connection::Connecting,
            synced: false,
            ever_synced: false,
            rejected: BTreeMap::new(),
            current_until: age.map(|age| (Instant::now(), age)),
        }
    }

    /// For how long the configuration may have been out of date: zero while in step with the server, `None`
    /// when there has never been one.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        if self.synced {
            return Some(Duration::ZERO);
        }
        self.current_until.map(|(since, age)| age + now.saturating_duration_since(since))
    }

    pub(super) fn connecting(&mut self) {
        self.connection = Connection::Connecting;
    }

    pub(super) fn connected(&mut self) {
        self.connection = Connection::Connected;
    }

    pub(super) fn answered(&mut self, synced: bool, rejected: BTreeMap<Key, Rejected>) {
        self.synced |= synced; // later responses are news, not a sign of being behind
        self.ever_synced |= synced;
        self.rejected = rejected;
    }

    pub(super) fn waiting(&mut self, error: &str, pause: Duration, now: Instant) {
        if std::mem::take(&mut self.synced) {
            self.current_until = Some((now, Duration::ZERO));
        }
        self.connection = Connection::Waiting { error: one_line(error), pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_ages_only_while_out_of_step() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut state = ClientState::restored(None);
        assert_eq!(state.age(later(9)), None);
        state.answered(true, BTreeMap::new());
        assert_eq!(state.age(later(9)), Some(Duration::ZERO));
        state.waiting("gone\n", Duration::ZERO, later(10));
        state.connecting();
        state.connected();
        state.answered(false, BTreeMap::new());
        assert_eq!(state.age(later(15)), Some(Duration::from_secs(5)));
        let restored = ClientState::restored(Some(Duration::from_secs(60)));
        assert!(restored.age(Instant::now()) >= Some(Duration::from_secs(60)));
    }
}

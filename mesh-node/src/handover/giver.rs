//! The side that hands over: what it offers, who asked for it, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_capture::NamespaceId;
use mesh_rt::passing::{AsyncPackets, PacketListener};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::message::{Answer, Greeting, Question, VERSION, hear, hear_soon, is_ours, say};
use super::place::Place;
use crate::pod::Sockets;

/// Most processes that ask at a time. One is usual; a second one comes when the first is replaced in its first moments.
const MOST: usize = 8;
/// The pause when nobody can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// What this process hands over. Copies share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    is_leaving: bool,
    last: u64,
    sockets: BTreeMap<NamespaceId, Sockets>,
    /// Those who ask, as long as they live.
    successors: BTreeMap<u64, Successor>,
}

#[derive(Debug, Default)]
struct Successor {
    /// Whether others are answered by it since it settled.
    answers: bool,
    claimed: BTreeSet<NamespaceId>,
    is_settled: bool,
    serves: BTreeSet<NamespaceId>,
}

impl State {
    fn is_served(&self, namespace: NamespaceId) -> bool {
        self.successors.values().any(|successor| successor.serves.contains(&namespace))
    }
}

impl Offer {
    pub(super) fn put(&self, namespace: NamespaceId, sockets: Sockets) {
        self.state().sockets.insert(namespace, sockets);
    }

    pub(super) fn withdraw(&self, namespace: NamespaceId) {
        self.state().sockets.remove(&namespace);
    }

    pub(super) fn is_claimed(&self, namespace: NamespaceId) -> bool {
        self.state().successors.values().any(|successor| successor.claimed.contains(&namespace))
    }

    pub(super) fn is_served(&self, namespace: NamespaceId) -> bool {
        self.state().is_served(namespace)
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.state().successors.values().any(|successor| successor.is_settled)
    }

    /// From now on nothing is taken back.
    pub(super) fn leave(&self) {
        self.state().is_leaving = true;
    }

    /// Ends when somebody asks.
    pub(super) async fn has_successor(&self) {
        self.holds(|state| !state.successors.is_empty()).await;
    }

    /// Ends when others serve all of these.
    pub(super) async fn are_served(&self, pods: &[NamespaceId]) {
        self.holds(|state| pods.iter().all(|pod| state.is_served(*pod))).await;
    }

    async fn holds(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.0.changed.subscribe();
        while !is_so(&self.state()) {
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Asking {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.successors.insert(number, Successor::default());
        drop(state);
        self.0.changed.send_replace(());
        Asking { offer: self.clone(), number }
    }
}

/// One who asks; what it claimed is free again when it is gone.
struct Asking {
    offer: Offer,
    number: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.offer.state().successors.remove(&self.number);
    }
}

impl Asking {
    fn answer(&self, question: Question) -> io::Result<(Answer, Vec<TcpListener>)> {
        let mut state = self.offer.state();
        let State { is_leaving, sockets, successors, .. } = &mut *state;
        let successor = successors.entry(self.number).or_default();
        let answer = match question {
            Question::Ending if *is_leaving => Answer::Leaves,
            Question::Ending => {
                *successor = Successor { answers: successor.answers, ..Successor::default() };
                Answer::Stays
            }
            Question::Serves { namespace } => {
                successor.serves.insert(namespace);
                Answer::Noted
            }
            Question::Settled => {
                (successor.answers, successor.is_settled) = (true, true);
                Answer::Noted
            }
            Question::Take { namespace } => {
                successor.claimed.insert(namespace);
                if let Some(sockets) = sockets.get(&namespace) {
                    let Sockets { outbound, inbound } = sockets.try_clone()?;
                    return Ok((Answer::Given, vec![outbound, inbound]));
                }
                Answer::Nothing
            }
        };
        drop(state);
        self.offer.0.changed.send_replace(());
        Ok((answer, Vec::new()))
    }

    fn took_place(&self) -> bool {
        self.offer.state().successors.get(&self.number).is_some_and(|successor| successor.answers)
    }
}

/// Begins to answer those who ask at the place, instead of whoever did before.
pub(super) fn give(place: Place, offer: Offer) -> io::Result<JoinHandle<()>> {
    let listener = place.listen()?;
    Ok(tokio::spawn(answer_all(place, listener, offer)))
}

async fn answer_all(place: Place, mut listener: PacketListener, offer: Offer) {
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(packets) if asking.len() < MOST => drop(asking.spawn(converse(packets, offer.clone()))),
                Ok(_) => tracing::warn!("more processes ask for sockets than can take this one's place"),
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask for sockets; waiting");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = asking.join_next() => {
                // It answered in this one's place, and this one goes on.
                if matches!(ended, Ok(true)) && !offer.state().is_leaving {
                    match place.listen() {
                        Ok(fresh) => listener = fresh,
                        Err(error) => tracing::error!(%error, "sockets cannot be handed on any more"),
                    }
                }
            }
        }
    }
}

/// Answers one until it is gone; whether it had come so far as to answer others itself.
async fn converse(packets: AsyncPackets, offer: Offer) -> bool {
    if !is_ours(&packets) {
        tracing::warn!(
            user = packets.peer_user().ok(),
            "a process of another user asks for sockets: refused"
        );
        return false;
    }
    let greeted = async {
        let greeting: Greeting = hear_soon(&packets).await?.0;
        say(&packets, &Greeting { version: VERSION }, &[]).await?;
        io::Result::Ok(greeting.version)
    };
    match greeted.await {
        Ok(VERSION) => {}
        Ok(version) => {
            tracing::info!(
                version,
                "the next process takes over by another version: ports are shared with it"
            );
            return false;
        }
        Err(error) => {
            tracing::warn!(%error, "a process that asks for sockets does not say by which version");
            return false;
        }
    }
    let asking = offer.begin();
    let ended = loop {
        let answered = async {
            let (answer, sockets) = asking.answer(hear::<Question>(&packets).await?.0)?;
            let passed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            say(&packets, &answer, &passed).await
        };
        if let Err(error) = answered.await {
            break error;
        }
    };
    tracing::info!(%ended, "the process that asked for sockets is gone");
    asking.took_place()
}

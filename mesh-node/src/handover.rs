//! From one process to the one that takes its place: the listening sockets of each pod. Both then accept from the very
//! same sockets, so that none is closed in which a connection waits. Which pods are served is decided elsewhere.

mod giver;
mod message;
mod place;
mod taker;

use std::path::Path;
use std::time::Duration;

use mesh_capture::{Namespace, NamespaceId};
use tokio::task::JoinHandle;

use crate::pod::{INBOUND_PORT, OUTBOUND_PORT, Sockets};
use giver::Offer;
use place::Place;
use taker::Predecessor;

pub use place::PlaceError;
pub use taker::TakeError;

/// How long a process that is told to end looks for one that takes its place.
const COME: Duration = Duration::from_secs(10);
/// How long it then goes on until all its pods are served there.
const SERVE: Duration = Duration::from_secs(30);

/// This process's part in taking sockets over and in handing them on.
#[derive(Debug, Default)]
pub struct Handover {
    place: Option<Place>,
    predecessor: Option<Predecessor>,
    offer: Offer,
    giving: Option<Giving>,
}

/// The task that answers those who ask; it ends with this.
#[derive(Debug)]
struct Giving(JoinHandle<()>);

impl Drop for Giving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handover {
    /// Takes nothing over and hands nothing on.
    pub fn none() -> Self {
        Self::default()
    }

    /// Meets the process that serves the node's pods now, if there is one, in a folder that both see. With one that is
    /// of another version or does not answer, nothing is taken over, and ports are shared instead.
    ///
    /// # Errors
    /// The folder is not this process's alone.
    pub async fn within(folder: &Path) -> Result<Self, PlaceError> {
        let place = Place::prepare(folder)?;
        let predecessor = match Predecessor::find(&place.path()).await {
            Ok(predecessor) => predecessor,
            Err(error) => {
                tracing::warn!(%error, "no sockets are taken over; ports are shared with an earlier process");
                None
            }
        };
        Ok(Self { place: Some(place), predecessor, ..Self::default() })
    }

    /// The sockets with which the predecessor listens in a pod, if it does.
    pub async fn take(&mut self, namespace: &Namespace) -> Option<Sockets> {
        let predecessor = self.predecessor.as_mut()?;
        match predecessor.take(namespace).await {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::warn!(%error, "sockets are taken over no more; ports are shared with an earlier process");
                self.predecessor = None;
                None
            }
        }
    }

    /// A pod is served: the predecessor may leave it, and who takes this one's place gets these sockets.
    pub async fn entered(&mut self, namespace: NamespaceId, sockets: Sockets) {
        self.offer.put(namespace, sockets);
        if let Some(predecessor) = &mut self.predecessor
            && let Err(error) = predecessor.serves(namespace).await
        {
            tracing::warn!(%error, "the earlier process does not hear that a pod is served");
            self.predecessor = None;
        }
    }

    /// A pod is served no more: its sockets are not kept open any longer.
    pub fn left(&self, namespace: NamespaceId) {
        self.offer.withdraw(namespace);
    }

    /// Every pod is served: from now on this process is the one that others take over from, and the predecessor may
    /// end.
    pub async fn settle(&mut self) {
        let Some(place) = self.place.clone() else { return };
        match giver::give(place, self.offer.clone()) {
            Ok(task) => self.giving = Some(Giving(task)),
            Err(error) => tracing::error!(%error, "sockets cannot be handed on"),
        }
        if let Some(predecessor) = &mut self.predecessor
            && let Err(error) = predecessor.settled().await
        {
            tracing::warn!(%error, "the earlier process does not hear that it is replaced");
            self.predecessor = None;
        }
    }

    /// Whether the process that takes this one's place has asked for a pod, whether it got it or not.
    pub fn is_claimed(&self, namespace: NamespaceId) -> bool {
        self.offer.is_claimed(namespace)
    }

    /// Whether that process serves a pod.
    pub fn is_served(&self, namespace: NamespaceId) -> bool {
        self.offer.is_served(namespace)
    }

    /// Whether that process serves all that it wants to.
    pub fn is_replaced(&self) -> bool {
        self.offer.is_replaced()
    }

    /// Gives everything back to the predecessor, at the end of this process. False when it is not there or ends, too.
    pub async fn goes_back(&mut self) -> bool {
        match self.predecessor.take() {
            Some(mut predecessor) => predecessor.goes_on().await.unwrap_or(false),
            None => false,
        }
    }

    /// Waits at the end of this process until another one serves these pods, as long as one can be expected to.
    pub async fn awaits_successor(&self, pods: &[NamespaceId]) {
        if self.giving.is_none() || pods.is_empty() {
            return;
        }
        self.offer.leave();
        if tokio::time::timeout(COME, self.offer.has_successor()).await.is_ok() {
            let _ = tokio::time::timeout(SERVE, self.offer.are_served(pods)).await;
        }
    }
}

/// The ports of a pod's sockets, in the order in which they travel.
const PORTS: [u16; 2] = [OUTBOUND_PORT, INBOUND_PORT];

#[cfg(test)]
mod tests;

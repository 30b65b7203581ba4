//! The task of one stream: moves messages between the transport and the session. Decides nothing itself.

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, Streaming};

use super::fleet::Member;
use super::places::Place;
use crate::cache::Snapshot;
use crate::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::session::server::{ProtocolError, ServerSession};

/// Everything one stream needs.
pub(super) struct Task {
    pub(super) session: ServerSession,
    pub(super) snapshots: watch::Receiver<Snapshot>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) member: Member,
    pub(super) _place: Place,
}

type Sender = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// Why a stream ends.
enum End {
    Broken,
    ByPeer,
    Closing,
    Protocol(ProtocolError),
    /// A message that is no request, or too large to be read.
    Unreadable(String),
}

impl Task {
    /// Serves the stream until either side ends it. The channel holds one message, and the session has one
    /// under way at most: a client that does not read costs one message of memory.
    pub(super) async fn run(mut self, mut requests: Streaming<DeltaDiscoveryRequest>, responses: Sender) {
        self.session.changed(self.snapshots.borrow_and_update().clone());
        let end = loop {
            if let Err(end) = self.step(&mut requests, &responses).await {
                break end;
            }
            self.member.note(self.session.take_events());
        };
        let (status, reason) = match end {
            End::Broken => (None, "the connection broke".to_owned()),
            End::ByPeer => (None, "the peer ended the stream".to_owned()),
            End::Closing => (Some(Status::unavailable("the server is closing")), "closing".to_owned()),
            End::Unreadable(reason) => (Some(Status::resource_exhausted(reason.clone())), reason),
            End::Protocol(error) => (Some(Status::resource_exhausted(error.to_string())), error.to_string()),
        };
        if status.as_ref().is_some_and(|status| status.code() == Code::ResourceExhausted) {
            let who = self.session.node().identity.as_ref().map(ToString::to_string);
            tracing::warn!(peer = ?who, reason, "a discovery stream was ended");
        }
        self.member.leave(reason);
        if let Some(status) = status {
            // A full channel means that the peer does not read; then it learns of the end by the reset.
            _ = responses.try_send(Err(status));
        }
    }

    async fn step(
        &mut self,
        requests: &mut Streaming<DeltaDiscoveryRequest>,
        responses: &Sender,
    ) -> Result<(), End> {
        let Self { session, snapshots, closing, .. } = self;
        let deadline = session.deadline().map(Instant::from_std);
        let sleep = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = async { _ = closing.wait_for(|closing| *closing).await } => return Err(End::Closing),
            () = responses.closed() => return Err(End::ByPeer),
            request = requests.message() => return self.request(request),
            permit = responses.reserve(), if session.has_work() => {
                let permit = permit.map_err(|_| End::ByPeer)?;
                if let Some(response) = session.next_response(Instant::now().into_std()) {
                    permit.send(Ok(response));
                }
            }
            changed = snapshots.changed() => {
                changed.map_err(|_| End::Closing)?;
                session.changed(snapshots.borrow_and_update().clone());
            }
            () = sleep => session.expire(Instant::now().into_std()),
        }
        Ok(())
    }

    fn request(&mut self, request: Result<Option<DeltaDiscoveryRequest>, Status>) -> Result<(), End> {
        let end = |status: Status| match status.code() {
            Code::OutOfRange => End::Unreadable(status.message().to_owned()),
            _ => End::Broken,
        };
        let request = request.map_err(end)?.ok_or(End::ByPeer)?;
        let introduced = request.node.is_some();
        self.session.request(request).map_err(End::Protocol)?;
        if introduced {
            self.member.introduce(self.session.node());
        }
        Ok(())
    }
}

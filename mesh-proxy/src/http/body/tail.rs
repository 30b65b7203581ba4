//! A backend's answer, and what hangs on it until its body ends: the record of the exchange, the connection that goes
//! back to its pool, the count of requests in flight, and the means to withdraw access.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame};
use std::pin::Pin;

use super::BodyError;
use crate::http::incoming::Incoming;
use crate::http::record::Record;
use crate::http::revoke::Watch;
use crate::pool::GiveBack;
use mesh_balance::InFlight;

/// A backend's answer. It is large and passes through many hands, so that it is moved in its box, in which its body
/// stays until it ends.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Head and body; of the head nothing is left once the client has it.
    pub(crate) response: Response<Incoming>,
    pub(crate) tail: Tail,
}

impl Answered {
    /// An answer, whose connection is given back after a clean end.
    pub(crate) fn new(response: Response<Incoming>, give_back: GiveBack) -> Box<Self> {
        Box::new(Self { response, tail: Tail { give_back: Some(give_back), ..Tail::default() } })
    }

    /// The next frame of the body. The connection is given back at its end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.tail.poll(self.response.body_mut(), cx)
    }
}

/// What ends together with an answer's body.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The record, written when the answer is over.
    pub(crate) record: Option<Record>,
    /// The connection, given back only after a clean end.
    pub(crate) give_back: Option<GiveBack>,
    /// The request counts at its endpoint until then.
    pub(crate) in_flight: Option<InFlight>,
    /// The answer came from another proxy of the mesh.
    pub(crate) from_mesh: bool,
    /// Ends the exchange when access is withdrawn.
    pub(crate) watch: Option<Watch>,
}

impl Tail {
    fn poll(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.watch.as_mut().is_some_and(|watch| watch.poll(cx).is_ready()) {
            if let Some(record) = &mut self.record {
                record.broken(mesh_model::Reason::DeniedByPolicy);
            }
            self.give_back = None;
            return Poll::Ready(Some(Err(BodyError::Revoked)));
        }
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        match &frame {
            None => self.end(),
            Some(Err(_)) => {
                self.give_back = None;
                if let Some(record) = &mut self.record {
                    record.broken(mesh_model::Reason::UpstreamReset);
                }
            }
            Some(Ok(frame)) => {
                if let (Some(record), Some(data)) = (&mut self.record, frame.data_ref()) {
                    record.answered_bytes(data.len() as u64);
                }
                if incoming.is_end_stream() {
                    self.end();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    /// The body is over: everything can go.
    pub(crate) fn end(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back.give();
        }
        self.in_flight = None;
        self.watch = None;
        self.record = None;
    }
}

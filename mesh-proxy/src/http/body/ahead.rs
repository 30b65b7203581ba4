//! A request's body that is read in full before anything is sent, because somebody has to see it first.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Received;

/// What was read and not yet passed on. Frames are joined: many small ones would cost more than their bytes.
#[derive(Debug)]
pub(super) struct Ahead {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

/// Why a body was not read ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unread {
    /// It broke off.
    Broken,
    /// It is larger than the limit.
    TooLarge,
}

impl Ahead {
    pub(super) fn is_over(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.data.is_empty() {
            return self.trailers.take().map(Frame::trailers);
        }
        Some(Frame::data(std::mem::take(&mut self.data)))
    }
}

impl Received {
    /// Reads the whole body, of at most `most` bytes, and keeps it for those who read it later.
    ///
    /// # Errors
    /// The body is larger, or broke off.
    pub(crate) async fn read_ahead(&mut self, most: usize) -> Result<Bytes, Unread> {
        if self.size_hint().lower() > most as u64 {
            return Err(Unread::TooLarge);
        }
        if let Some(ahead) = &self.ahead {
            return Ok(ahead.data.clone());
        }
        let mut data = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = poll_fn(|cx| self.poll_incoming(cx)).await {
            match frame.map_err(|_| Unread::Broken)?.into_data() {
                Ok(bytes) if data.len() + bytes.len() > most => return Err(Unread::TooLarge),
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let data = data.freeze();
        self.ahead = Some(Box::new(Ahead { data: data.clone(), trailers }));
        Ok(data)
    }
}

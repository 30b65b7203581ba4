//! A body on its way in, from whichever side and in whichever protocol. Frames pass without being copied.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use mesh_http1_tokio::{Client, Connection};

use super::Body;

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// It had broken off before.
    #[error("the body had broken off")]
    Again,
    /// It is not HTTP/1, or its connection ended or broke.
    #[error(transparent)]
    Http1(#[from] mesh_http1_tokio::Broken),
    /// Its stream was reset, or its connection ended.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// A body of a received request or answer.
#[derive(Debug, Default)]
pub struct Incoming(Source);

#[derive(Debug, Default)]
enum Source {
    Backend(Rc<Connection<Body>>),
    Client(Rc<Client>),
    /// It broke off, which must not look like its end to anybody who asks again.
    Failed,
    Http2(hyper::body::Incoming),
    #[default]
    None,
}

impl Incoming {
    /// The body of an answer in HTTP/1.
    pub(crate) fn backend(connection: Rc<Connection<Body>>) -> Self {
        Self(Source::Backend(connection))
    }

    /// The body of a request in HTTP/1.
    pub(crate) fn client(client: Rc<Client>) -> Self {
        Self(Source::Client(client))
    }
}

impl From<hyper::body::Incoming> for Incoming {
    fn from(incoming: hyper::body::Incoming) -> Self {
        Self(Source::Http2(incoming))
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match &mut self.0 {
            Source::Backend(connection) => connection.poll_frame(cx),
            Source::Client(client) => client.poll_frame(cx),
            Source::Http2(incoming) => {
                return Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(Broken::from)));
            }
            Source::Failed => return Poll::Ready(Some(Err(Broken::Again))),
            Source::None => return Poll::Ready(None),
        };
        // What comes next on the connection belongs to another message.
        match frame {
            Poll::Ready(None) => self.0 = Source::None,
            Poll::Ready(Some(Err(_))) => self.0 = Source::Failed,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(Broken::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Backend(connection) => connection.is_end_stream(),
            Source::Client(client) => client.is_end_stream(),
            Source::Failed => false,
            Source::Http2(incoming) => incoming.is_end_stream(),
            Source::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let known = |length: Option<u64>| length.map_or_else(SizeHint::default, SizeHint::with_exact);
        match &self.0 {
            Source::Backend(connection) => known(connection.remaining()),
            Source::Client(client) => known(client.remaining()),
            Source::Failed => SizeHint::default(),
            Source::Http2(incoming) => incoming.size_hint(),
            Source::None => SizeHint::with_exact(0),
        }
    }
}

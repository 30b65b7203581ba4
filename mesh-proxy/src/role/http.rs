//! The way of a connection from its role into HTTP, with its end by drain or deadline.

use std::rc::Rc;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Context;
use crate::drain::{Phase, Signal};
use crate::http::{Downstream, Woken, serve};

/// The version of HTTP that a protocol of ALPN stands for (RFC 9113, section 3.2; RFC 7301, section 6).
pub(crate) fn agreed(protocol: Option<&[u8]>) -> Option<Version> {
    match protocol {
        Some(b"h2") => Some(Version::HTTP_2),
        Some(b"http/1.1") => Some(Version::HTTP_11),
        _ => None,
    }
}

/// Serves HTTP on a connection until it ends, its drain asks it to, or the deadline cuts it.
pub(crate) async fn http<I>(cx: &Context, io: I, downstream: Downstream, drain: Signal)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // All are looked at whenever the connection is, and almost never have anything to say.
    let leaving = Woken::new(Box::pin(drain.reached(Phase::LameDuck)));
    let closing = Woken::new(Box::pin(drain.reached(Phase::Closing)));
    let stopped = Woken::new(Box::pin(drain.reached(Phase::Stopped)));
    tokio::select! {
        biased;
        () = stopped => {}
        () = serve(io, downstream, Rc::clone(&cx.stack), (leaving, closing)) => {}
    }
}

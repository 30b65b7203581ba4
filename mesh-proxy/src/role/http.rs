//! The way of a connection from its role into HTTP, with its end by drain or deadline.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Context;
use crate::drain::{Phase, Signal};
use crate::http::{Downstream, serve};

/// Serves HTTP on a connection until it ends, its drain asks it to, or the deadline cuts it.
pub(crate) async fn http<I>(cx: &Context, io: I, downstream: Downstream, drain: Signal)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (closing, stopped) = (drain.clone(), drain);
    let closing = async move { closing.reached(Phase::Closing).await };
    tokio::select! {
        () = serve(io, downstream, Rc::clone(&cx.stack), closing) => {}
        () = stopped.reached(Phase::Stopped) => {}
    }
}

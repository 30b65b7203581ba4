//! A connection at a port whose protocol nobody declared: its first bytes tell whether requests are read. Bytes of
//! the client reach the application only once it is clear what they are; the server may speak first.

use bytes::{Bytes, BytesMut};
use mesh_model::{ConnectionFacts, Reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::{At, Context, Downstreams, join, requests};
use crate::detect::{Opaque, Spoken, detect};
use crate::dialer::UpstreamStream;
use crate::drain::Phase;
use crate::role::flow::Flow;
use crate::role::forward::carry;
use crate::tcp::{Abort, Rewound};

/// A connection of whose beginning it is known what it speaks.
struct Begun<D> {
    stream: Rewound<D>,
    spoken: Spoken,
    silent: bool,
}

/// The application's side of a connection that may turn out to be opaque, and its record.
struct Joined {
    upstream: UpstreamStream,
    flow: Flow,
}

/// Serves such a connection. `tls` says whether TLS ended here.
pub(super) async fn serve<D>(cx: &Context, at: At<'_>, stream: D, (facts, tls): (ConnectionFacts, bool))
where
    D: AsyncRead + AsyncWrite + Abort + Unpin + 'static,
{
    let Some(begun) = begin(cx, stream, &facts).await else { return };
    if begun.spoken != Spoken::Opaque {
        return requests(cx, at, begun.stream, Downstreams { facts, hop: None, tls }).await;
    }
    let Some((upstream, flow)) = join(cx, &at, &begun.stream, &facts).await else { return };
    let joined = Joined { upstream, flow };
    match begun.silent {
        true => first_word(cx, at, (begun.stream, joined), (facts, tls)).await,
        false => opaque(cx, at, (begun.stream, joined, Bytes::new()), &facts).await,
    }
}

/// Reads until it is clear what is spoken, or for as long as a server that speaks first may be made to wait.
async fn begin<D>(cx: &Context, mut stream: D, facts: &ConnectionFacts) -> Option<Begun<D>>
where
    D: AsyncRead + Unpin,
{
    let by = Instant::now() + cx.times.detect;
    match detect(&mut stream, by).await {
        Ok((spoken, ahead)) => {
            let silent = ahead.is_empty();
            Some(Begun { stream: Rewound::new(ahead, stream), spoken, silent })
        }
        Err(problem) => {
            cx.refuse(Reason::MalformedRequest, &facts.source, &problem);
            None
        }
    }
}

/// Neither side has spoken yet. A server that speaks first does not speak HTTP; a client that does may.
async fn first_word<D>(
    cx: &Context,
    at: At<'_>,
    (mut stream, mut joined): (D, Joined),
    (facts, tls): (ConnectionFacts, bool),
) where
    D: AsyncRead + AsyncWrite + Abort + Unpin + 'static,
{
    let (mut asked, mut said) = (BytesMut::new(), BytesMut::new());
    let cut = tokio::select! {
        biased;
        reason = cx.revoked(&at.port.workload, &facts) => Some(reason),
        () = at.drain.reached(Phase::Stopped) => Some(Reason::Draining),
        () = tokio::time::sleep(cx.times.idle) => Some(Reason::Timeout),
        _ = joined.upstream.read_buf(&mut said) => None,
        _ = stream.read_buf(&mut asked) => None,
    };
    if let Some(reason) = cut {
        stream.abort();
        joined.flow.refused(reason);
        return cx.telemetry.metrics.refuse(reason);
    }
    let stream = Rewound::new(asked.freeze(), stream);
    if stream.stream().is_some() {
        return opaque(cx, at, (stream, joined, said.freeze()), &facts).await;
    }
    let Some(begun) = begin(cx, stream, &facts).await else {
        return joined.flow.refused(Reason::MalformedRequest);
    };
    match begun.spoken {
        Spoken::Opaque => opaque(cx, at, (begun.stream, joined, Bytes::new()), &facts).await,
        Spoken::Http1 | Spoken::Http2 => {
            // Its requests are told one by one.
            joined.flow.forget();
            drop(joined.upstream);
            requests(cx, at, begun.stream, Downstreams { facts, hop: None, tls }).await;
        }
    }
}

/// Carries bytes that are no request, and sees to it that they stay so.
async fn opaque<D>(
    cx: &Context,
    at: At<'_>,
    (stream, Joined { upstream, flow }, said): (D, Joined, Bytes),
    facts: &ConnectionFacts,
) where
    D: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let revoked = cx.revoked(&at.port.workload, facts);
    carry(cx, flow, Opaque::new(stream), Rewound::new(said, upstream), (at.drain, revoked)).await;
}

//! WebSocket echo at `/ws` (RFC 6455): text and binary messages come back as they are.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::http::{Body, text};

/// The longest message that is echoed.
const LONGEST: usize = 1 << 20;

/// Whether the request asks for a WebSocket.
pub(super) fn is(request: &Request<Incoming>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    request.uri().path() == "/ws"
        && upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) fn answer(request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key\n");
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return text(StatusCode::BAD_REQUEST, "no usable Sec-WebSocket-Key\n");
    };
    tokio::spawn(async move {
        // A client that goes away before or during the echo ends it.
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo(
    stream: TokioIo<hyper::upgrade::Upgraded>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let limits = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

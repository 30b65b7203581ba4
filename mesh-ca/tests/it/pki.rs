//! What the tests of this crate share: a clock, identities, and a handshake over an in-memory pipe.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::tls::{PeerError, peer_identity, peer_name};
use mesh_model::SpiffeId;
use mesh_rt::ManualClock;
use rustls::{ClientConfig, NamedGroup, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// 20 November 2026, 19:30 UTC.
pub(crate) fn start() -> Arc<ManualClock> {
    ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000))
}

/// The identity of service account `name`.
pub(crate) fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/x/sa/{name}").parse().expect("a valid name")
}

/// What both ends of a handshake saw.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) client_saw: Option<SpiffeId>,
    pub(crate) server_saw: Option<SpiffeId>,
    pub(crate) group: NamedGroup,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) kind: rustls::HandshakeKind,
}

/// One connection with a byte each way; both sides' errors on failure.
pub(crate) async fn connect(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Met, String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepting = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        let _ = stream.read_u8().await?;
        Ok::<_, std::io::Error>(peer_identity(stream.get_ref().1))
    };
    let connecting = async {
        let mut stream = TlsConnector::from(client).connect(peer_name(), near).await?;
        // With TLS 1.3 the server's refusal of the client arrives only with the first read.
        let _ = stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        let seen = stream.get_ref().1;
        let group = seen.negotiated_key_exchange_group().expect("finished").name();
        let alpn = seen.alpn_protocol().map(<[u8]>::to_vec);
        Ok::<_, std::io::Error>((peer_identity(seen), group, alpn, seen.handshake_kind()))
    };
    match tokio::join!(connecting, accepting) {
        (Ok((client_saw, group, alpn, kind)), Ok(server_saw)) => {
            Ok(Met { client_saw, server_saw, group, alpn, kind: kind.expect("finished") })
        }
        (near, far) => Err(format!("client: {}; server: {}", told(near.err()), told(far.err()))),
    }
}

fn told(error: Option<std::io::Error>) -> String {
    let Some(error) = error else { return "fine".to_owned() };
    PeerError::of(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

//! TLS between mesh peers: rustls configurations that read identity and trust anew at every handshake.
//!
//! TLS 1.3 only, a hybrid post-quantum key exchange first, no session resumption: a resumed session would
//! skip the verification of the peer.

mod config;
mod named;
mod proof;
mod verify;

pub use config::{ClientAuth, PeerTls, TlsError, client_config, peer_name, server_config};
pub use named::named_server_config;
pub use proof::Proof;
pub use verify::{PeerError, peer_identity, verify_svid};

//! Mutual TLS between mesh peers, marked by ALPN. What a peer must prove is mesh-ca's; here are the marks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_ca::tls::{self, ClientAuth, PeerTls, TlsError};
use mesh_model::SpiffeId;
use rustls::{ClientConfig, ServerConfig};

use crate::upstream::Speaks;

/// HTTP requests one after another, as HTTP/1.1.
pub const MESH_H1: &[u8] = b"mesh-h1/1";
/// HTTP requests, multiplexed as HTTP/2.
pub const MESH_H2: &[u8] = b"mesh-h2/1";
/// One opaque connection.
pub const MESH_TCP: &[u8] = b"mesh-tcp/1";

/// Client configurations kept; beyond that they are built anew.
const MOST: usize = 4096;

/// The mesh TLS of one identity. Its configurations read the SVID and the roots at every handshake, so a
/// rotation needs nothing from here.
#[derive(Debug)]
pub struct MeshTls {
    peer: PeerTls,
    server: Arc<ServerConfig>,
    clients: Mutex<HashMap<(SpiffeId, Speaks), Arc<ClientConfig>>>,
}

impl MeshTls {
    /// Mesh TLS with this identity and trust.
    ///
    /// # Errors
    /// When the cryptography provider lacks what the mesh asks for.
    pub fn new(peer: PeerTls) -> Result<Self, TlsError> {
        // The first one that a client offers too is chosen.
        let server = tls::server_config(&peer, ClientAuth::Required, &[MESH_H1, MESH_H2, MESH_TCP])?;
        Ok(Self { peer, server, clients: Mutex::default() })
    }

    /// Who we are and whom we trust.
    pub fn peer(&self) -> &PeerTls {
        &self.peer
    }

    /// For connections that mesh peers make to us: a client proves who it is or is refused.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For a connection to exactly this identity.
    ///
    /// # Errors
    /// As [`MeshTls::new`].
    pub fn client(&self, expected: &SpiffeId, speaks: Speaks) -> Result<Arc<ClientConfig>, TlsError> {
        let key = (expected.clone(), speaks);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = clients.get(&key) {
            return Ok(Arc::clone(found));
        }
        let marks: &[&[u8]] = match speaks {
            // A peer that does not know the first mark takes the second.
            Speaks::Http1 => &[MESH_H1, MESH_H2],
            Speaks::Http2 => &[MESH_H2],
            Speaks::Opaque => &[MESH_TCP],
        };
        let config = tls::client_config(&self.peer, vec![expected.clone()], marks)?;
        if clients.len() >= MOST {
            clients.clear();
        }
        clients.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

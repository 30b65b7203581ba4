//! What is known about a client's connection. No IO.

use http::Version;
use mesh_model::ConnectionFacts;
use mesh_model::engine::Place;

use super::head::Sender;
use crate::scope::Scope;

/// A client's connection, as the accepting side knows it.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// Addresses, identity, server name.
    pub facts: ConnectionFacts,
    /// Where requests on it are decided.
    pub scope: Scope,
    /// The client is a proxy of the mesh: mutual TLS with the mark of the mesh.
    pub mesh_hop: bool,
    /// TLS ended at this proxy, so that the client's scheme is `https`.
    pub tls: bool,
    /// The version of HTTP that both sides agreed on within TLS (RFC 7301). Nothing else is served then.
    pub agreed: Option<Version>,
}

impl Downstream {
    /// Who sends the heads on this connection.
    pub fn sender(&self) -> Sender {
        match &self.scope {
            Scope::Gateway { .. } => Sender::Outside,
            Scope::Inbound { .. } if self.mesh_hop && self.facts.peer.is_some() => Sender::Peer,
            Scope::Inbound { .. } => Sender::Unverified,
            Scope::Outbound { .. } => Sender::Application,
        }
    }

    /// Where routes are looked up; `None` at a destination, where there are none.
    pub fn place(&self) -> Option<Place<'_>> {
        match &self.scope {
            Scope::Gateway { gateway, port, sni } => {
                Some(Place::Gateway { gateway, port: *port, sni: sni.as_deref() })
            }
            Scope::Inbound { .. } => None,
            Scope::Outbound { service, port, namespace, .. } => {
                Some(Place::Service { service, port: *port, client_namespace: namespace })
            }
        }
    }
}

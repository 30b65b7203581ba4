//! What is spoken towards backends, and what is told of requests on their way: look-ups of a snapshot.

use std::sync::Arc;

use super::Mesh;
use crate::backend::Transport;
use crate::name::ObjectName;
use crate::named::NameAnd;
use crate::tls::{BackendTls, Certificate};
use crate::tracing::Tracing;

impl Mesh {
    /// TLS towards a service port: a policy that names the port before one that names none; among equals the
    /// first by key.
    pub fn backend_tls(&self, service: &ObjectName, port: u16) -> Option<&Arc<BackendTls>> {
        if self.backend_tls.is_empty() {
            return None;
        }
        let ports = [Some(port), None];
        ports.into_iter().find_map(|port| {
            let key: &dyn NameAnd<_> = &(service, port);
            self.backend_tls.get(key)?.values().next()
        })
    }

    /// The certificate that a gateway shows to backends; all its listeners name the same one.
    pub fn backend_certificate(&self, gateway: &ObjectName, port: u16) -> Option<&Arc<Certificate>> {
        let listener = self.listeners(gateway, Transport::Tcp, port).first()?;
        self.certificate(listener.backend_certificate.as_ref()?)
    }

    /// The certificate that is shown under a policy: the backend's own in place of what the gateway shows to all.
    pub fn shown_certificate(
        &self,
        tls: &BackendTls,
        at: Option<(&ObjectName, u16)>,
    ) -> Option<&Arc<Certificate>> {
        match &tls.client {
            Some(client) => self.certificate(&client.certificate),
            None => at.and_then(|(gateway, port)| self.backend_certificate(gateway, port)),
        }
    }

    /// How requests at a gateway are traced, where a policy says so; all its listeners say the same.
    pub fn tracing(&self, gateway: &ObjectName, port: u16) -> Option<&Arc<Tracing>> {
        if self.traced == 0 {
            return None;
        }
        self.listeners(gateway, Transport::Tcp, port).first()?.tracing.as_ref()
    }

    /// The host and port by which a service is asked: its name in the mesh, or outside of it.
    pub fn authority_of(&self, service: &ObjectName, port: u16) -> String {
        match self.service(service).and_then(|service| service.hostname.as_ref()) {
            Some(hostname) => format!("{hostname}:{port}"),
            None => format!("{}.{}:{port}", service.name, service.namespace),
        }
    }
}

//! Questions to authorization services. One that cannot be asked as written blocks its rule.

use std::sync::Arc;

use mesh_model::filter::{AuthProtocol, ExternalAuth, HeaderKey, MAX_AUTH_BODY};
use mesh_model::{FieldPath, Finding, Reason, path::normalize};

use super::super::entry::Entry;
use super::super::reader::Reader;
use super::backend::{Reference, Side};
use super::rules::{Outcome, Rules};
use crate::objects::http::{self as object};

/// A question that is put before a route is chosen, and what is wrong with it.
pub(in super::super) struct Asked {
    pub(in super::super) filter: Option<ExternalAuth>,
    pub(in super::super) findings: Vec<Finding>,
    pub(in super::super) unresolved: Option<(Reason, String)>,
    pub(in super::super) invalid: Option<(Reason, String)>,
}

/// Reads a question of a listener of this object.
pub(in super::super) fn before_routes(
    reader: &Reader<'_>,
    entry: &Entry,
    auth: &object::ExternalAuth,
    path: &FieldPath,
) -> Asked {
    let mut rules = Rules::new(reader, entry, &Side::Gateway);
    let filter = rules.external_auth(auth, path);
    let Outcome { findings, unresolved, invalid, .. } = rules.outcome;
    Asked { filter, findings, unresolved, invalid }
}

impl Rules<'_, '_> {
    pub(super) fn external_auth(
        &mut self,
        auth: &object::ExternalAuth,
        path: &FieldPath,
    ) -> Option<ExternalAuth> {
        let target = self.target(Reference::plain(&auth.backend_ref), &path.field("backendRef"));
        let max_body = auth.forward_body.as_ref().and_then(|body| body.max_size).unwrap_or_default();
        if max_body > MAX_AUTH_BODY {
            let message = format!("a body of more than {MAX_AUTH_BODY} bytes cannot be forwarded");
            let path = path.field("forwardBody").field("maxSize");
            self.invalid((Reason::UnsupportedValue, &path), message, "write a smaller size", true);
            return None;
        }
        let protocol = match auth.protocol {
            object::AuthProtocol::Grpc => {
                let path = path.field("grpc").field("allowedHeaders");
                let allowed = auth.grpc.as_ref().map_or(&[][..], |grpc| &grpc.allowed_headers);
                AuthProtocol::Grpc { allowed: self.header_keys(allowed, &path)? }
            }
            object::AuthProtocol::Http => self.http_auth(auth.http.as_ref(), &path.field("http"))?,
        };
        Some(ExternalAuth { target, protocol, max_body })
    }

    fn http_auth(&mut self, http: Option<&object::HttpAuth>, path: &FieldPath) -> Option<AuthProtocol> {
        let Some(http) = http else {
            return Some(AuthProtocol::Http {
                prefix: Arc::from(""),
                allowed: Vec::new(),
                taken: Vec::new(),
            });
        };
        let allowed = self.header_keys(&http.allowed_headers, &path.field("allowedHeaders"))?;
        let taken =
            self.header_keys(&http.allowed_response_headers, &path.field("allowedResponseHeaders"))?;
        let written = http.path.as_deref().unwrap_or_default().trim_start_matches('/');
        let Ok(prefix) = normalize(&format!("/{written}")).map(|p| Arc::from(p.trim_end_matches('/'))) else {
            let message = format!("{written:?} has no safe reading as a path");
            self.invalid((Reason::InvalidValue, &path.field("path")), message, "write a plain path", true);
            return None;
        };
        Some(AuthProtocol::Http { prefix, allowed, taken })
    }

    fn header_keys(&mut self, names: &[String], list: &FieldPath) -> Option<Vec<HeaderKey>> {
        let mut keys = Vec::new();
        for (n, name) in names.iter().enumerate() {
            keys.push(HeaderKey(self.header_name(name, &list.index(n))?));
        }
        Some(keys)
    }
}

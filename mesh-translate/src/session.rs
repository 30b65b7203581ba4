//! Session persistence as written (GEP-1619) to sessions of the model. Who has one is decided by routes and policies.

use std::sync::Arc;

use aws_lc_rs::digest;
use mesh_model::{FieldPath, ObjectName, Session, SessionCarrier, SessionKey, SourceRef};

use super::reader::Reader;
use crate::objects::route::{CookieLifetime, SessionKind, SessionPersistence};
use crate::objects::service::SessionAffinity;

/// Something that cannot be done: its field, a sentence, and what would be right.
pub(super) type Problem = (FieldPath, String, &'static str);

/// For whom a session is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    /// The object that says so.
    pub(super) source: &'a SourceRef,
    /// What has keys of its own: a route, or a service.
    pub(super) keyed: &'a str,
    /// What a cookie without a name is called after.
    pub(super) named: &'a str,
}

/// Reads what an object wants.
pub(super) fn session(
    reader: &Reader<'_>,
    owner: Owner<'_>,
    written: &SessionPersistence,
    path: &FieldPath,
) -> Result<Arc<Session>, Problem> {
    let limit = written.absolute_timeout.as_ref().map(crate::objects::Duration::value);
    if limit.is_some_and(|limit| limit.is_zero()) {
        let message = "a session that ends at once is none".to_owned();
        return Err((path.field("absoluteTimeout"), message, "write a time, or remove it"));
    }
    let carrier = match written.kind {
        SessionKind::Cookie => cookie(owner, written, path)?,
        SessionKind::Header => {
            let Some(header) = &written.header else {
                return Err((path.field("header"), "the header has no name".to_owned(), "name it"));
            };
            let named = header.name.parse();
            let name = named.map_err(|error: mesh_model::session::SessionError| {
                (path.field("header").field("name"), error.to_string(), "choose a name of its own")
            })?;
            SessionCarrier::Header(name)
        }
    };
    if matches!(carrier, SessionCarrier::Cookie { permanent: true, .. }) && limit.is_none() {
        let message = "a permanent cookie needs an absolute timeout".to_owned();
        return Err((path.field("absoluteTimeout"), message, "write how long it lives"));
    }
    let keys = reader.session_keys(owner.keyed);
    Ok(Arc::new(Session { source: owner.source.clone(), carrier, absolute_timeout: limit, keys }))
}

fn cookie(
    owner: Owner<'_>,
    written: &SessionPersistence,
    path: &FieldPath,
) -> Result<SessionCarrier, Problem> {
    let path = path.field("cookie");
    let Some(cookie) = &written.cookie else {
        return Err((path, "the cookie is missing".to_owned(), "write cookie: {}"));
    };
    let name = cookie.name.clone().unwrap_or_else(|| own_name(owner.named));
    let name = name.parse().map_err(|error: mesh_model::session::SessionError| {
        (path.field("name"), error.to_string(), "choose another name")
    })?;
    let at = cookie.path.parse().map_err(|error: mesh_model::session::SessionError| {
        (path.field("path"), error.to_string(), "write an absolute path")
    })?;
    let permanent = cookie.lifetime_type == CookieLifetime::Permanent;
    Ok(SessionCarrier::Cookie { name, path: at, permanent })
}

/// The name of a cookie that has none: one for each rule or service, always the same.
fn own_name(named: &str) -> String {
    let hash = digest::digest(&digest::SHA256, named.as_bytes());
    let hex: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("session-{hex}")
}

/// Why sessions to a service are refused: it asks for affinity by address itself, and one of the two would be in force
/// without being seen (GEP-1619, "Session Affinity in K8S Services").
pub(super) fn affine(reader: &Reader<'_>, service: &ObjectName) -> Option<String> {
    let affinity = reader.service(service)?.spec.session_affinity?;
    let clash = affinity == SessionAffinity::ClientIp;
    clash.then(|| {
        format!("Service {service} has sessionAffinity: ClientIP, which session persistence excludes")
    })
}

/// Keys for one purpose, made of those of the mesh.
pub(super) fn keys_for(roots: &[SessionKey], purpose: &str) -> Vec<SessionKey> {
    roots.iter().map(|root| root.derive(purpose)).collect()
}

//! Session persistence on the wire. Keys travel here; no text form shows them.

use std::sync::Arc;

use mesh_model::{Session, SessionCarrier, SessionKey};

use super::field::{Decoded, Within, each, needed, parsed, wrong};
use super::meta;
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::SessionCarrier as WireCarrier;

pub(super) fn encode(session: &Session) -> wire::Session {
    let carrier = match &session.carrier {
        SessionCarrier::Cookie { name, path, permanent } => WireCarrier::Cookie(wire::SessionCookie {
            name: name.to_string(),
            path: path.to_string(),
            permanent: *permanent,
        }),
        SessionCarrier::Header(header) => WireCarrier::Header(header.name().to_string()),
    };
    wire::Session {
        source: Some(meta::encode_source(&session.source)),
        carrier: Some(carrier),
        absolute_timeout: meta::encode_span(session.absolute_timeout),
        keys: session.keys.iter().map(|key| key.expose().to_vec()).collect(),
    }
}

pub(super) fn decode(wire: wire::Session) -> Decoded<Arc<Session>> {
    let carrier = match needed("carrier", wire.carrier)? {
        WireCarrier::Cookie(cookie) => SessionCarrier::Cookie {
            name: parsed("cookie.name", &cookie.name)?,
            path: parsed("cookie.path", &cookie.path)?,
            permanent: cookie.permanent,
        },
        WireCarrier::Header(name) => SessionCarrier::Header(parsed("header", &name)?),
    };
    let absolute_timeout = meta::decode_span("absolute_timeout", wire.absolute_timeout)?;
    if absolute_timeout.is_some_and(|limit| limit.is_zero()) {
        return Err(wrong("absolute_timeout", "is zero"));
    }
    if matches!(carrier, SessionCarrier::Cookie { permanent: true, .. }) && absolute_timeout.is_none() {
        return Err(wrong("absolute_timeout", "is missing for a cookie that is permanent"));
    }
    let key = |bytes: Vec<u8>| {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| wrong("", "is not of 32 bytes"))?;
        Ok(SessionKey::new(bytes))
    };
    Ok(Arc::new(Session {
        source: needed("source", wire.source).and_then(|s| meta::decode_source(s).within("source"))?,
        carrier,
        absolute_timeout,
        keys: each("keys", wire.keys, key)?,
    }))
}

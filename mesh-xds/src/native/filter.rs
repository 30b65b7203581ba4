//! Filters on the wire.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use mesh_model::HostPattern;
use mesh_model::filter::{
    AuthProtocol, Cors, ExternalAuth, Filter, HeaderEdit, HeaderKey, HeaderLine, MAX_AUTH_BODY, Mirror,
    Origin, PathEdit, Redirect, Rewrite,
};

use super::field::{Decoded, Within, each, graphic, needed, parsed, port, wrong};
use super::route::{decode_target, encode_target};
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::FilterAction as Action;

/// Statuses of redirects (RFC 9110, section 15.4).
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

pub(super) fn encode(filter: &Filter) -> wire::Filter {
    let action = match filter {
        Filter::Cors(cors) => Action::Cors(encode_cors(cors)),
        Filter::ExternalAuth(auth) => Action::ExternalAuth(encode_auth(auth)),
        Filter::Mirror(mirror) => Action::Mirror(wire::Mirror {
            target: Some(encode_target(&mirror.target)),
            numerator: mirror.numerator,
            denominator: mirror.denominator,
        }),
        Filter::Redirect(redirect) => Action::Redirect(wire::Redirect {
            scheme: redirect.scheme.as_ref().map(ToString::to_string),
            hostname: redirect.hostname.as_ref().map(ToString::to_string),
            port: redirect.port.map(u32::from),
            path: redirect.path.as_ref().map(encode_path),
            status: redirect.status.into(),
        }),
        Filter::RequestHeaders(edit) => Action::RequestHeaders(encode_edit(edit)),
        Filter::ResponseHeaders(edit) => Action::ResponseHeaders(encode_edit(edit)),
        Filter::Rewrite(rewrite) => Action::Rewrite(wire::Rewrite {
            hostname: rewrite.hostname.as_ref().map(ToString::to_string),
            path: rewrite.path.as_ref().map(encode_path),
        }),
    };
    wire::Filter { action: Some(action) }
}

pub(super) fn decode(filter: wire::Filter) -> Decoded<Filter> {
    match needed("action", filter.action)? {
        Action::Cors(cors) => Ok(Filter::Cors(decode_cors(cors).within("cors")?)),
        Action::ExternalAuth(auth) => Ok(Filter::ExternalAuth(decode_auth(auth).within("external_auth")?)),
        Action::Mirror(mirror) => Ok(Filter::Mirror(decode_mirror(mirror).within("mirror")?)),
        Action::Redirect(redirect) => Ok(Filter::Redirect(decode_redirect(redirect).within("redirect")?)),
        Action::RequestHeaders(edit) => {
            Ok(Filter::RequestHeaders(decode_edit(edit).within("request_headers")?))
        }
        Action::ResponseHeaders(edit) => {
            Ok(Filter::ResponseHeaders(decode_edit(edit).within("response_headers")?))
        }
        Action::Rewrite(rewrite) => Ok(Filter::Rewrite(decode_rewrite(rewrite).within("rewrite")?)),
    }
}

pub(super) fn encode_auth(auth: &ExternalAuth) -> wire::ExternalAuth {
    let names = |keys: &[HeaderKey]| keys.iter().map(|key| key.0.to_string()).collect();
    let protocol = match &auth.protocol {
        AuthProtocol::Grpc { allowed } => {
            wire::ExternalAuthProtocol::Grpc(wire::GrpcAuth { allowed: names(allowed) })
        }
        AuthProtocol::Http { prefix, allowed, taken } => wire::ExternalAuthProtocol::Http(wire::HttpAuth {
            prefix: prefix.to_string(),
            allowed: names(allowed),
            taken: names(taken),
        }),
    };
    wire::ExternalAuth {
        target: Some(encode_target(&auth.target)),
        max_body: auth.max_body,
        protocol: Some(protocol),
    }
}

pub(super) fn decode_auth(auth: wire::ExternalAuth) -> Decoded<ExternalAuth> {
    let names =
        |field: &str, names: Vec<String>| each(field, names, |name| Ok(HeaderKey(parsed("", &name)?)));
    let protocol = match needed("protocol", auth.protocol)? {
        wire::ExternalAuthProtocol::Grpc(grpc) => {
            AuthProtocol::Grpc { allowed: names("grpc.allowed", grpc.allowed)? }
        }
        wire::ExternalAuthProtocol::Http(http) => AuthProtocol::Http {
            prefix: graphic("http.prefix", &http.prefix)?,
            allowed: names("http.allowed", http.allowed)?,
            taken: names("http.taken", http.taken)?,
        },
    };
    if auth.max_body > MAX_AUTH_BODY {
        return Err(wrong("max_body", format!("{} is more than {MAX_AUTH_BODY}", auth.max_body)));
    }
    Ok(ExternalAuth { target: decode_target(auth.target)?, protocol, max_body: auth.max_body })
}

pub(super) fn encode_line(line: &HeaderLine) -> wire::HeaderLine {
    wire::HeaderLine { name: line.name.to_string(), value: line.value.as_bytes().to_vec() }
}

pub(super) fn decode_line(line: wire::HeaderLine) -> Decoded<HeaderLine> {
    let value = HeaderValue::from_bytes(&line.value).map_err(|error| wrong("value", error))?;
    Ok(HeaderLine { name: parsed("name", &line.name)?, value })
}

fn encode_edit(edit: &HeaderEdit) -> wire::HeaderEdit {
    wire::HeaderEdit {
        set: edit.set.iter().map(encode_line).collect(),
        add: edit.add.iter().map(encode_line).collect(),
        remove: edit.remove.iter().map(|key| key.0.to_string()).collect(),
    }
}

fn decode_edit(edit: wire::HeaderEdit) -> Decoded<HeaderEdit> {
    Ok(HeaderEdit {
        set: each("set", edit.set, decode_line)?,
        add: each("add", edit.add, decode_line)?,
        remove: each("remove", edit.remove, |name| Ok(HeaderKey(parsed("name", &name)?)))?,
    })
}

fn encode_path(edit: &PathEdit) -> wire::PathEdit {
    let edit = match edit {
        PathEdit::Full(path) => wire::PathEditEdit::Full(path.to_string()),
        PathEdit::Prefix(path) => wire::PathEditEdit::Prefix(path.to_string()),
    };
    wire::PathEdit { edit: Some(edit) }
}

fn decode_path(edit: Option<wire::PathEdit>) -> Decoded<Option<PathEdit>> {
    let Some(edit) = edit else { return Ok(None) };
    Ok(Some(match needed("path.edit", edit.edit)? {
        wire::PathEditEdit::Full(path) => PathEdit::Full(graphic("path.full", &path)?),
        wire::PathEditEdit::Prefix(path) => PathEdit::Prefix(graphic("path.prefix", &path)?),
    }))
}

/// A precise hostname or address, kept as written.
fn decode_hostname(hostname: Option<String>) -> Decoded<Option<Arc<str>>> {
    let Some(hostname) = hostname else { return Ok(None) };
    match parsed("hostname", &hostname)? {
        HostPattern::Exact(_) => Ok(Some(Arc::from(hostname))),
        HostPattern::Any | HostPattern::Wildcard(_) => Err(wrong("hostname", "is not one name")),
    }
}

fn decode_redirect(redirect: wire::Redirect) -> Decoded<Redirect> {
    let scheme = redirect.scheme.as_deref();
    if scheme.is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(wrong("scheme", "is neither http nor https"));
    }
    let status = REDIRECTS.contains(&redirect.status).then(|| u16::try_from(redirect.status).ok()).flatten();
    Ok(Redirect {
        scheme: scheme.map(Arc::from),
        hostname: decode_hostname(redirect.hostname)?,
        port: redirect.port.map(|number| port("port", number)).transpose()?,
        path: decode_path(redirect.path)?,
        status: status.ok_or_else(|| wrong("status", format!("{} is no redirect", redirect.status)))?,
    })
}

fn decode_rewrite(rewrite: wire::Rewrite) -> Decoded<Rewrite> {
    Ok(Rewrite { hostname: decode_hostname(rewrite.hostname)?, path: decode_path(rewrite.path)? })
}

fn decode_mirror(mirror: wire::Mirror) -> Decoded<Mirror> {
    if mirror.denominator == 0 || mirror.numerator > mirror.denominator {
        return Err(wrong("numerator", format!("{}/{} is no share", mirror.numerator, mirror.denominator)));
    }
    let target = decode_target(mirror.target)?;
    Ok(Mirror { target, numerator: mirror.numerator, denominator: mirror.denominator })
}

fn encode_cors(cors: &Cors) -> wire::Cors {
    let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
    let origin = |origin: &Origin| wire::AllowedOrigin {
        pattern: match origin {
            Origin::Any => None,
            Origin::Pattern { scheme, host, port } => Some(wire::OriginPattern {
                scheme: scheme.to_string(),
                host: host.to_string(),
                port: port.map(u32::from),
            }),
        },
    };
    wire::Cors {
        allow_origins: cors.allow_origins.iter().map(origin).collect(),
        allow_methods: texts(&cors.allow_methods),
        allow_headers: texts(&cors.allow_headers),
        expose_headers: texts(&cors.expose_headers),
        allow_credentials: cors.allow_credentials,
        max_age: cors.max_age,
    }
}

fn decode_cors(cors: wire::Cors) -> Decoded<Cors> {
    let origin = |origin: wire::AllowedOrigin| -> Decoded<Origin> {
        let Some(pattern) = origin.pattern else { return Ok(Origin::Any) };
        Ok(Origin::Pattern {
            scheme: graphic("scheme", &pattern.scheme)?,
            host: parsed("host", &pattern.host)?,
            port: pattern.port.map(|number| port("port", number)).transpose()?,
        })
    };
    let method = |name: String| parsed::<Method>("name", &name).map(|_| Arc::from(name));
    let header = |name: String| parsed::<HeaderName>("name", &name).map(|_| Arc::from(name));
    Ok(Cors {
        allow_origins: each("allow_origins", cors.allow_origins, origin)?,
        allow_methods: each("allow_methods", cors.allow_methods, method)?,
        allow_headers: each("allow_headers", cors.allow_headers, header)?,
        expose_headers: each("expose_headers", cors.expose_headers, header)?,
        allow_credentials: cors.allow_credentials,
        max_age: cors.max_age,
    })
}

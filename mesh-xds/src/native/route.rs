//! Routes on the wire: attachments, rules, matches, backends.

use std::sync::Arc;

use http::HeaderName;
use mesh_model::backend::{Backend, Target};
use mesh_model::finding::Reason;
use mesh_model::matcher::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use mesh_model::route::{Retry, Timeouts};
use mesh_model::{Attachment, Kind, Route, RouteKind, Rule};

use super::field::{Decoded, Within, each, each_parsed, needed, parsed, port, short, text, wrong};
use super::{filter, meta, session};
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::{MatchPath, NamedMatchValue};

pub(super) fn encode(route: &Route) -> wire::Route {
    wire::Route {
        meta: meta::encode(&route.key, &route.source),
        kind: encode_kind(route.kind).into(),
        created: route.created,
        attachments: route.attachments.iter().map(encode_attachment).collect(),
        hostnames: route.hostnames.iter().map(ToString::to_string).collect(),
        rules: route.rules.iter().map(encode_rule).collect(),
        held: route.held,
    }
}

pub(super) fn decode(wire: wire::Route) -> Decoded<Route> {
    let (key, source) = meta::decode(Kind::Route, wire.meta)?;
    Ok(Route {
        key,
        source,
        kind: decode_kind(wire.kind)?,
        created: wire.created,
        attachments: each("attachments", wire.attachments, decode_attachment)?,
        hostnames: each_parsed("hostnames", &wire.hostnames)?,
        rules: each("rules", wire.rules, decode_rule)?,
        held: wire.held,
    })
}

fn encode_kind(kind: RouteKind) -> wire::RouteKind {
    match kind {
        RouteKind::Grpc => wire::RouteKind::Grpc,
        RouteKind::Http => wire::RouteKind::Http,
        RouteKind::Tcp => wire::RouteKind::Tcp,
        RouteKind::Tls => wire::RouteKind::Tls,
        RouteKind::Udp => wire::RouteKind::Udp,
    }
}

fn decode_kind(number: i32) -> Decoded<RouteKind> {
    let kind = match wire::RouteKind::try_from(number) {
        Ok(wire::RouteKind::Grpc) => Some(RouteKind::Grpc),
        Ok(wire::RouteKind::Http) => Some(RouteKind::Http),
        Ok(wire::RouteKind::Tcp) => Some(RouteKind::Tcp),
        Ok(wire::RouteKind::Tls) => Some(RouteKind::Tls),
        Ok(wire::RouteKind::Udp) => Some(RouteKind::Udp),
        Ok(wire::RouteKind::Unspecified) | Err(_) => None,
    };
    needed("kind", kind)
}

fn encode_attachment(attachment: &Attachment) -> wire::Attachment {
    let place = match attachment {
        Attachment::Listener(key) => wire::AttachmentPlace::Listener(key.to_string()),
        Attachment::Service { service, port } => wire::AttachmentPlace::Service(wire::ServiceRef {
            service: meta::encode_object(service),
            port: port.map(u32::from),
        }),
    };
    wire::Attachment { place: Some(place) }
}

fn decode_attachment(wire: wire::Attachment) -> Decoded<Attachment> {
    match needed("place", wire.place)? {
        wire::AttachmentPlace::Listener(name) => {
            Ok(Attachment::Listener(meta::decode_key(Kind::Listener, "listener", &name)?))
        }
        wire::AttachmentPlace::Service(wire) => Ok(Attachment::Service {
            service: meta::decode_object("service", wire.service)?,
            port: wire.port.map(|number| port("port", number)).transpose()?,
        }),
    }
}

fn encode_rule(rule: &Rule) -> wire::Rule {
    let retry = rule.retry.as_ref().map(|retry| wire::Retry {
        codes: retry.codes.iter().copied().map(u32::from).collect(),
        attempts: retry.attempts,
        backoff: meta::encode_span(retry.backoff),
    });
    wire::Rule {
        name: rule.name.as_ref().map(ToString::to_string),
        matches: rule.matches.iter().map(encode_match).collect(),
        filters: rule.filters.iter().map(filter::encode).collect(),
        backends: rule.backends.iter().map(encode_backend).collect(),
        request_timeout: meta::encode_span(rule.timeouts.request),
        backend_request_timeout: meta::encode_span(rule.timeouts.backend_request),
        retry,
        session: rule.session.as_deref().map(session::encode),
    }
}

fn decode_rule(wire: wire::Rule) -> Decoded<Rule> {
    let retry = |wire: wire::Retry| -> Decoded<Retry> {
        let codes = each("codes", wire.codes, |code| short("", code))?;
        let backoff = meta::decode_span("backoff", wire.backoff)?;
        Ok(Retry { codes, attempts: wire.attempts, backoff })
    };
    Ok(Rule {
        name: wire.name.map(Arc::from),
        matches: each("matches", wire.matches, decode_match)?,
        filters: each("filters", wire.filters, filter::decode)?,
        backends: each("backends", wire.backends, decode_backend)?,
        timeouts: Timeouts {
            request: meta::decode_span("request_timeout", wire.request_timeout)?,
            backend_request: meta::decode_span("backend_request_timeout", wire.backend_request_timeout)?,
        },
        retry: wire.retry.map(|wire| retry(wire).within("retry")).transpose()?,
        session: wire.session.map(|wire| session::decode(wire).within("session")).transpose()?,
    })
}

fn encode_match(alternative: &Match) -> wire::Match {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => NamedMatchValue::Exact(text.to_string()),
        ValueMatch::Regex(regex) => NamedMatchValue::Regex(regex.as_str().to_owned()),
    };
    let header =
        |h: &HeaderMatch| wire::NamedMatch { name: h.name.to_string(), value: Some(value(&h.value)) };
    let query = |q: &QueryMatch| wire::NamedMatch { name: q.name.to_string(), value: Some(value(&q.value)) };
    let path = match &alternative.path {
        PathMatch::Exact(path) => Some(MatchPath::Exact(path.to_string())),
        PathMatch::Prefix(path) if path.is_empty() => None,
        PathMatch::Prefix(path) => Some(MatchPath::Prefix(path.to_string())),
        PathMatch::Regex(regex) => Some(MatchPath::Regex(regex.as_str().to_owned())),
    };
    wire::Match {
        path,
        method: alternative.method.as_ref().map(ToString::to_string),
        headers: alternative.headers.iter().map(header).collect(),
        query: alternative.query.iter().map(query).collect(),
    }
}

fn decode_match(wire: wire::Match) -> Decoded<Match> {
    let path = match wire.path {
        None => PathMatch::default(),
        Some(MatchPath::Exact(path)) => PathMatch::Exact(absolute("exact", &path)?),
        Some(MatchPath::Prefix(path)) => PathMatch::prefix(&absolute("prefix", &path)?),
        Some(MatchPath::Regex(regex)) => PathMatch::Regex(decode_regex(&regex)?),
    };
    let header = |wire: wire::NamedMatch| -> Decoded<HeaderMatch> {
        Ok(HeaderMatch { name: parsed::<HeaderName>("name", &wire.name)?, value: decode_value(wire.value)? })
    };
    let query = |wire: wire::NamedMatch| -> Decoded<QueryMatch> {
        Ok(QueryMatch { name: text("name", &wire.name)?, value: decode_value(wire.value)? })
    };
    Ok(Match {
        path,
        method: wire.method.map(|method| parsed("method", &method)).transpose()?,
        headers: each("headers", wire.headers, header)?,
        query: each("query", wire.query, query)?,
    })
}

fn absolute(field: &str, path: &str) -> Decoded<Arc<str>> {
    if path.starts_with('/') { Ok(Arc::from(path)) } else { Err(wrong(field, "does not begin with a slash")) }
}

fn decode_regex(pattern: &str) -> Decoded<Regex> {
    Regex::new(pattern).map_err(|error| wrong("regex", error))
}

fn decode_value(value: Option<NamedMatchValue>) -> Decoded<ValueMatch> {
    match needed("value", value)? {
        NamedMatchValue::Exact(text) => Ok(ValueMatch::Exact(Arc::from(text))),
        NamedMatchValue::Regex(pattern) => Ok(ValueMatch::Regex(decode_regex(&pattern)?)),
    }
}

fn encode_backend(backend: &Backend) -> wire::Backend {
    wire::Backend {
        target: Some(encode_target(&backend.target)),
        weight: backend.weight,
        filters: backend.filters.iter().map(filter::encode).collect(),
    }
}

fn decode_backend(wire: wire::Backend) -> Decoded<Backend> {
    Ok(Backend {
        target: decode_target(wire.target)?,
        weight: wire.weight,
        filters: each("filters", wire.filters, filter::decode)?,
    })
}

pub(super) fn encode_target(target: &Target) -> wire::Target {
    let to = match target {
        Target::Invalid { reason, reference } => wire::TargetTo::Invalid(wire::InvalidTarget {
            reason: reason.as_str().to_owned(),
            reference: reference.to_string(),
        }),
        Target::Service { service, port } => wire::TargetTo::Service(wire::ServiceTarget {
            service: meta::encode_object(service),
            port: (*port).into(),
        }),
    };
    wire::Target { to: Some(to) }
}

pub(super) fn decode_target(target: Option<wire::Target>) -> Decoded<Target> {
    match needed("target", target.and_then(|target| target.to))? {
        wire::TargetTo::Service(wire) => Ok(Target::Service {
            service: meta::decode_object("service", wire.service).within("target")?,
            port: port("target.port", wire.port)?,
        }),
        wire::TargetTo::Invalid(wire) => {
            // A newer server may know more reasons; whatever the word, the target answers 500.
            let known = Reason::ALL.iter().find(|reason| reason.as_str() == wire.reason);
            let reason = known.copied().unwrap_or(Reason::UnsupportedValue);
            Ok(Target::Invalid { reason, reference: Arc::from(wire.reference) })
        }
    }
}

//! What every resource carries on the wire: key, source, object names, lengths of time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Kind, ObjectName, Origin, ResourceKey, SourceRef};

use super::field::{Decoded, Within, needed, parsed, text, wrong};
use crate::generated::mesh_v1 as wire;

pub(super) fn encode(key: &ResourceKey, source: &SourceRef) -> Option<wire::Meta> {
    Some(wire::Meta { key: key.to_string(), source: Some(encode_source(source)) })
}

/// Key and source of a resource of this kind.
pub(super) fn decode(kind: Kind, meta: Option<wire::Meta>) -> Decoded<(ResourceKey, SourceRef)> {
    let meta = needed("meta", meta)?;
    let key = decode_key(kind, "key", &meta.key).within("meta")?;
    let source = needed("source", meta.source).and_then(|s| decode_source(s).within("source"));
    Ok((key, source.within("meta")?))
}

/// A reference to a resource of this kind.
pub(super) fn decode_key(kind: Kind, field: &str, name: &str) -> Decoded<ResourceKey> {
    let key: ResourceKey = parsed(field, name)?;
    if key.kind == kind { Ok(key) } else { Err(wrong(field, format!("names a {}", key.kind.as_str()))) }
}

pub(super) fn encode_source(source: &SourceRef) -> wire::Source {
    let origin = match &source.origin {
        Origin::Api { generation } => Some(wire::SourceOrigin::Generation(*generation)),
        Origin::Builtin => None,
        Origin::File { path, line } => {
            Some(wire::SourceOrigin::File(wire::FilePlace { path: path.to_string(), line: *line }))
        }
    };
    wire::Source { kind: source.kind.to_string(), object: encode_object(&source.object), origin }
}

pub(super) fn decode_source(source: wire::Source) -> Decoded<SourceRef> {
    let origin = match source.origin {
        Some(wire::SourceOrigin::Generation(generation)) => Origin::Api { generation },
        Some(wire::SourceOrigin::File(place)) => {
            Origin::File { path: Arc::from(place.path), line: place.line }
        }
        None => Origin::Builtin,
    };
    Ok(SourceRef::new(text("kind", &source.kind)?, decode_object("object", source.object)?, origin))
}

pub(super) fn encode_object(object: &ObjectName) -> Option<wire::ObjectRef> {
    Some(wire::ObjectRef { namespace: object.namespace.to_string(), name: object.name.to_string() })
}

pub(super) fn decode_object(field: &str, object: Option<wire::ObjectRef>) -> Decoded<ObjectName> {
    let object = needed(field, object)?;
    let name = text("name", &object.name).within(field)?;
    Ok(ObjectName::new(object.namespace, name))
}

pub(super) fn encode_span(span: Option<Duration>) -> Option<wire::Span> {
    span.map(|span| wire::Span { seconds: span.as_secs(), nanos: span.subsec_nanos() })
}

pub(super) fn decode_span(field: &str, span: Option<wire::Span>) -> Decoded<Option<Duration>> {
    let Some(span) = span else { return Ok(None) };
    if span.nanos >= 1_000_000_000 {
        return Err(wrong(field, "holds a second or more in nanoseconds"));
    }
    Ok(Some(Duration::new(span.seconds, span.nanos)))
}

pub(super) fn encode_labels(labels: &BTreeMap<Arc<str>, Arc<str>>) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(super) fn decode_labels(labels: BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    labels.into_iter().map(|(name, value)| (Arc::from(name), Arc::from(value))).collect()
}

//! How requests are traced, on the wire.

use std::sync::Arc;

use mesh_model::filter::HeaderKey;
use mesh_model::tracing::{Parents, Recording, Share, SpanAttribute, SpanValue, Tracing};

use super::field::{Decoded, Within, each, needed, parsed, text, wrong};
use super::filter::{decode_line, encode_line};
use super::meta;
use super::route::{decode_target, encode_target};
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::SpanAttributeValue as WireValue;

pub(super) fn encode(tracing: &Tracing) -> wire::Tracing {
    wire::Tracing {
        source: Some(meta::encode_source(&tracing.source)),
        recording: tracing.recording.as_ref().map(encode_recording),
    }
}

pub(super) fn decode(wire: wire::Tracing) -> Decoded<Tracing> {
    Ok(Tracing {
        source: needed("source", wire.source).and_then(|s| meta::decode_source(s).within("source"))?,
        recording: wire.recording.map(|r| decode_recording(r).within("recording")).transpose()?,
    })
}

fn encode_recording(recording: &Recording) -> wire::Recording {
    let attribute = |attribute: &SpanAttribute| wire::SpanAttribute {
        name: attribute.name.to_string(),
        value: Some(match &attribute.value {
            SpanValue::Header(name) => WireValue::Header(name.0.to_string()),
            SpanValue::Literal(text) => WireValue::Literal(text.to_string()),
            SpanValue::Property(property) => WireValue::Property(property.to_string()),
        }),
    };
    let parents = match recording.parents {
        Parents::Ignored => None,
        Parents::Respected(share) => Some(encode_share(share)),
    };
    wire::Recording {
        receiver: Some(encode_target(&recording.receiver)),
        headers: recording.headers.iter().map(encode_line).collect(),
        sampling: Some(encode_share(recording.sampling)),
        parents,
        service_name: recording.service_name.to_string(),
        span_name: recording.span_name.as_ref().map_or_else(String::new, ToString::to_string),
        attributes: recording.attributes.iter().map(attribute).collect(),
    }
}

fn decode_recording(wire: wire::Recording) -> Decoded<Recording> {
    let attribute = |wire: wire::SpanAttribute| -> Decoded<SpanAttribute> {
        let value = match needed("value", wire.value)? {
            WireValue::Header(name) => SpanValue::Header(HeaderKey(parsed("header", &name)?)),
            WireValue::Literal(text) => SpanValue::Literal(Arc::from(text)),
            WireValue::Property(key) => SpanValue::Property(parsed("property", &key)?),
        };
        Ok(SpanAttribute { name: text("name", &wire.name)?, value })
    };
    let parents = wire.parents.map(|share| decode_share("parents", Some(share))).transpose()?;
    Ok(Recording {
        receiver: decode_target(wire.receiver)?,
        headers: each("headers", wire.headers, decode_line)?,
        sampling: decode_share("sampling", wire.sampling)?,
        parents: parents.map_or(Parents::Ignored, Parents::Respected),
        service_name: text("service_name", &wire.service_name)?,
        span_name: (!wire.span_name.is_empty()).then(|| Arc::from(wire.span_name)),
        attributes: each("attributes", wire.attributes, attribute)?,
    })
}

fn encode_share(share: Share) -> wire::Share {
    wire::Share { numerator: share.numerator, denominator: share.denominator }
}

fn decode_share(field: &str, wire: Option<wire::Share>) -> Decoded<Share> {
    let wire::Share { numerator, denominator } = needed(field, wire)?;
    if denominator == 0 || numerator > denominator {
        return Err(wrong(field, format!("{numerator}/{denominator} is no share")));
    }
    Ok(Share { numerator, denominator })
}

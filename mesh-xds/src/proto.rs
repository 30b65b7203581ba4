//! The messages of upstream's aggregated discovery service that the mesh uses, written by hand with
//! upstream's field numbers. Fields not listed are skipped when read. No behaviour lives here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind as ValueKind;

pub mod authorization;

/// The gRPC path of the delta stream.
pub const DELTA_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The gRPC service name.
pub const SERVICE_NAME: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// `google.protobuf.Any` with a payload that is shared, not copied.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)] // payloads may hold keys
pub struct Any {
    /// The type URL of the payload.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded payload.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl std::fmt::Debug for Any {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Any({}, {} bytes)", self.type_url, self.value.len())
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// A `google.rpc.Code`.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Typed details; ours carry `mesh.v1.Rejections`.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// The node's own name, unique in its cluster.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The group of nodes that are configured alike.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Free metadata; `features` lists what the node understands.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
    /// The name of the program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// The version of the program.
    #[prost(string, optional, tag = "7")]
    pub user_agent_version: Option<String>,
    /// Features in upstream's registry of well-known names.
    #[prost(string, repeated, tag = "10")]
    pub client_features: Vec<String>,
}

/// The metadata field that lists the resource features a node understands.
const FEATURES: &str = "features";
/// The metadata field with the number of types whose first request follows at once.
const OPENING: &str = "opening";

impl Node {
    /// A node of the mesh that understands `features`.
    pub fn with_features<'a>(
        id: impl Into<String>,
        cluster: impl Into<String>,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let text = |f: &str| prost_types::Value { kind: Some(ValueKind::StringValue(f.to_owned())) };
        let values = features.into_iter().map(text).collect();
        let list = ValueKind::ListValue(prost_types::ListValue { values });
        let fields = [(FEATURES.to_owned(), prost_types::Value { kind: Some(list) })];
        Self {
            id: id.into(),
            cluster: cluster.into(),
            metadata: Some(Struct { fields: fields.into() }),
            user_agent_name: "service-mesh".to_owned(),
            user_agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            client_features: Vec::new(),
        }
    }

    /// Announces how many types the client is about to subscribe to, so that the server orders its first
    /// responses over all of them.
    pub fn announce(&mut self, types: usize) {
        let number = ValueKind::NumberValue(types as f64);
        let fields = &mut self.metadata.get_or_insert_default().fields;
        fields.insert(OPENING.to_owned(), prost_types::Value { kind: Some(number) });
    }

    /// The announced number of types; 0 when the client does not say.
    pub fn announced(&self) -> usize {
        let value = self.metadata.as_ref().and_then(|m| m.fields.get(OPENING));
        match value.and_then(|v| v.kind.as_ref()) {
            Some(ValueKind::NumberValue(types)) => *types as usize, // saturates; NaN is 0
            _ => 0,
        }
    }

    /// `metadata.features`; empty when absent or of another shape.
    pub fn features(&self) -> BTreeSet<String> {
        let value = self.metadata.as_ref().and_then(|m| m.fields.get(FEATURES));
        let Some(ValueKind::ListValue(list)) = value.and_then(|v| v.kind.as_ref()) else {
            return BTreeSet::new();
        };
        let text = |v: &prost_types::Value| match &v.kind {
            Some(ValueKind::StringValue(text)) => Some(text.clone()),
            _ => None,
        };
        list.values.iter().filter_map(text).collect()
    }
}

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`: a subscription change, an ACK or a NACK.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; needed on the first request of a stream only.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The resource type.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names to add; `*` is the wildcard.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names to take away.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// Name and version of what the client holds, on the first request of a type.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The nonce of the response this answers; empty for a spontaneous request.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Present in a NACK.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resource {
    /// The version of this resource.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The payload.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// The name of this resource.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// The version of the server's state, for debugging only.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// The resource type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Identifies this response in the answer to it.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of resources that no longer exist.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// Reads one request from untrusted bytes.
///
/// # Errors
/// When the bytes are not a request.
pub fn decode_request(bytes: &[u8]) -> Result<DeltaDiscoveryRequest, prost::DecodeError> {
    prost::Message::decode(bytes)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn field_numbers_are_upstreams() {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: "n".into(), ..Node::default() }),
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into()],
            resource_names_unsubscribe: vec!["b".into()],
            initial_resource_versions: [("c".to_owned(), "1".to_owned())].into(),
            response_nonce: "7".into(),
            error_detail: Some(Status { code: 3, message: "m".into(), details: vec![] }),
        };
        let golden = b"\x0a\x03\x0a\x01n\x12\x01t\x1a\x01a\x22\x01b\x2a\x06\x0a\x01c\x12\x011\x32\x017\x3a\x05\x08\x03\x12\x01m";
        assert_eq!(request.encode_to_vec(), golden);
        let any = Any { type_url: "t".into(), value: Bytes::from_static(b"v") };
        let resource = Resource { version: "1".into(), resource: Some(any), name: "a".into() };
        let response = DeltaDiscoveryResponse {
            system_version_info: "s".into(),
            resources: vec![resource],
            type_url: "t".into(),
            nonce: "7".into(),
            removed_resources: vec!["b".into()],
        };
        let golden =
            b"\x0a\x01s\x12\x0e\x0a\x011\x12\x06\x0a\x01t\x12\x01v\x1a\x01a\x22\x01t\x2a\x017\x32\x01b";
        assert_eq!(response.encode_to_vec(), golden);
    }

    #[test]
    fn unknown_fields_are_skipped_and_broken_requests_are_errors() {
        let mut bytes = DeltaDiscoveryRequest { type_url: "t".into(), ..Default::default() }.encode_to_vec();
        bytes.extend_from_slice(b"\x42\x03abc\xf8\x3f\x01");
        assert_eq!(decode_request(&bytes).map(|r| r.type_url), Ok("t".to_owned()));
        assert!(decode_request(b"\x0a\xff\xff\xff\xff\x0f").is_err());
        assert!(decode_request(&[0x0a; 4096]).is_err());
    }

    #[test]
    fn deep_nesting_is_an_error() {
        // metadata.fields["a"].struct_value.fields["a"] ..., far deeper than any real node.
        let mut value = prost_types::Value::default();
        for _ in 0..200 {
            let fields = [("a".to_owned(), value)].into();
            value = prost_types::Value { kind: Some(ValueKind::StructValue(Struct { fields })) };
        }
        let metadata = Some(Struct { fields: [("a".to_owned(), value)].into() });
        let request =
            DeltaDiscoveryRequest { node: Some(Node { metadata, ..Node::default() }), ..Default::default() };
        assert!(decode_request(&request.encode_to_vec()).is_err());
    }

    #[test]
    fn features_are_read_from_the_metadata_list() {
        let node = Node::with_features("n", "c", ["b", "a"]);
        let back = Node::decode(node.encode_to_vec().as_slice()).expect("own encoding");
        assert_eq!(back.features().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(Node::default().features().is_empty());
    }

    #[test]
    fn a_request_of_any_bytes_is_an_error_or_a_request() {
        let good = DeltaDiscoveryRequest {
            node: Some(Node::with_features("n", "c", ["a"])),
            type_url: "t".into(),
            initial_resource_versions: [("a".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let good = good.encode_to_vec();
        for place in 0..good.len() {
            for byte in 0..=255 {
                let mut bytes = good.clone();
                bytes[place] = byte;
                if let Ok(request) = decode_request(&bytes) {
                    _ = request.node.as_ref().map(|node| (node.features(), node.announced()));
                    assert_eq!(decode_request(&request.encode_to_vec()), Ok(request));
                }
            }
            _ = decode_request(&good[..place]);
        }
    }
}

//! How requests at a gateway are traced (`XTelemetryPolicy`, GEP-4768), as values. Nothing is recorded here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Target;
use crate::filter::{HeaderKey, HeaderLine};
use crate::source::SourceRef;

/// What a policy says of the traces of a gateway. It stands in place of what the gateway's proxies do by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The object that says so.
    pub source: SourceRef,
    /// What is recorded; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}

/// What is recorded, and who receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// The receiver: OTLP over gRPC, or over HTTP/1 where its port declares that.
    pub receiver: Target,
    /// Headers of every export.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderLine>,
    /// The share of new traces that are recorded.
    pub sampling: Share,
    /// What a client's own decision counts for.
    pub parents: Parents,
    /// The resource's `service.name`.
    pub service_name: Arc<str>,
    /// The name of spans; the method when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_name: Option<Arc<str>>,
    /// Further attributes of every span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<SpanAttribute>,
}

/// A share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The part, at most the whole.
    pub numerator: u32,
    /// The whole, at least 1.
    pub denominator: u32,
}

impl Share {
    /// Everything.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// Whether a number that was drawn evenly below the whole falls into the share.
    pub fn holds(self, drawn: u64) -> bool {
        drawn < u64::from(self.numerator)
    }
}

/// What the decision of a client counts for, which `traceparent` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Parents {
    /// Nothing: its traces are sampled as new ones are.
    Ignored,
    /// A trace that the client does not record is not recorded here either; of the others, this share is.
    Respected(Share),
}

/// An attribute of every span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanAttribute {
    /// Its name.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub value: SpanValue,
}

/// Where the value of an attribute comes from. A span whose request has none is without the attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SpanValue {
    /// A header of the request.
    Header(HeaderKey),
    /// The policy.
    Literal(Arc<str>),
    /// The exchange.
    Property(Property),
}

macro_rules! properties {
    ($( $(#[$doc:meta])* $name:ident = $key:literal ),+ $(,)?) => {
        /// A property of an exchange, by its key in the dictionary of attributes (GEP-5253).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Property { $( $(#[$doc])* $name ),+ }

        impl Property {
            /// Every property, in the order of the keys.
            pub const ALL: &'static [Self] = &[ $( Self::$name ),+ ];

            /// The key.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => $key ),+ }
            }
        }
    };
}

properties! {
    /// The client's address.
    ClientAddress = "client.address",
    /// Why this proxy answered or broke off, or the status of a failed answer.
    ErrorType = "error.type",
    /// The method.
    Method = "http.request.method",
    /// The status of the answer.
    Status = "http.response.status_code",
    /// The address at the other end of the connection.
    PeerAddress = "network.peer.address",
    /// `http`.
    Protocol = "network.protocol.name",
    /// `tcp`.
    Transport = "network.transport",
    /// `ipv4` or `ipv6`.
    AddressFamily = "network.type",
    /// The host that was asked for.
    ServerAddress = "server.address",
    /// The port of the listener.
    ServerPort = "server.port",
    /// The whole address that was asked for.
    UrlFull = "url.full",
    /// The path.
    UrlPath = "url.path",
    /// The query.
    UrlQuery = "url.query",
    /// `http` or `https`.
    UrlScheme = "url.scheme",
}

/// No property has this key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a property of requests that is known here")]
pub struct UnknownProperty(String);

impl FromStr for Property {
    type Err = UnknownProperty;

    fn from_str(text: &str) -> Result<Self, UnknownProperty> {
        let found = Self::ALL.iter().find(|property| property.as_str() == text);
        found.copied().ok_or_else(|| UnknownProperty(text.to_owned()))
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Property> for String {
    fn from(property: Property) -> Self {
        property.as_str().to_owned()
    }
}

impl TryFrom<String> for Property {
    type Error = UnknownProperty;

    fn try_from(text: String) -> Result<Self, UnknownProperty> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_and_read_back() {
        let keys: Vec<_> = Property::ALL.iter().map(|property| property.as_str()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for property in Property::ALL {
            assert_eq!(property.as_str().parse(), Ok(*property));
        }
        assert!("http.request".parse::<Property>().is_err());
    }

    #[test]
    fn a_share_holds_as_many_of_the_whole_as_it_says() {
        let count = |numerator, denominator: u32| {
            let share = Share { numerator, denominator };
            (0..u64::from(denominator)).filter(|drawn| share.holds(*drawn)).count()
        };
        assert_eq!((count(0, 100), count(25, 100), count(1, 1)), (0, 25, 1));
    }
}

//! The place of a request in its trace: joined or begun, recorded or not, as a policy of the gateway asks, or else as the
//! proxy was started.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Uri};
use mesh_model::Reason;
use mesh_model::tracing::{Parents, Property, Recording, Share, SpanValue, Tracing};
use mesh_rt::random::Fast;

use super::Exchange;
use super::otlp::{Span, Value, span};
use super::trace::TraceContext;

/// A request's place in its trace.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The context that is passed on; its span is this proxy's.
    pub context: TraceContext,
    /// The client's span, if it sent one.
    pub parent: Option<[u8; 8]>,
    policy: Option<Arc<Tracing>>,
    /// What the policy wants of the request's head.
    values: Vec<(Arc<str>, Value)>,
}

/// What a span may tell of a request beside its exchange.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Path and query.
    pub uri: &'a Uri,
    /// The client's address.
    pub source: IpAddr,
    /// TLS ended here.
    pub tls: bool,
    /// The port of the listener.
    pub port: u16,
}

impl Traced {
    /// Joins or begins the trace of a request and passes it on in its headers. `exported` says whether the proxy itself
    /// exports spans where no policy decides.
    pub fn begin(
        policy: Option<&Arc<Tracing>>,
        exported: bool,
        chance: &mut Fast,
        headers: &mut HeaderMap,
    ) -> Self {
        let sent = TraceContext::read(headers);
        let Some(policy) = policy else { return Self::unruled(sent, exported, chance, headers) };
        let Some(recording) = &policy.recording else {
            let traced = Self::unruled(sent, false, chance, headers);
            return Self { policy: Some(Arc::clone(policy)), ..traced };
        };
        let mut falls = |share: Share| share.holds(chance.below(share.denominator.into()));
        let sampled = match (sent, recording.parents) {
            (Some(sent), Parents::Respected(share)) => sent.sampled && falls(share),
            _ => falls(recording.sampling),
        };
        let values = if sampled { of_head(recording, headers) } else { Vec::new() };
        let context = match sent {
            Some(sent) => TraceContext { sampled, ..sent.child(chance) },
            None => TraceContext::root(chance, sampled),
        };
        match sent {
            // A span that nobody sees must not be a parent. A decision that does not count is not passed on either.
            Some(sent) if !sampled => {
                if recording.parents == Parents::Ignored {
                    TraceContext { sampled, ..sent }.write(headers);
                }
            }
            _ => context.write(headers),
        }
        let parent = sent.map(|sent| sent.span_id);
        Self { context, parent, policy: Some(Arc::clone(policy)), values }
    }

    fn unruled(
        sent: Option<TraceContext>,
        exported: bool,
        chance: &mut Fast,
        headers: &mut HeaderMap,
    ) -> Self {
        let (context, parent) = match sent {
            Some(sent) => (sent.child(chance), Some(sent.span_id)),
            None => (TraceContext::root(chance, exported), None),
        };
        // Without an exporter the client's context passes as it is: a span nobody sees must not be a parent.
        if exported || parent.is_none() {
            context.write(headers);
        }
        Self { context, parent, policy: None, values: Vec::new() }
    }

    /// Whether the proxy's own exporter gets the span.
    pub fn is_for_proxy(&self) -> bool {
        self.policy.is_none() && self.context.sampled
    }

    /// The policy whose receiver gets the span.
    pub fn receiver(&self) -> Option<&Arc<Tracing>> {
        self.policy.as_ref().filter(|policy| policy.recording.is_some() && self.context.sampled)
    }

    /// The span for the policy's receiver; `None` when there is none.
    pub fn span(&self, exchange: &Exchange<'_>, asked: Asked<'_>) -> Option<Span> {
        let recording = self.receiver()?.recording.as_ref()?;
        let mut values = self.values.clone();
        values.extend(recording.attributes.iter().filter_map(|attribute| match attribute.value {
            SpanValue::Property(wanted) => {
                Some((Arc::clone(&attribute.name), property(wanted, exchange, asked)?))
            }
            SpanValue::Header(_) | SpanValue::Literal(_) => None,
        }));
        Some(span(exchange, recording.span_name.as_deref(), values))
    }
}

/// The values that are known with the head.
fn of_head(recording: &Recording, headers: &HeaderMap) -> Vec<(Arc<str>, Value)> {
    let value = |value: &SpanValue| match value {
        SpanValue::Header(name) => {
            let lines: Vec<_> = headers.get_all(&name.0).iter().map(|line| line.as_bytes()).collect();
            (!lines.is_empty()).then(|| String::from_utf8_lossy(&lines.join(&b',')).into_owned())
        }
        SpanValue::Literal(text) => Some(text.to_string()),
        SpanValue::Property(_) => None,
    };
    let attributes = recording.attributes.iter();
    let known = attributes.filter_map(|a| Some((Arc::clone(&a.name), Value::Text(value(&a.value)?))));
    known.collect()
}

fn property(wanted: Property, exchange: &Exchange<'_>, asked: Asked<'_>) -> Option<Value> {
    let scheme = if asked.tls { "https" } else { "http" };
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    match wanted {
        Property::AddressFamily => text(if asked.source.is_ipv4() { "ipv4" } else { "ipv6" }),
        Property::ClientAddress | Property::PeerAddress => text(&asked.source.to_string()),
        Property::ErrorType if exchange.reason != Reason::Accepted => text(exchange.reason.as_str()),
        Property::ErrorType => (exchange.status >= 500).then(|| Value::Text(exchange.status.to_string())),
        Property::Method => text(exchange.method),
        Property::Protocol => text("http"),
        Property::ServerAddress => text(exchange.authority),
        Property::ServerPort => Some(Value::Number(asked.port.into())),
        Property::Status => Some(Value::Number(exchange.status.into())),
        Property::Transport => text("tcp"),
        Property::UrlFull => {
            let query = asked.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            text(&format!("{scheme}://{}{}{query}", exchange.authority, exchange.path))
        }
        Property::UrlPath => text(exchange.path),
        Property::UrlQuery => text(asked.uri.query()?),
        Property::UrlScheme => text(scheme),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use mesh_model::backend::Target;
    use mesh_model::filter::HeaderKey;
    use mesh_model::tracing::SpanAttribute;
    use mesh_model::{ObjectName, Origin, SourceRef};

    use super::*;
    use crate::tests::exchange;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn policy(change: impl FnOnce(&mut Recording)) -> Arc<Tracing> {
        let mut recording = Recording {
            receiver: Target::Service { service: ObjectName::new("o11y", "collector"), port: 4317 },
            headers: Vec::new(),
            sampling: Share::ALL,
            parents: Parents::Respected(Share::ALL),
            service_name: Arc::from("edge"),
            span_name: None,
            attributes: Vec::new(),
        };
        change(&mut recording);
        let source = SourceRef::new("XTelemetryPolicy", ObjectName::new("shop", "traced"), Origin::Builtin);
        Arc::new(Tracing { source, recording: Some(recording) })
    }

    /// The trace of a request with these headers, and `traceparent` as it is passed on.
    fn begun(policy: &Arc<Tracing>, sent: Option<&'static str>) -> (Traced, String) {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("anna"));
        headers.extend(sent.map(|s| (HeaderName::from_static("traceparent"), HeaderValue::from_static(s))));
        let traced = Traced::begin(Some(policy), true, &mut Fast::seeded(9), &mut headers);
        let passed = headers["traceparent"].to_str().expect("ASCII").to_owned();
        (traced, passed)
    }

    fn none() -> Share {
        Share { numerator: 0, denominator: 100 }
    }

    #[test]
    fn new_traces_are_sampled_by_their_share_alone() {
        let count = |share: Share| {
            let policy = policy(|recording| recording.sampling = share);
            let mut chance = Fast::seeded(3);
            let mut once = || Traced::begin(Some(&policy), true, &mut chance, &mut HeaderMap::new());
            (0..2000).filter(|_| once().receiver().is_some()).count()
        };
        assert_eq!((count(none()), count(Share::ALL)), (0, 2000));
        let quarter = count(Share { numerator: 25, denominator: 100 });
        assert!((400..600).contains(&quarter), "{quarter}");
    }

    #[test]
    fn a_clients_decision_counts_where_it_is_respected() {
        let respected = policy(|recording| recording.sampling = none());
        let (traced, passed) = begun(&respected, Some(SENT));
        assert!(traced.receiver().is_some() && passed != SENT && passed.ends_with("-01"), "{passed}");
        assert_eq!(traced.parent.map(|span| span[0]), Some(0xb7));
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let (traced, passed) = begun(&policy(|_| ()), Some(unsampled));
        assert!(traced.receiver().is_none());
        assert_eq!(passed, unsampled);
        // Fewer are recorded than the client records, and what is not passes as it came.
        let fewer = policy(|recording| recording.parents = Parents::Respected(none()));
        let (traced, passed) = begun(&fewer, Some(SENT));
        assert!(traced.receiver().is_none());
        assert_eq!(passed, SENT);
        let ignored =
            policy(|recording| (recording.parents, recording.sampling) = (Parents::Ignored, none()));
        let (traced, passed) = begun(&ignored, Some(SENT));
        assert!(traced.receiver().is_none());
        assert_eq!(passed, unsampled);
    }

    #[test]
    fn a_policy_that_disables_traces_records_nothing_and_passes_them_on() {
        let mut disabled = (*policy(|_| ())).clone();
        disabled.recording = None;
        let (traced, passed) = begun(&Arc::new(disabled), Some(SENT));
        assert!(traced.receiver().is_none() && !traced.is_for_proxy());
        assert_eq!(passed, SENT);
    }

    #[test]
    fn attributes_come_from_headers_texts_and_the_exchange_and_are_left_out_where_there_is_none() {
        let attribute = |name: &str, value| SpanAttribute { name: Arc::from(name), value };
        let header = |name| SpanValue::Header(HeaderKey(HeaderName::from_static(name)));
        let policy = policy(|recording| {
            recording.span_name = Some(Arc::from("ingress"));
            recording.attributes = vec![
                attribute("user", header("x-user")),
                attribute("absent", header("x-absent")),
                attribute("env", SpanValue::Literal(Arc::from("prod"))),
                attribute("code", SpanValue::Property(Property::Status)),
                attribute("full", SpanValue::Property(Property::UrlFull)),
                attribute("error", SpanValue::Property(Property::ErrorType)),
            ];
        });
        let (traced, _) = begun(&policy, None);
        let uri = Uri::from_static("/a?b=1");
        let asked = Asked { uri: &uri, source: [192, 0, 2, 1].into(), tls: true, port: 443 };
        let made = traced.span(&exchange("/a", 200), asked).expect("it is recorded");
        assert_eq!(made.name, "ingress");
        let names: Vec<&str> = made.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        let printed = format!("{:?}", made.attributes);
        assert!(!names.contains(&"absent") && !names.contains(&"error"), "{names:?}");
        for text in ["anna", "prod", "https://reviews/a?b=1", "IntValue(200)"] {
            assert!(printed.contains(text), "{text}: {printed}");
        }
    }
}

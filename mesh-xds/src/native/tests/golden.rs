//! One resource of every kind with every field set, and the bytes it has had since the first release. A failure
//! here means that released proxies would misread a controller: numbers and types of fields never change.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use mesh_model::backend::{Backend, Target};
use mesh_model::filter::{
    AuthProtocol, Cors, ExternalAuth, Filter, HeaderEdit, HeaderKey, HeaderLine, Mirror, PathEdit, Redirect,
    Rewrite,
};
use mesh_model::finding::Reason;
use mesh_model::listener::ClientValidation;
use mesh_model::matcher::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use mesh_model::policy::{
    Action, Condition, ConditionKey, ConditionValues, Operation, Patterns, PolicyRule, TextPattern,
};
use mesh_model::route::{Retry, Timeouts};
use mesh_model::tls::{ClientCertificate, PrivateKey, Roots, SubjectAltName};
use mesh_model::{
    AppProtocol, Attachment, AuthorizationPolicy, BackendTls, Certificate, Endpoint, EndpointChunk, Listener,
    ListenerProtocol, ListenerTls, ObjectName, Resource, ResourceKey, RetryBudget, Route, RouteKind, Rule,
    Service, ServicePort, Session, SessionCarrier, SessionKey, SourceRef, Transport, Workload,
};

use super::super::{decode, encode};

fn key(name: &str) -> ResourceKey {
    name.parse().expect("a key")
}

fn object() -> ObjectName {
    ObjectName::new("shop", "cart")
}

fn from_api(kind: &str) -> SourceRef {
    SourceRef::new(kind, object(), mesh_model::Origin::Api { generation: 7 })
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn listener() -> Resource {
    let client = ClientValidation { roots: vec![Arc::from(&b"root"[..])], insecure_fallback: true };
    let certificates = vec![key("local/shop/Certificate/cert")];
    Resource::Listener(Arc::new(Listener {
        key: key("local/shop/Listener/edge/https"),
        source: from_api("Gateway"),
        gateway: object(),
        name: "https".into(),
        port: 443,
        protocol: ListenerProtocol::Https,
        hostname: "*.shop.example".parse().expect("a pattern"),
        tls: Some(ListenerTls::Terminate { certificates, client: Some(client) }),
        backend_certificate: None,
        filters: Vec::new(),
        tracing: None,
    }))
}

fn filters() -> Vec<Filter> {
    let line = |name: &'static str| HeaderLine {
        name: HeaderName::from_static(name),
        value: HeaderValue::from_static("v"),
    };
    let edit = || HeaderEdit {
        set: vec![line("x-set")],
        add: vec![line("x-add")],
        remove: vec![HeaderKey(HeaderName::from_static("x-remove"))],
    };
    vec![
        Filter::RequestHeaders(edit()),
        Filter::ResponseHeaders(edit()),
        Filter::Cors(Cors {
            allow_origins: vec![
                mesh_model::filter::Origin::Any,
                mesh_model::filter::Origin::Pattern {
                    scheme: "https".into(),
                    host: "*.a.example".parse().expect("a pattern"),
                    port: Some(8443),
                },
            ],
            allow_methods: vec!["GET".into()],
            allow_headers: vec!["x-a".into()],
            expose_headers: vec!["x-b".into()],
            allow_credentials: true,
            max_age: 600,
        }),
        Filter::Mirror(Mirror {
            target: Target::Service { service: object(), port: 81 },
            numerator: 1,
            denominator: 3,
        }),
        Filter::Redirect(Redirect {
            scheme: Some("https".into()),
            hostname: Some("b.example".into()),
            port: Some(8443),
            path: Some(PathEdit::Full("/full".into())),
            status: 308,
        }),
        Filter::Rewrite(Rewrite {
            hostname: Some("c.example".into()),
            path: Some(PathEdit::Prefix("/prefix".into())),
        }),
        Filter::ExternalAuth(ExternalAuth {
            target: Target::Service { service: object(), port: 82 },
            protocol: AuthProtocol::Http {
                prefix: "/auth".into(),
                allowed: vec![HeaderKey(HeaderName::from_static("x-a"))],
                taken: vec![HeaderKey(HeaderName::from_static("x-b"))],
            },
            max_body: 1024,
        }),
        Filter::ExternalAuth(ExternalAuth {
            target: Target::Service { service: object(), port: 83 },
            protocol: AuthProtocol::Grpc { allowed: vec![HeaderKey(HeaderName::from_static("x-c"))] },
            max_body: 0,
        }),
    ]
}

fn alternative(path: PathMatch, value: ValueMatch) -> Match {
    Match {
        path,
        method: Some(Method::PATCH),
        headers: vec![HeaderMatch { name: HeaderName::from_static("x-h"), value: value.clone() }],
        query: vec![QueryMatch { name: "q".into(), value }],
    }
}

fn session(carrier: SessionCarrier) -> Arc<Session> {
    let keys = [1, 2].map(|byte| SessionKey::new([byte; 32])).to_vec();
    let (source, absolute_timeout) = (from_api("HTTPRoute"), Some(Duration::from_secs(300)));
    Arc::new(Session { source, carrier, absolute_timeout, keys })
}

pub(super) fn route() -> Resource {
    let regex = || Regex::new("v[0-9]+").expect("valid");
    let invalid = Target::Invalid { reason: Reason::BackendNotFound, reference: "Service x".into() };
    let rule = Rule {
        name: Some("rule".into()),
        matches: vec![
            alternative(PathMatch::Exact("/exact".into()), ValueMatch::Exact("1".into())),
            alternative(PathMatch::prefix("/prefix"), ValueMatch::Regex(regex())),
            Match { path: PathMatch::Regex(regex()), ..Match::default() },
        ],
        filters: filters(),
        backends: vec![
            Backend {
                target: Target::Service { service: object(), port: 80 },
                weight: 90,
                filters: filters(),
            },
            Backend { target: invalid, weight: 10, filters: vec![] },
        ],
        timeouts: Timeouts {
            request: Some(Duration::from_millis(1500)),
            backend_request: Some(Duration::from_secs(1)),
        },
        retry: Some(Retry { codes: vec![502, 503], attempts: 3, backoff: Some(Duration::from_millis(25)) }),
        session: Some(session(SessionCarrier::Header("x-session".parse().expect("a header")))),
    };
    Resource::Route(Arc::new(Route {
        key: key("local/shop/Route/cart"),
        source: SourceRef::new(
            "HTTPRoute",
            object(),
            mesh_model::Origin::File { path: "a.yaml".into(), line: 12 },
        ),
        kind: RouteKind::Http,
        created: 1_700_000_000,
        attachments: vec![
            Attachment::Listener(key("local/shop/Listener/edge/https")),
            Attachment::Service { service: object(), port: Some(80) },
        ],
        hostnames: vec!["shop.example".parse().expect("a pattern")],
        rules: vec![rule],
        held: true,
    }))
}

fn service() -> Resource {
    Resource::Service(Arc::new(Service {
        key: key("local/shop/Service/cart"),
        source: SourceRef::new("Service", object(), mesh_model::Origin::Builtin),
        name: object(),
        addresses: vec![ip("240.0.0.1"), ip("fd00::1")],
        ports: vec![
            ServicePort {
                name: "http".into(),
                port: 80,
                transport: Transport::Tcp,
                protocol: AppProtocol::Http2,
            },
            ServicePort {
                name: "dns".into(),
                port: 53,
                transport: Transport::Udp,
                protocol: AppProtocol::Detect,
            },
        ],
        retry_budget: Some(RetryBudget {
            source: from_api("XBackendTrafficPolicy"),
            percent: 20,
            interval: Duration::from_secs(10),
            least: 7,
            least_interval: Duration::from_millis(1500),
        }),
        session: Some(session(SessionCarrier::Cookie {
            name: "cart".parse().expect("a name"),
            path: "/cart".parse().expect("a path"),
            permanent: true,
        })),
        hostname: Some("api.example.com".into()),
    }))
}

pub(super) fn chunk() -> Resource {
    let endpoint = Endpoint {
        address: "[fd00::2]:8080".parse().expect("an address"),
        identity: Some("spiffe://cluster.local/ns/shop/sa/cart".parse().expect("an identity")),
        workload: "cart-1".into(),
        ready: true,
        zone: Some("z1".into()),
        hostname: Some("cart-1".into()),
    };
    Resource::EndpointChunk(Arc::new(EndpointChunk {
        key: key("local/shop/EndpointChunk/cart/80/0"),
        source: from_api("EndpointSlice"),
        service: object(),
        port: 80,
        transport: Transport::Tcp,
        endpoints: vec![endpoint],
    }))
}

pub(super) fn policy() -> Resource {
    let texts = |any: &str, none: &str| Patterns {
        any: vec![TextPattern::from(any.to_owned())],
        none: vec![TextPattern::from(none.to_owned())],
    };
    let networks = || Patterns { any: vec!["10.0.0.0/8".parse().expect("a network")], none: vec![] };
    let condition = |key, values| Condition { key, values };
    let header = ConditionKey::RequestHeader(HeaderName::from_static("x-h"));
    let ports = Patterns { any: vec![80], none: vec![443] };
    let rule = PolicyRule {
        from: vec![mesh_model::policy::Source {
            principals: texts("cluster.local/ns/a/sa/b", "*/b"),
            namespaces: texts("a", "b*"),
            accounts: texts("a/b", "*"),
            addresses: networks(),
        }],
        to: vec![Operation {
            hosts: texts("*.example", "x.example"),
            methods: texts("GET", "PUT"),
            paths: texts("/a/*", "/a/b"),
            ports: ports.clone(),
        }],
        when: vec![
            condition(header, ConditionValues::Texts(texts("1", "2"))),
            condition(ConditionKey::SourceIp, ConditionValues::Networks(networks())),
            condition(ConditionKey::DestinationPort, ConditionValues::Ports(ports)),
        ],
    };
    Resource::Policy(Arc::new(AuthorizationPolicy {
        key: key("local/shop/Policy/deny"),
        source: from_api("AuthorizationPolicy"),
        action: Action::Deny,
        selector: [("app".into(), "cart".into())].into(),
        rules: vec![rule],
    }))
}

pub(super) fn certificate() -> Resource {
    Resource::Certificate(Arc::new(Certificate {
        key: key("local/shop/Certificate/cert"),
        source: from_api("Secret"),
        chain: vec![Arc::from(&b"leaf"[..]), Arc::from(&b"issuer"[..])],
        private_key: PrivateKey::from_der(&b"a private key"[..]),
    }))
}

pub(super) fn backend_tls() -> Resource {
    Resource::BackendTls(Arc::new(BackendTls {
        key: key("local/shop/BackendTls/cart"),
        source: from_api("BackendTLSPolicy"),
        service: object(),
        port: Some(443),
        hostname: "cart.example".into(),
        names: vec![SubjectAltName::Dns("a.example".into()), SubjectAltName::Uri("spiffe://a/b".into())],
        roots: Roots::Bundle(vec![Arc::from(&b"root"[..])]),
        client: Some(ClientCertificate {
            certificate: key("local/shop/Certificate/cert"),
            gateways: vec![ObjectName::new("shop", "edge")],
        }),
    }))
}

pub(super) fn workload() -> Resource {
    Resource::Workload(Arc::new(Workload {
        key: key("local/shop/Workload/cart-1"),
        source: from_api("Pod"),
        name: object(),
        labels: [("app".into(), "cart".into()), ("v".into(), "1".into())].into(),
        identity: "spiffe://cluster.local/ns/shop/sa/cart".parse().expect("an identity"),
        addresses: vec![ip("10.1.2.3")],
        plaintext: mesh_model::Plaintext::default(),
        on_node: None,
        outside: mesh_model::Outside::Allowed,
    }))
}

#[test]
fn the_bytes_of_a_release_stay_readable_and_are_still_written() {
    let golden = include_str!("golden.hex");
    let resources =
        [backend_tls(), certificate(), chunk(), listener(), policy(), route(), service(), workload()];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let fresh: String =
        resources.iter().map(|r| format!("{} {}\n", r.key().kind.as_str(), hex(&encode(r)))).collect();
    assert!(fresh == golden, "the wire format has changed; it is now:\n{fresh}");
    for (resource, line) in resources.iter().zip(golden.lines()) {
        let digits = line.split_once(' ').expect("kind and digits").1.as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        assert_eq!(decode(&resource.key().kind.type_url(), &bytes).as_ref(), Ok(resource));
    }
}

//! Generators of valid resources of every kind.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use mesh_model::backend::{Backend, Target};
use mesh_model::filter::*;
use mesh_model::finding::Reason;
use mesh_model::listener::ClientValidation;
use mesh_model::matcher::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use mesh_model::policy::*;
use mesh_model::route::{Retry, Timeouts};
use mesh_model::tls::{ClientCertificate, PrivateKey, Roots, SubjectAltName};
use mesh_model::tracing::{Parents, Property, Recording, Share, SpanAttribute, SpanValue, Tracing};
use mesh_model::*;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

type Any<T> = BoxedStrategy<T>;

fn text() -> Any<Arc<str>> {
    "[a-z]([a-z0-9-]{0,6}[a-z0-9])?".prop_map(Arc::from).boxed()
}

fn host() -> Any<HostPattern> {
    let text = select(vec!["*", "*.a.example", "shop.example", "x"]);
    text.prop_map(|text| text.parse().expect("a pattern")).boxed()
}

fn object() -> Any<ObjectName> {
    (prop_oneof![Just(Arc::from("")), text()], text())
        .prop_map(|(ns, name)| ObjectName::new(ns, name))
        .boxed()
}

fn key(kind: Kind) -> Any<ResourceKey> {
    let named = (object(), of("[a-z]{1,5}(/[0-9]{1,3})?"));
    named
        .prop_map(move |(object, part)| match part {
            Some(part) => ResourceKey::local_part(kind, object, part),
            None => ResourceKey::local(kind, object),
        })
        .boxed()
}

fn source() -> Any<SourceRef> {
    let origin = prop_oneof![
        any::<i64>().prop_map(|generation| mesh_model::Origin::Api { generation }),
        Just(mesh_model::Origin::Builtin),
        (text(), any::<u32>()).prop_map(|(path, line)| mesh_model::Origin::File { path, line }),
    ];
    (text(), object(), origin).prop_map(|(kind, object, origin)| SourceRef::new(kind, object, origin)).boxed()
}

fn bytes() -> Any<Arc<[u8]>> {
    vec(any::<u8>(), 1..40).prop_map(Arc::from).boxed()
}

fn port() -> Any<u16> {
    (1..=u16::MAX).boxed()
}

fn labels() -> Any<BTreeMap<Arc<str>, Arc<str>>> {
    btree_map(text(), text(), 0..4).boxed()
}

fn identity() -> Any<SpiffeId> {
    (text(), text())
        .prop_map(|(ns, account)| {
            SpiffeId::for_service_account(&TrustDomain::default(), &ns, &account).expect("an identity")
        })
        .boxed()
}

fn span() -> Any<Option<Duration>> {
    of((any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))).boxed()
}

fn header() -> Any<HeaderName> {
    "[a-z][a-z0-9-]{0,10}".prop_map(|name| name.parse().expect("a header name")).boxed()
}

fn value_match() -> Any<ValueMatch> {
    let regex = select(vec!["a.*", "", "[0-9]+|x", "\\d{3}"]);
    prop_oneof![
        ".{0,8}".prop_map(|text| ValueMatch::Exact(Arc::from(text))),
        regex.prop_map(|regex| ValueMatch::Regex(Regex::new(regex).expect("valid"))),
    ]
    .boxed()
}

fn path() -> Any<PathMatch> {
    prop_oneof![
        Just(PathMatch::default()),
        "/[a-z/]{0,10}".prop_map(|path| PathMatch::Exact(Arc::from(path))),
        "/[a-z]{1,10}/?".prop_map(|path| PathMatch::prefix(&path)),
        Just(PathMatch::Regex(Regex::new("/v[0-9]+/.*").expect("valid"))),
    ]
    .boxed()
}

fn one_match() -> Any<Match> {
    let header = (header(), value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let query = (text(), value_match()).prop_map(|(name, value)| QueryMatch { name, value });
    let method = of(select(vec![Method::GET, Method::POST, Method::from_bytes(b"QUERY").expect("a token")]));
    (path(), method, vec(header, 0..3), vec(query, 0..3))
        .prop_map(|(path, method, headers, query)| Match { path, method, headers, query })
        .boxed()
}

fn edit() -> Any<HeaderEdit> {
    let line = || {
        let value = vec(prop_oneof![0x20..0x7fu8, 0x80..=0xffu8], 0..8);
        (header(), value).prop_map(|(name, value)| HeaderLine {
            name,
            value: HeaderValue::from_bytes(&value).expect("a value"),
        })
    };
    (vec(line(), 0..3), vec(line(), 0..3), vec(header().prop_map(HeaderKey), 0..3))
        .prop_map(|(set, add, remove)| HeaderEdit { set, add, remove })
        .boxed()
}

fn path_edit() -> Any<Option<PathEdit>> {
    let text = || "/[a-z/]{0,6}".prop_map(Arc::from);
    of(prop_oneof![text().prop_map(PathEdit::Full), text().prop_map(PathEdit::Prefix)]).boxed()
}

fn target() -> Any<Target> {
    prop_oneof![
        (object(), port()).prop_map(|(service, port)| Target::Service { service, port }),
        (select(Reason::ALL.to_vec()), text())
            .prop_map(|(reason, reference)| Target::Invalid { reason, reference }),
    ]
    .boxed()
}

fn cors() -> Any<Cors> {
    let pattern = (select(vec!["http", "https"]), host(), of(port()))
        .prop_map(|(scheme, host, port)| filter::Origin::Pattern { scheme: Arc::from(scheme), host, port });
    let origins = vec(prop_oneof![Just(filter::Origin::Any), pattern], 0..3);
    let names = || vec(select(vec!["*", "GET", "X-Token"]).prop_map(Arc::from), 0..3);
    (origins, names(), names(), names(), any::<bool>(), any::<u32>())
        .prop_map(
            |(allow_origins, allow_methods, allow_headers, expose_headers, allow_credentials, max_age)| {
                Cors {
                    allow_origins,
                    allow_methods,
                    allow_headers,
                    expose_headers,
                    allow_credentials,
                    max_age,
                }
            },
        )
        .boxed()
}

fn external_auth() -> Any<ExternalAuth> {
    let names = || vec(select(vec!["x-a", "x-b"]).prop_map(|n| HeaderKey(HeaderName::from_static(n))), 0..3);
    let protocol = prop_oneof![
        names().prop_map(|allowed| AuthProtocol::Grpc { allowed }),
        (select(vec!["", "/auth"]).prop_map(Arc::from), names(), names())
            .prop_map(|(prefix, allowed, taken)| AuthProtocol::Http { prefix, allowed, taken }),
    ];
    (target(), protocol, 0..=MAX_AUTH_BODY)
        .prop_map(|(target, protocol, max_body)| ExternalAuth { target, protocol, max_body })
        .boxed()
}

fn redirect() -> Any<Redirect> {
    let scheme = of(select(vec!["http", "https"]).prop_map(Arc::from));
    let status = select(vec![301u16, 302, 303, 307, 308]);
    (scheme, of(text()), of(port()), path_edit(), status)
        .prop_map(|(scheme, hostname, port, path, status)| Redirect { scheme, hostname, port, path, status })
        .boxed()
}

fn one_filter() -> Any<Filter> {
    let share = (0..=100u32, 0..1000u32).prop_map(|(numerator, more)| (numerator, (numerator + more).max(1)));
    let mirror = (target(), share).prop_map(|(target, (numerator, denominator))| Mirror {
        target,
        numerator,
        denominator,
    });
    prop_oneof![
        cors().prop_map(Filter::Cors),
        external_auth().prop_map(Filter::ExternalAuth),
        mirror.prop_map(Filter::Mirror),
        redirect().prop_map(Filter::Redirect),
        edit().prop_map(Filter::RequestHeaders),
        edit().prop_map(Filter::ResponseHeaders),
        (of(text()), path_edit()).prop_map(|(hostname, path)| Filter::Rewrite(Rewrite { hostname, path })),
    ]
    .boxed()
}

fn session() -> Any<Arc<Session>> {
    let cookie =
        ("[A-Za-z0-9_.-]{1,8}", "/[a-z/]{0,8}", any::<bool>()).prop_map(|(name, path, permanent)| {
            let (name, path) = (name.parse().expect("a name"), path.parse().expect("a path"));
            SessionCarrier::Cookie { name, path, permanent }
        });
    let header = "x-[a-z0-9-]{1,6}".prop_filter("ours", |name| !name.starts_with("x-mesh"));
    let header = header.prop_map(|name| SessionCarrier::Header(name.parse().expect("a header")));
    let keys = vec(any::<[u8; 32]>().prop_map(SessionKey::new), 0..3);
    let limit = (1..100_000u64).prop_map(Duration::from_millis);
    (source(), prop_oneof![cookie, header], limit, any::<bool>(), keys)
        .prop_map(|(source, carrier, limit, limited, keys)| {
            let permanent = matches!(carrier, SessionCarrier::Cookie { permanent: true, .. });
            let absolute_timeout = (limited || permanent).then_some(limit);
            Arc::new(Session { source, carrier, absolute_timeout, keys })
        })
        .boxed()
}

fn rule() -> Any<Rule> {
    let backend = (target(), any::<u32>(), vec(one_filter(), 0..2))
        .prop_map(|(target, weight, filters)| Backend { target, weight, filters });
    let retry = of((vec(any::<u16>(), 0..3), any::<u32>(), span())
        .prop_map(|(codes, attempts, backoff)| Retry { codes, attempts, backoff }));
    let timeouts =
        (span(), span()).prop_map(|(request, backend_request)| Timeouts { request, backend_request });
    let kept = of(session());
    (of(text()), vec(one_match(), 0..3), vec(one_filter(), 0..3), vec(backend, 0..3), timeouts, (retry, kept))
        .prop_map(|(name, matches, filters, backends, timeouts, (retry, session))| Rule {
            name,
            matches,
            filters,
            backends,
            timeouts,
            retry,
            session,
        })
        .boxed()
}

fn route() -> Any<Route> {
    let kind = select(vec![RouteKind::Grpc, RouteKind::Http, RouteKind::Tcp, RouteKind::Tls, RouteKind::Udp]);
    let attachment = prop_oneof![
        key(Kind::Listener).prop_map(Attachment::Listener),
        (object(), of(port())).prop_map(|(service, port)| Attachment::Service { service, port }),
    ];
    let rest = (any::<u64>(), vec(attachment, 0..3), vec(host(), 0..3), vec(rule(), 0..3), any::<bool>());
    (key(Kind::Route), source(), kind, rest)
        .prop_map(|(key, source, kind, (created, attachments, hostnames, rules, held))| Route {
            key,
            source,
            kind,
            created,
            attachments,
            hostnames,
            rules,
            held,
        })
        .boxed()
}

fn listener() -> Any<Listener> {
    use ListenerProtocol::*;
    let client = (vec(bytes(), 0..3), any::<bool>())
        .prop_map(|(roots, insecure_fallback)| ClientValidation { roots, insecure_fallback });
    let terminate = (vec(key(Kind::Certificate), 0..3), of(client))
        .prop_map(|(certificates, client)| ListenerTls::Terminate { certificates, client });
    let tls = of(prop_oneof![Just(ListenerTls::Passthrough), terminate]);
    let protocol = select(vec![Http, Https, Tcp, Tls, Udp]);
    let towards = (tls, of(key(Kind::Certificate)), vec(external_auth(), 0..2), of(tracing()));
    (key(Kind::Listener), source(), object(), text(), port(), protocol, host(), towards)
        .prop_map(|(key, source, gateway, name, port, protocol, hostname, towards)| Listener {
            key,
            source,
            gateway,
            name,
            port,
            protocol,
            hostname,
            tls: towards.0,
            backend_certificate: towards.1,
            filters: towards.2,
            tracing: towards.3.map(Arc::new),
        })
        .boxed()
}

fn tracing() -> Any<Tracing> {
    let share =
        || (0..=9u32, 9..100u32).prop_map(|(numerator, denominator)| Share { numerator, denominator });
    let parents = prop_oneof![Just(Parents::Ignored), share().prop_map(Parents::Respected)];
    let value = prop_oneof![
        header().prop_map(|name| SpanValue::Header(HeaderKey(name))),
        text().prop_map(SpanValue::Literal),
        select(Property::ALL).prop_map(SpanValue::Property),
    ];
    let attribute = (text(), value).prop_map(|(name, value)| SpanAttribute { name, value });
    let line = header().prop_map(|name| HeaderLine { name, value: HeaderValue::from_static("v") });
    let names = (text(), of(text()));
    let recording = (target(), vec(line, 0..2), share(), parents, names, vec(attribute, 0..3)).prop_map(
        |(receiver, headers, sampling, parents, (service_name, span_name), attributes)| Recording {
            receiver,
            headers,
            sampling,
            parents,
            service_name,
            span_name,
            attributes,
        },
    );
    (source(), of(recording)).prop_map(|(source, recording)| Tracing { source, recording }).boxed()
}

fn transport() -> Any<Transport> {
    select(vec![Transport::Tcp, Transport::Udp]).boxed()
}

fn service() -> Any<Service> {
    use AppProtocol::*;
    let protocol = select(vec![Detect, Grpc, Http1, Http2, Tcp, Tls, WebSocket]);
    let port = (text(), port(), transport(), protocol)
        .prop_map(|(name, port, transport, protocol)| ServicePort { name, port, transport, protocol });
    let span = || (1..100_000u64).prop_map(Duration::from_millis);
    let budget = (source(), 0..=100u32, span(), any::<u32>(), span()).prop_map(
        |(source, percent, interval, least, least_interval)| RetryBudget {
            source,
            percent,
            interval,
            least,
            least_interval,
        },
    );
    let addresses = vec(any::<IpAddr>(), 0..3);
    let more = (of(budget), of(session()), of(text()));
    (key(Kind::Service), source(), object(), addresses, vec(port, 0..4), more)
        .prop_map(|(key, source, name, addresses, ports, (retry_budget, session, hostname))| Service {
            key,
            source,
            name,
            addresses,
            ports,
            retry_budget,
            session,
            hostname,
        })
        .boxed()
}

fn chunk() -> Any<EndpointChunk> {
    let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let endpoint = (address, of(identity()), text(), any::<bool>(), (of(text()), of(text()))).prop_map(
        |(address, identity, workload, ready, (zone, hostname))| Endpoint {
            address,
            identity,
            workload,
            ready,
            zone,
            hostname,
        },
    );
    (key(Kind::EndpointChunk), source(), object(), port(), transport(), vec(endpoint, 0..4))
        .prop_map(|(key, source, service, port, transport, endpoints)| EndpointChunk {
            key,
            source,
            service,
            port,
            transport,
            endpoints,
        })
        .boxed()
}

fn patterns<T: Clone + std::fmt::Debug + 'static>(one: Any<T>) -> Any<Patterns<T>> {
    (vec(one.clone(), 0..3), vec(one, 0..3)).prop_map(|(any, none)| Patterns { any, none }).boxed()
}

fn texts() -> Any<Patterns<TextPattern>> {
    patterns("\\*|\\*?[a-z/]{1,6}|[a-z/]{1,6}\\*".prop_map(TextPattern::from).boxed())
}

fn networks() -> Any<Patterns<IpNet>> {
    let network = (any::<IpAddr>(), 0..=32u8).prop_map(|(ip, length)| IpNet::new(ip, length).expect("short"));
    patterns(network.boxed())
}

fn condition() -> Any<Condition> {
    use ConditionKey::*;
    let addresses = (select(vec![DestinationIp, SourceIp]), networks().prop_map(ConditionValues::Networks));
    let ports = patterns(any::<u16>().boxed()).prop_map(ConditionValues::Ports);
    let plain = select(vec![ConnectionSni, SourceNamespace, SourcePrincipal]);
    let keys = prop_oneof![plain, header().prop_map(RequestHeader)];
    prop_oneof![addresses, (Just(DestinationPort), ports), (keys, texts().prop_map(ConditionValues::Texts)),]
        .prop_map(|(key, values)| Condition { key, values })
        .boxed()
}

fn policy() -> Any<AuthorizationPolicy> {
    let source_of =
        (texts(), texts(), texts(), networks()).prop_map(|(principals, namespaces, accounts, addresses)| {
            policy::Source { principals, namespaces, accounts, addresses }
        });
    let ports = patterns(any::<u16>().boxed());
    let operation = (texts(), texts(), texts(), ports).prop_map(|(hosts, methods, paths, ports)| Operation {
        hosts,
        methods,
        paths,
        ports,
    });
    let rule = (vec(source_of, 0..3), vec(operation, 0..3), vec(condition(), 0..3))
        .prop_map(|(from, to, when)| PolicyRule { from, to, when });
    let action = select(vec![Action::Allow, Action::Audit, Action::Deny]);
    (key(Kind::Policy), source(), action, labels(), vec(rule, 0..3))
        .prop_map(|(key, source, action, selector, rules)| AuthorizationPolicy {
            key,
            source,
            action,
            selector,
            rules,
        })
        .boxed()
}

fn backend_tls() -> Any<BackendTls> {
    let name = prop_oneof![text().prop_map(SubjectAltName::Dns), text().prop_map(SubjectAltName::Uri)];
    let bundle = vec(bytes(), 0..3).prop_map(Roots::Bundle);
    let roots = prop_oneof![bundle, Just(Roots::None), Just(Roots::System)];
    let client = (key(Kind::Certificate), vec(object(), 0..3))
        .prop_map(|(certificate, gateways)| ClientCertificate { certificate, gateways });
    let whom = (object(), of(port()), text(), vec(name, 0..3));
    (key(Kind::BackendTls), source(), whom, roots, of(client))
        .prop_map(|(key, source, (service, port, hostname, names), roots, client)| BackendTls {
            key,
            source,
            service,
            port,
            hostname,
            names,
            roots,
            client,
        })
        .boxed()
}

fn certificate() -> Any<Certificate> {
    (key(Kind::Certificate), source(), vec(bytes(), 1..3), bytes())
        .prop_map(|(key, source, chain, private)| Certificate {
            key,
            source,
            chain,
            private_key: PrivateKey::from_der(private),
        })
        .boxed()
}

fn workload() -> Any<Workload> {
    let ports = proptest::collection::btree_map(1..=u16::MAX, any::<bool>(), 0..3);
    let probes = proptest::collection::btree_set(1..=u16::MAX, 0..3);
    let on_node = proptest::option::of((text(), any::<bool>(), probes, any::<bool>()));
    let rest = ((any::<bool>(), ports), on_node, any::<bool>());
    (key(Kind::Workload), source(), object(), labels(), identity(), vec(any::<IpAddr>(), 0..3), rest)
        .prop_map(|(key, source, name, labels, identity, addresses, ((elsewhere, ports), on_node, open))| {
            Workload {
                key,
                source,
                name,
                labels,
                identity,
                addresses,
                plaintext: mesh_model::Plaintext { elsewhere, ports },
                on_node: on_node.map(|(node, confirmed, probes, keeps_names)| mesh_model::OnNode {
                    node,
                    confirmed,
                    probes,
                    keeps_names,
                }),
                outside: if open { mesh_model::Outside::Allowed } else { mesh_model::Outside::Denied },
            }
        })
        .boxed()
}

/// A valid resource of any kind.
pub(super) fn any_resource() -> Any<Resource> {
    prop_oneof![
        backend_tls().prop_map(|r| Resource::BackendTls(Arc::new(r))),
        certificate().prop_map(|r| Resource::Certificate(Arc::new(r))),
        chunk().prop_map(|r| Resource::EndpointChunk(Arc::new(r))),
        listener().prop_map(|r| Resource::Listener(Arc::new(r))),
        policy().prop_map(|r| Resource::Policy(Arc::new(r))),
        route().prop_map(|r| Resource::Route(Arc::new(r))),
        service().prop_map(|r| Resource::Service(Arc::new(r))),
        workload().prop_map(|r| Resource::Workload(Arc::new(r))),
    ]
    .boxed()
}

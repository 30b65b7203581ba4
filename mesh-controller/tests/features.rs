//! Every feature that a class says it supports: what needs the feature is in force while it is on, and refused
//! in status once it is off.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;

use mesh_controller::source::FileSource;
use mesh_controller::status::{ObjectStatus, StatusBody};
use mesh_controller::translate::{Entry, Feature, Settings, Translation, translate};
use mesh_model::Resource;

/// A secret `web` with a certificate and a config map `clients` with a CA certificate.
fn material() -> String {
    let text = include_str!("golden/client-certificates/in.yaml");
    text.split("\n---\n").take(2).map(|document| format!("{document}\n")).collect::<Vec<_>>().join("---\n")
}

fn translated(objects: &str, off: Option<Feature>) -> Translation {
    let text = format!("{}---\n{objects}", material());
    let snapshot = FileSource::from_text("in.yaml", text.as_bytes()).snapshot();
    assert!(snapshot.findings.is_empty(), "{:?}", snapshot.findings);
    let settings = Settings { disabled_features: off.into_iter().collect(), ..Settings::default() };
    translate(snapshot.store.iter().map(|stored| Entry::of(stored)), settings)
}

/// What is refused: conditions that do not hold, and routes of which a part is not in force.
fn refused(translation: &Translation) -> BTreeSet<String> {
    let of = |status: &ObjectStatus| {
        let bad = |kind: &str, holds: bool| match kind {
            "Conflicted" => false,
            "PartiallyInvalid" => holds,
            _ => !holds,
        };
        let conditions = status.conditions();
        let bad = conditions.iter().filter(|(_, c)| bad(c.kind, c.status));
        let object = format!("{} {}", status.kind.as_str(), status.name);
        bad.map(|(part, c)| format!("{object} {part} {}/{}", c.kind, c.reason)).collect::<Vec<_>>()
    };
    translation.statuses.iter().flat_map(of).collect()
}

const SERVICE: &str = "\
kind: Service
apiVersion: v1
metadata: {name: cart}
spec:
  ports:
  - {name: http, port: 80}
  - {name: h2c, port: 81, appProtocol: kubernetes.io/h2c}
  - {name: ws, port: 82, appProtocol: kubernetes.io/ws}
  - {name: udp, port: 83, protocol: UDP}
";

fn gateway(spec: &str) -> String {
    format!(
        "{SERVICE}---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\n\
         spec: {{gatewayClassName: mesh, {spec}}}\n"
    )
}

/// A gateway with one listener and a route of one rule.
fn rule(kind: &str, rule: &str) -> String {
    routed(kind, "{name: edge}", &format!("rules: [{rule}]"))
}

fn routed(kind: &str, parent: &str, rest: &str) -> String {
    let (protocol, port, tls) = match kind {
        "TCPRoute" => ("TCP", 9000, ""),
        "TLSRoute" => ("TLS", 443, ", tls: {mode: Passthrough}"),
        "UDPRoute" => ("UDP", 53, ""),
        _ => ("HTTP", 80, ""),
    };
    let listener = format!("listeners: [{{name: a, port: {port}, protocol: {protocol}{tls}}}]");
    format!(
        "{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r}}\n\
         spec: {{parentRefs: [{parent}], {rest}}}\n",
        gateway(&listener)
    )
}

fn filter(filter: &str) -> String {
    rule("HTTPRoute", &format!("{{filters: [{filter}], backendRefs: [{{name: cart, port: 80}}]}}"))
}

fn redirect(redirect: &str) -> String {
    rule("HTTPRoute", &format!("{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}"))
}

fn backend(filter: &str) -> String {
    rule("HTTPRoute", &format!("{{backendRefs: [{{name: cart, port: 80, filters: [{filter}]}}]}}"))
}

fn forward(more: &str) -> String {
    rule("HTTPRoute", &format!("{{{more}, backendRefs: [{{name: cart, port: 80}}]}}"))
}

fn tls_policy(more: &str) -> String {
    let policy = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: cart}]\n";
    let refs = "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]";
    format!("{}---\n{policy}  validation: {{hostname: a.test, {refs}{more}}}\n", forward("name: one"))
}

fn frontend(mode: &str) -> String {
    let refs = "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]";
    gateway(&format!(
        "tls: {{frontend: {{default: {{validation: {{{refs}, mode: {mode}}}}}}}}}, listeners: [{}]",
        tls_listener("a", "HTTPS", "a.test")
    ))
}

/// A policy whose issuers are those of the cluster.
fn shared_issuers() -> String {
    let map = material();
    let (_, pem) = map.split_once("ca.crt: |\n").unwrap();
    let policy = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: cart}]\n";
    let refs = "caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: shared}]";
    format!(
        "{}---\n{policy}  validation: {{hostname: a.test, {refs}}}\n---\napiVersion: certificates.k8s.io/v1beta1\n\
         kind: ClusterTrustBundle\nmetadata: {{name: shared}}\nspec:\n  trustBundle: |\n{pem}",
        forward("name: one")
    )
}

fn tls_listener(name: &str, protocol: &str, host: &str) -> String {
    let tls = "tls: {certificateRefs: [{name: web}]}";
    format!("{{name: {name}, port: 443, protocol: {protocol}, hostname: \"{host}\", {tls}}}")
}

fn grpc(rule: &str) -> String {
    self::rule("GRPCRoute", rule)
}

const ONE: &str = "listeners: [{name: a, port: 80, protocol: HTTP}]";
const EDIT: &str = "{set: [{name: x-a, value: b}]}";
const TO_CART: &str = "{backendRefs: [{name: cart, port: 80}]}";
const MIRROR: &str = "{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}";

/// Objects that need a feature.
fn case(feature: Feature) -> String {
    use Feature::*;
    match feature {
        BackendTlsPolicy => tls_policy(""),
        BackendTlsPolicySan => tls_policy(", subjectAltNames: [{type: Hostname, hostname: b.test}]"),
        ClusterTrustBundle => shared_issuers(),
        GrpcRoute => grpc(TO_CART),
        GrpcNamedRule => grpc("{name: one, backendRefs: [{name: cart, port: 80}]}"),
        GrpcRequestHeaders => grpc(&format!(
            "{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {EDIT}}}], \
             backendRefs: [{{name: cart, port: 80}}]}}"
        )),
        Gateway => gateway(ONE),
        GatewayAddressEmpty => gateway(&format!("addresses: [{{type: IPAddress}}], {ONE}")),
        BackendClientCertificate => {
            gateway(&format!("tls: {{backend: {{clientCertificateRef: {{name: web}}}}}}, {ONE}"))
        }
        ClientValidation => frontend("AllowValidOnly"),
        ClientValidationFallback => frontend("AllowInsecureFallback"),
        ListenerIsolation => gateway(
            "listeners: [{name: a, port: 80, protocol: HTTP, hostname: \"*.a.test\"}, \
             {name: b, port: 80, protocol: HTTP, hostname: x.a.test}]",
        ),
        ListenerFilters => gateway(
            "listeners: [{name: a, port: 80, protocol: HTTP, filters: {requests: [{type: ExternalAuth, externalAuth: \
             {protocol: HTTP, http: {}, backendRef: {name: cart, port: 80}}}]}}]",
        ),
        Misdirected => gateway(&format!(
            "listeners: [{}, {}]",
            tls_listener("a", "HTTPS", "*.a.test"),
            tls_listener("b", "HTTPS", "x.a.test")
        )),
        Infrastructure => gateway(&format!("infrastructure: {{labels: {{a: b}}}}, {ONE}")),
        Port8080 => gateway("listeners: [{name: a, port: 8080, protocol: HTTP}]"),
        OwnHostnamePrecedence => {
            routed("HTTPRoute", "{name: edge}", &format!("hostnames: [a.test], rules: [{TO_CART}]"))
                .replace("protocol: HTTP}", "protocol: HTTP, hostname: \"*.test\"}")
                .replace("hostnames: [a.test]", "hostnames: [\"*.test\", a.test, \"*.x.test\"]")
        }
        StaticAddresses => gateway(&format!("addresses: [{{value: 192.0.2.1}}], {ONE}")),
        HttpRoute => rule("HTTPRoute", TO_CART),
        Redirect303 => redirect("{statusCode: 303}"),
        Redirect307 => redirect("{statusCode: 307}"),
        Redirect308 => redirect("{statusCode: 308}"),
        BackendH2c => rule("HTTPRoute", "{backendRefs: [{name: cart, port: 81}]}"),
        BackendWebSocket => rule("HTTPRoute", "{backendRefs: [{name: cart, port: 82}]}"),
        BackendRequestHeaders => {
            backend(&format!("{{type: RequestHeaderModifier, requestHeaderModifier: {EDIT}}}"))
        }
        BackendTimeout => forward("timeouts: {backendRequest: 1s}"),
        BackendUrlRewrite => backend("{type: URLRewrite, urlRewrite: {hostname: b.test}}"),
        Cors => filter("{type: CORS, cors: {allowOrigins: [\"*\"]}}"),
        DestinationPort | ParentRefPort => {
            routed("HTTPRoute", "{name: edge, port: 80}", &format!("rules: [{TO_CART}]"))
        }
        HostRewrite => filter("{type: URLRewrite, urlRewrite: {hostname: b.test}}"),
        MethodMatching => forward("matches: [{method: GET}]"),
        NamedRule => forward("name: one"),
        PathRedirect => redirect("{path: {type: ReplaceFullPath, replaceFullPath: /b}}"),
        PathRewrite => {
            filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /b}}}")
        }
        PortRedirect => redirect("{port: 8443}"),
        QueryParamMatching => forward("matches: [{queryParams: [{name: a, value: b}]}]"),
        Mirror => filter(MIRROR),
        MultipleMirrors => filter(&format!("{MIRROR}, {MIRROR}")),
        PercentageMirror => filter(&MIRROR.replace("port: 80}", "port: 80}, percent: 20")),
        RequestTimeout => forward("timeouts: {request: 1s}"),
        ResponseHeaders => {
            filter(&format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {EDIT}}}"))
        }
        RetryCodes => forward("retry: {codes: [500]}"),
        RetryConnectionError => forward("retry: {attempts: 3}"),
        SchemeRedirect => redirect("{scheme: https}"),
        ListenerSet => format!(
            "{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: more}}\n\
             spec: {{parentRef: {{name: edge}}, listeners: [{{name: b, port: 81, protocol: HTTP}}]}}\n",
            gateway(&format!("allowedListeners: {{namespaces: {{from: Same}}}}, {ONE}"))
        ),
        ReferenceGrant => format!(
            "{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\n\
             metadata: {{name: g, namespace: other}}\nspec:\n  from: [{{group: gateway.networking.k8s.io, \
             kind: HTTPRoute, namespace: default}}]\n  to: [{{group: \"\", kind: Service}}]\n---\n{}",
            rule("HTTPRoute", "{backendRefs: [{name: cart, namespace: other, port: 80}]}"),
            SERVICE.replace("{name: cart}", "{name: cart, namespace: other}")
        ),
        TcpRoute => rule("TCPRoute", TO_CART),
        TlsRoute => routed("TLSRoute", "{name: edge}", &format!("hostnames: [a.test], rules: [{TO_CART}]")),
        TlsMixed => gateway(&format!(
            "listeners: [{}, {{name: b, port: 443, protocol: TLS, hostname: b.test, tls: {{mode: Passthrough}}}}]",
            tls_listener("a", "TLS", "a.test")
        )),
        TlsTerminate => gateway(&format!("listeners: [{}]", tls_listener("a", "TLS", "a.test"))),
        UdpRoute => rule("UDPRoute", "{backendRefs: [{name: cart, port: 83}]}"),
    }
}

fn hostnames(translation: &Translation) -> Vec<String> {
    let routes = translation.resources.values().filter_map(|resource| match resource {
        Resource::Route(route) => Some(route.hostnames.iter().map(ToString::to_string)),
        _ => None,
    });
    routes.flatten().collect()
}

#[test]
fn what_needs_a_feature_is_in_force_with_it_and_refused_in_status_without_it() {
    for feature in Feature::ALL {
        let objects = case(*feature);
        let on = refused(&translated(&objects, None));
        let off = refused(&translated(&objects, Some(*feature)));
        match feature {
            // Nothing is refused: routes are compared by what listeners leave of their hostnames.
            Feature::OwnHostnamePrecedence => continue,
            // The address cannot be had here either way, which is another refusal.
            Feature::StaticAddresses => assert!(on.iter().all(|c| c.contains("Programmed")), "{on:?}"),
            _ => assert!(on.is_empty(), "{feature}: {on:?}\n{objects}"),
        }
        assert!(!off.is_empty() && off != on, "{feature} off: {off:?}\n{objects}");
    }
}

#[test]
fn without_precedence_by_their_own_hostnames_routes_have_those_that_listeners_leave() {
    let objects =
        routed("HTTPRoute", "{name: edge}", &format!("hostnames: [\"*.test\"], rules: [{TO_CART}]"))
            .replace("protocol: HTTP}", "protocol: HTTP, hostname: a.test}");
    assert_eq!(hostnames(&translated(&objects, None)), ["*.test"]);
    assert_eq!(hostnames(&translated(&objects, Some(Feature::OwnHostnamePrecedence))), ["a.test"]);
}

#[test]
fn a_class_lists_the_features_that_are_on() {
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: edge}\n\
                 spec: {controllerName: mesh.io/gateway-controller}\n";
    let listed = |off| {
        let translation = translated(class, off);
        let body = translation.statuses.into_iter().next().unwrap().body;
        let StatusBody::GatewayClass { supported_features, .. } = body else { panic!("a class") };
        supported_features.iter().map(|feature| feature.name).collect::<Vec<_>>()
    };
    let all: Vec<_> = Feature::ALL.iter().map(|feature| feature.as_str()).collect();
    assert_eq!(listed(None), all);
    let mut without = all.clone();
    without.retain(|name| *name != "HTTPRouteCORS");
    assert_eq!(listed(Some(Feature::Cors)), without);
}

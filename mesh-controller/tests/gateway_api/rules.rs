//! For each rule a value of its place that breaks it: by the rule's shape where many rules share one, by its
//! text otherwise. Only the beginning of a text is quoted where that is enough to tell rules apart.

use serde_json::{Value as Json, json};

use crate::builder::{field_of, minimal};

/// A value that breaks a rule, for a place with this schema. `None` when the rule is not known.
pub(crate) fn breaking(rule: &str, schema: &Json) -> Option<Json> {
    union(rule, schema)
        .or_else(|| repeated(rule, schema))
        .or_else(|| path(rule))
        .or_else(|| by_text(rule, schema))
}

/// `type` names a field that is absent, or not the field that is present.
fn union(rule: &str, schema: &Json) -> Option<Json> {
    let inner = rule.strip_prefix("!(")?.strip_suffix("')")?;
    let (has, compared) = inner.split_once(" && self.type ")?;
    let has = has.strip_suffix(')')?;
    if let (Some(_), Some(word)) = (has.strip_prefix("!has(self."), compared.strip_prefix("== '")) {
        return Some(json!({"type": word}));
    }
    let (field, word) = (has.strip_prefix("has(self.")?, compared.strip_prefix("!= '")?);
    let words = schema["properties"]["type"]["enum"].as_array()?.iter().filter_map(Json::as_str);
    let (other, (chosen, nested)) =
        words.filter(|w| *w != word).find_map(|w| Some((w, field_of(schema, w)?)))?;
    let mut value = json!({"type": other});
    value[chosen] = minimal(&nested);
    value[field] = minimal(&schema["properties"][field]);
    Some(value)
}

/// A filter that may be there once is there twice.
fn repeated(rule: &str, schema: &Json) -> Option<Json> {
    let word = rule.strip_prefix("self.filter(f, f.type == '")?.strip_suffix("').size() <= 1")?;
    let (field, nested) = field_of(&schema["items"], word)?;
    let mut filter = json!({"type": word});
    filter[field] = minimal(&nested);
    Some(json!([filter, filter]))
}

/// Paths that a path match does not take.
fn path(rule: &str) -> Option<Json> {
    let rest = rule.strip_prefix("(self.type in ['Exact','PathPrefix']) ? ")?.strip_suffix(" : true")?;
    let value = match rest {
        "!self.value.contains('#')" => "/a#b",
        "!self.value.contains('%2F')" => "/a%2Fb",
        "!self.value.contains('%2f')" => "/a%2fb",
        "!self.value.contains('/../')" => "/a/../b",
        "!self.value.contains('/./')" => "/a/./b",
        "!self.value.contains('//')" => "/a//b",
        "!self.value.endsWith('/.')" => "/a/.",
        "!self.value.endsWith('/..')" => "/a/..",
        "self.value.startsWith('/')" => "a",
        _ if rest.starts_with("self.value.matches(") => "/a[b",
        _ => return None,
    };
    Some(json!({"type": "PathPrefix", "value": value}))
}

fn by_text(rule: &str, schema: &Json) -> Option<Json> {
    let item = || minimal(&schema["items"]);
    let with = |mut value: Json, name: &str, field: Json| {
        value[name] = field;
        value
    };
    let all = [
        shapes_of_listeners,
        shapes_of_routes,
        shapes_of_references,
        shapes_of_unions,
        shapes_of_policies,
        shapes_of_backends,
    ];
    if let Some(value) = all.iter().find_map(|shapes| shapes(rule)) {
        return Some(value);
    }
    match rule {
        "!('*' in self && self.size() > 1)" => Some(json!(["*", item()])),
        r if r.starts_with("self.all(l1, !has(l1.name) || self.exists_one(l2, has(l2.name)") => {
            let named = with(item(), "name", json!("a"));
            Some(json!([named, named]))
        }
        r if r.starts_with("(self.size() > 0 ? ") && r.ends_with("<= 128") => {
            let rule = json!({"matches": vec![json!({}); 64]});
            Some(json!([rule, rule, rule]))
        }
        _ => None,
    }
}

fn shapes_of_listeners(rule: &str) -> Option<Json> {
    let listener = |extra: Json| {
        let mut listener = json!({"name": "a", "port": 80, "protocol": "HTTP"});
        listener.as_object_mut()?.extend(extra.as_object()?.clone());
        Some(listener)
    };
    let one = |extra| Some(json!([listener(extra)?]));
    match rule {
        r if r.starts_with("!has(self.filters) ||") => listener(json!({"protocol": "TCP", "filters": {}})),
        r if r.starts_with("self.all(l, (l.protocol == 'HTTPS'") => {
            one(json!({"protocol": "HTTPS", "tls": {"mode": "Passthrough"}}))
        }
        r if r.starts_with("self.all(l, (l.protocol == 'TLS'") => one(json!({"protocol": "TLS"})),
        r if r.starts_with("self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP']") => {
            one(json!({"tls": {"mode": "Passthrough"}}))
        }
        r if r.starts_with("self.all(l, l.protocol in ['TCP', 'UDP']") => {
            one(json!({"protocol": "TCP", "hostname": "a"}))
        }
        "self.all(l1, self.exists_one(l2, l1.name == l2.name))" => {
            Some(json!([listener(json!({}))?, listener(json!({"port": 81}))?]))
        }
        r if r.contains("exists_one(l2")
            && r.contains("l1.port == l2.port && l1.protocol == l2.protocol") =>
        {
            Some(json!([listener(json!({}))?, listener(json!({"name": "b"}))?]))
        }
        r if r.starts_with("self.mode == 'Terminate' ?") => Some(json!({"mode": "Terminate"})),
        "self.all(t1, self.exists_one(t2, t1.port == t2.port))" => {
            Some(json!([{"port": 80, "tls": {}}, {"port": 80, "tls": {}}]))
        }
        r if r.starts_with("self.all(a1, a1.type == 'Hostname'") => {
            Some(json!([{"type": "Hostname", "value": "a"}, {"type": "Hostname", "value": "a"}]))
        }
        r if r.starts_with("self.all(a1, a1.type == 'IPAddress'") => {
            Some(json!([{"value": "10.0.0.1"}, {"type": "IPAddress", "value": "10.0.0.1"}]))
        }
        r if r.starts_with("self.type == 'Hostname' ?") => Some(json!({"type": "Hostname", "value": "a:80"})),
        r if r.starts_with("size(self) == 0 || self == 'Cluster'") => Some(json!("a")),
        r if r.starts_with("self.all(key, key.matches(") => Some(json!({"a b": "c"})),
        r if r.starts_with("self.all(key, key.split(") => {
            Some(json!({ format!("{}/b", "a".repeat(253)): "c" }))
        }
        _ => None,
    }
}

fn shapes_of_routes(rule: &str) -> Option<Json> {
    let prefix = json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}});
    let redirect = json!([{"type": "RequestRedirect", "requestRedirect": prefix}]);
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": prefix}]);
    let exact = json!([{"path": {"type": "Exact", "value": "/a"}}]);
    match rule {
        r if r.starts_with("!(has(self.request) && has(self.backendRequest)") => {
            Some(json!({"request": "1s", "backendRequest": "2s"}))
        }
        r if r.starts_with("!(self.exists(f, f.type == 'RequestRedirect')") => Some(json!([
            {"type": "RequestRedirect", "requestRedirect": {}}, {"type": "URLRewrite", "urlRewrite": {}}
        ])),
        r if r.starts_with("(!has(self.type) || self.type == 'Exact') && has(self.method)") => {
            Some(json!({"method": "1"}))
        }
        r if r.starts_with("(!has(self.type) || self.type == 'Exact') && has(self.service)") => {
            Some(json!({"service": "1"}))
        }
        r if r.starts_with("has(self.type) ? has(self.service)") => Some(json!({"type": "Exact"})),
        r if r.starts_with("(has(self.backendRefs) && self.backendRefs.exists_one(") => {
            let filters = if r.contains("urlRewrite") { rewrite } else { redirect };
            Some(json!({"matches": exact, "backendRefs": [{"name": "a", "port": 80, "filters": filters}]}))
        }
        r if r.starts_with("(has(self.backendRefs) && size(self.backendRefs) > 0)") => Some(json!({
            "filters": [{"type": "RequestRedirect", "requestRedirect": {}}],
            "backendRefs": [{"name": "a", "port": 80}]
        })),
        r if r.starts_with("(has(self.filters) && self.filters.exists_one(") => Some(
            json!({"matches": exact, "filters": if r.contains("urlRewrite") { rewrite } else { redirect }}),
        ),
        r if r.starts_with("self.type in ['Exact','PathPrefix'] ||") => {
            Some(json!({"type": "Other", "value": "/"}))
        }
        "self.numerator <= self.denominator" => Some(json!({"numerator": 2, "denominator": 1})),
        "!(has(self.percent) && has(self.fraction))" => {
            Some(json!({"backendRef": {"name": "a", "port": 80}, "percent": 1, "fraction": {"numerator": 1}}))
        }
        "self.all(h, !isIP(h))" => Some(json!(["10.0.0.1"])),
        r if r.starts_with("self.all(h, !h.contains('*')") => Some(json!(["A"])),
        r if r.starts_with("self.all(h, h.contains('*')") => Some(json!(["a.*"])),
        _ => None,
    }
}

fn shapes_of_references(rule: &str) -> Option<Json> {
    let target = |extra: Json| {
        let mut value = json!({"group": "", "kind": "Service", "name": "a"});
        value.as_object_mut()?.extend(extra.as_object()?.clone());
        Some(value)
    };
    let section = || target(json!({"sectionName": "b"}));
    match rule {
        r if r.starts_with("self.all(p1, self.all(p2, ") => Some(json!([target(json!({}))?, section()?])),
        r if r.starts_with("self.all(p1, self.exists_one(p2, ") => Some(json!([section()?, section()?])),
        r if r.starts_with("(self.group == 'gateway.networking.x-k8s.io'") => Some(json!({
            "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "a", "port": 80
        })),
        r if r.starts_with("(size(self.group) == 0 && self.kind == 'Service')") => Some(json!({"name": "a"})),
        r if r.starts_with("self.all(r, !(r.group == 'certificates.k8s.io'") => Some(json!([{
            "group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "a", "namespace": "b"
        }])),
        r if r.starts_with("!(has(self.caCertificateRefs) &&") => Some(json!({
            "hostname": "a", "wellKnownCACertificates": "System",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "a"}]
        })),
        r if r.starts_with("(has(self.caCertificateRefs)") => Some(json!({"hostname": "a"})),
        _ => None,
    }
}

fn shapes_of_unions(rule: &str) -> Option<Json> {
    let auth = |value: Json| {
        let mut auth = json!({"backendRef": {"name": "a", "port": 80}});
        auth.as_object_mut()?.extend(value.as_object()?.clone());
        Some(auth)
    };
    let prefix = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/a", "replaceFullPath": "/b"});
    let whole = json!({"type": "ReplaceFullPath", "replacePrefixMatch": "/a", "replaceFullPath": "/b"});
    match rule {
        "has(self.grpc) ? self.protocol == 'GRPC' : true" => {
            auth(json!({"protocol": "HTTP", "http": {}, "grpc": {}}))
        }
        "has(self.http) ? self.protocol == 'HTTP' : true" => {
            auth(json!({"protocol": "GRPC", "http": {}, "grpc": {}}))
        }
        "self.protocol == 'GRPC' ? has(self.grpc) : true" => auth(json!({"protocol": "GRPC"})),
        "self.protocol == 'HTTP' ? has(self.http) : true" => auth(json!({"protocol": "HTTP"})),
        "has(self.replaceFullPath) ? self.type == 'ReplaceFullPath' : true" => Some(prefix),
        "has(self.replacePrefixMatch) ? self.type == 'ReplacePrefixMatch' : true" => Some(whole),
        r if r.starts_with("self.type == 'ReplaceFullPath' ?") => Some(json!({"type": "ReplaceFullPath"})),
        r if r.starts_with("self.type == 'ReplacePrefixMatch' ?") => {
            Some(json!({"type": "ReplacePrefixMatch"}))
        }
        r if r.starts_with("!(self.type != \"Hostname\"") => {
            Some(json!({"type": "URI", "uri": "spiffe://a/b", "hostname": "a"}))
        }
        r if r.starts_with("!(self.type != \"URI\"") => {
            Some(json!({"type": "Hostname", "uri": "spiffe://a/b", "hostname": "a"}))
        }
        r if r.starts_with("!(self.type == \"Hostname\"") => Some(json!({"type": "Hostname"})),
        r if r.starts_with("!(self.type == \"URI\"") => Some(json!({"type": "URI"})),
        "!has(self.cookie) || self.type == 'Cookie'" => {
            Some(json!({"type": "Header", "header": {"name": "a"}, "cookie": {}}))
        }
        "!has(self.header) || self.type == 'Header'" => {
            Some(json!({"type": "Cookie", "header": {"name": "a"}, "cookie": {}}))
        }
        r if r.starts_with("!has(self.cookie) || !has(self.cookie.lifetimeType)") => {
            Some(json!({"type": "Cookie", "cookie": {"lifetimeType": "Permanent"}}))
        }
        "self.type != 'Cookie' || has(self.cookie)" => Some(json!({"type": "Cookie"})),
        "self.type != 'Header' || has(self.header)" => Some(json!({"type": "Header"})),
        _ => None,
    }
}

fn shapes_of_policies(rule: &str) -> Option<Json> {
    let span = |name: &str| json!({"name": "a", "sourceType": name});
    let provider = json!({"backendRef": {"name": "a", "port": 80}});
    let half = json!({"numerator": 1});
    match rule {
        r if r.starts_with("!(duration(self) < duration('1s')") => Some(json!("2h")),
        r if r.starts_with("!(duration(self) == duration('0s')") => Some(json!("0s")),
        "has(self.tracing)" => Some(json!({"targetRefs": [{"group": "a", "kind": "a", "name": "a"}]})),
        r if r.starts_with("self.mode == 'Enabled' ? has(self.provider)") => {
            Some(json!({"mode": "Disabled", "provider": provider}))
        }
        r if r.starts_with("has(self.samplingRate) ? self.mode") => {
            Some(json!({"mode": "Disabled", "samplingRate": half}))
        }
        r if r.starts_with("has(self.parentBasedSampling) ? self.mode") => {
            Some(json!({"mode": "Disabled", "parentBasedSampling": {}}))
        }
        r if r.starts_with("has(self.serviceName) ?") => {
            Some(json!({"mode": "Disabled", "serviceName": "a"}))
        }
        r if r.starts_with("has(self.spanName) ?") => Some(json!({"mode": "Disabled", "spanName": "a"})),
        r if r.starts_with("has(self.attributes) ?") => {
            let mut literal = span("Literal");
            literal["literalValue"] = json!("a");
            Some(json!({"mode": "Disabled", "attributes": [literal]}))
        }
        r if r.starts_with("self.sourceType == 'Header' ?") => Some(span("Header")),
        r if r.starts_with("self.sourceType == 'Literal' ?") => Some(span("Literal")),
        r if r.starts_with("self.sourceType == 'Attribute' ?") => Some(span("Attribute")),
        _ => None,
    }
}

fn shapes_of_backends(rule: &str) -> Option<Json> {
    let validation = json!({"hostname": "a", "wellKnownCACertificates": "System"});
    let backend = |extra: Json| {
        let mut value = json!({
            "type": "ExternalHostname", "externalHostname": {"hostname": "a"}, "port": {"number": 80}
        });
        value.as_object_mut()?.extend(extra.as_object()?.clone());
        Some(value)
    };
    match rule {
        r if r.starts_with("self.type == 'ExternalHostname' ?") => {
            Some(json!({"type": "ExternalHostname", "port": {"number": 80}}))
        }
        r if r.starts_with("self.type == 'EndpointSelector' ?") => {
            Some(json!({"type": "EndpointSelector", "port": {"number": 80}}))
        }
        r if r.contains("self.protocol != 'H2C'") => {
            backend(json!({"protocol": "H2C", "tls": {"mode": "ServerOnly", "validation": validation}}))
        }
        r if r.contains("self.protocol != 'HTTP2'") => backend(json!({"protocol": "HTTP2"})),
        r if r.contains("self.protocol != 'WSS'") => backend(json!({"protocol": "WSS"})),
        r if r.starts_with("has(self.sessionPersistence) ?") => {
            backend(json!({"sessionPersistence": {"type": "Cookie", "cookie": {}}}))
        }
        r if r.starts_with("self.mode == 'ClientAndServer' ?") => {
            Some(json!({"mode": "ClientAndServer", "validation": validation}))
        }
        r if r.starts_with("self.mode == 'None' ?") => Some(json!({"mode": "ServerOnly"})),
        r if r.starts_with("!self.endsWith('.cluster.local')") => Some(json!("a.cluster.local")),
        r if r.starts_with("self.all(key, !format.qualifiedName()") => Some(json!({"a b": "c"})),
        _ => None,
    }
}

//! Authorization: a table of policies, clients and requests with the verdict written beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_model::engine::authorize;
use mesh_model::policy::{
    Action, AuthorizationPolicy, Condition, ConditionKey, ConditionValues, Operation, Patterns, PolicyRule,
    Source, TextPattern,
};
use mesh_model::{
    Authority, ConnectionFacts, Kind, ObjectName, Origin, Reason, RequestHead, ResourceKey, SourceRef,
};

fn policy(action: Action, rules: Vec<PolicyRule>) -> Arc<AuthorizationPolicy> {
    let object = ObjectName::new("default", "p");
    Arc::new(AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, object.clone()),
        source: SourceRef::new("AuthorizationPolicy", object, Origin::Builtin),
        action,
        selector: BTreeMap::new(),
        rules,
    })
}

fn texts(any: &[&str]) -> Patterns<TextPattern> {
    Patterns { any: any.iter().map(|t| TextPattern::from((*t).to_owned())).collect(), none: Vec::new() }
}

fn not(none: &[&str]) -> Patterns<TextPattern> {
    Patterns { any: Vec::new(), none: texts(none).any }
}

fn from(principals: Patterns<TextPattern>) -> PolicyRule {
    PolicyRule { from: vec![Source { principals, ..Source::default() }], ..PolicyRule::default() }
}

fn to(operation: Operation) -> PolicyRule {
    PolicyRule { to: vec![operation], ..PolicyRule::default() }
}

fn paths(paths: &[&str]) -> Operation {
    Operation { paths: texts(paths), ..Operation::default() }
}

fn facts(peer: Option<&str>) -> ConnectionFacts {
    ConnectionFacts {
        source: "10.0.0.1".parse().expect("address"),
        destination: "10.0.0.2:9080".parse().expect("address"),
        peer: peer.map(|p| p.parse().expect("identity")),
        sni: None,
    }
}

const BACKEND: &str = "spiffe://cluster.local/ns/default/sa/backend";

fn verdict(
    policies: &[Arc<AuthorizationPolicy>],
    peer: Option<&str>,
    method: Method,
    path: &str,
    lines: &[(&str, &str)],
) -> Reason {
    let authority: Authority = "ratings:9080".parse().expect("authority");
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::try_from(*name).expect("name"),
            HeaderValue::try_from(*value).expect("value"),
        );
    }
    let head = RequestHead { method: &method, authority: &authority, path, query: None, headers: &headers };
    let verdict = authorize(policies, &facts(peer), Some(&head));
    assert_eq!(verdict.allowed, verdict.reason == Reason::Accepted);
    verdict.reason
}

#[test]
fn the_sample_policy_admits_reads_of_the_backend_only() {
    let mut rule = from(texts(&["cluster.local/ns/default/sa/backend"]));
    rule.to = vec![Operation { methods: texts(&["GET", "POST"]), ..Operation::default() }];
    let sample = [policy(Action::Allow, vec![rule])];
    assert_eq!(verdict(&sample, Some(BACKEND), Method::GET, "/", &[]), Reason::Accepted);
    assert_eq!(verdict(&sample, Some(BACKEND), Method::DELETE, "/", &[]), Reason::NotAllowedByPolicy);
    let other = Some("spiffe://cluster.local/ns/default/sa/other");
    assert_eq!(verdict(&sample, other, Method::GET, "/", &[]), Reason::NotAllowedByPolicy);
    let look_alike = Some("spiffe://other.domain/ns/default/sa/backend");
    assert_eq!(verdict(&sample, look_alike, Method::GET, "/", &[]), Reason::NotAllowedByPolicy);
    assert_eq!(verdict(&sample, None, Method::GET, "/", &[]), Reason::NotAllowedByPolicy);
}

#[test]
fn without_policies_everyone_may_enter_and_an_empty_allow_admits_nobody() {
    assert_eq!(verdict(&[], Some(BACKEND), Method::GET, "/", &[]), Reason::Accepted);
    assert_eq!(
        verdict(&[policy(Action::Allow, vec![])], Some(BACKEND), Method::GET, "/", &[]),
        Reason::NotAllowedByPolicy
    );
    assert_eq!(
        verdict(&[policy(Action::Deny, vec![])], Some(BACKEND), Method::GET, "/", &[]),
        Reason::Accepted
    );
}

#[test]
fn deny_wins_over_allow() {
    let both = [
        policy(Action::Allow, vec![PolicyRule::default()]),
        policy(Action::Deny, vec![to(paths(&["/admin*"]))]),
    ];
    assert_eq!(verdict(&both, Some(BACKEND), Method::GET, "/admin/x", &[]), Reason::DeniedByPolicy);
    assert_eq!(verdict(&both, Some(BACKEND), Method::GET, "/x", &[]), Reason::Accepted);
}

#[test]
fn an_encoded_slash_hides_nothing_from_deny_and_opens_nothing_for_allow() {
    let deny = [policy(Action::Deny, vec![to(paths(&["/a/admin*"]))])];
    assert_eq!(verdict(&deny, Some(BACKEND), Method::GET, "/a%2Fadmin", &[]), Reason::DeniedByPolicy);
    let allow = [policy(Action::Allow, vec![to(paths(&["/public*"]))])];
    assert_eq!(
        verdict(&allow, Some(BACKEND), Method::GET, "/public%2F..%2Fadmin", &[]),
        Reason::NotAllowedByPolicy
    );
}

#[test]
fn parameters_hide_nothing_from_deny_and_open_nothing_for_allow() {
    let deny = [policy(Action::Deny, vec![to(paths(&["/admin", "/a/admin*"]))])];
    for path in ["/admin;a=b", "/a;b/admin/c", "/;/admin", "/admin%3Ba", "/x%2F..;%2Fadmin"] {
        assert_eq!(verdict(&deny, Some(BACKEND), Method::GET, path, &[]), Reason::DeniedByPolicy, "{path}");
    }
    let allow = [policy(Action::Allow, vec![to(paths(&["/public*", "/x;*"]))])];
    let allowed = |path| verdict(&allow, Some(BACKEND), Method::GET, path, &[]);
    assert_eq!(allowed("/public;a=b/c"), Reason::Accepted);
    assert_eq!(allowed("/public%2F..;%2Fadmin"), Reason::NotAllowedByPolicy);
    assert_eq!(allowed("/x;/admin"), Reason::NotAllowedByPolicy);
}

#[test]
fn repeated_headers_hit_deny_by_any_line_and_allow_by_all() {
    let condition = || Condition {
        key: ConditionKey::RequestHeader(HeaderName::from_static("x-role")),
        values: ConditionValues::Texts(texts(&["guest"])),
    };
    let rule = || PolicyRule { when: vec![condition()], ..PolicyRule::default() };
    let twice = [("x-role", "guest"), ("x-role", "admin")];
    assert_eq!(
        verdict(&[policy(Action::Deny, vec![rule()])], Some(BACKEND), Method::GET, "/", &twice),
        Reason::DeniedByPolicy
    );
    assert_eq!(
        verdict(&[policy(Action::Allow, vec![rule()])], Some(BACKEND), Method::GET, "/", &twice),
        Reason::NotAllowedByPolicy
    );
    assert_eq!(
        verdict(&[policy(Action::Allow, vec![rule()])], Some(BACKEND), Method::GET, "/", &twice[..1]),
        Reason::Accepted
    );
    assert_eq!(
        verdict(&[policy(Action::Allow, vec![rule()])], Some(BACKEND), Method::GET, "/", &[]),
        Reason::NotAllowedByPolicy
    );
}

#[test]
fn a_client_without_identity_passes_no_allow_that_names_one_and_no_negative_deny() {
    let allow = [policy(Action::Allow, vec![from(not(&["cluster.local/ns/default/sa/bad"]))])];
    assert_eq!(verdict(&allow, None, Method::GET, "/", &[]), Reason::NotAllowedByPolicy);
    let deny = [policy(Action::Deny, vec![from(not(&["cluster.local/ns/default/sa/backend"]))])];
    assert_eq!(verdict(&deny, None, Method::GET, "/", &[]), Reason::DeniedByPolicy);
    assert_eq!(verdict(&deny, Some(BACKEND), Method::GET, "/", &[]), Reason::Accepted);
}

#[test]
fn what_needs_a_request_is_never_widened_on_an_opaque_port() {
    let http = |action| [policy(action, vec![to(paths(&["/x"]))])];
    assert_eq!(
        authorize(&http(Action::Allow), &facts(Some(BACKEND)), None).reason,
        Reason::NotAllowedByPolicy
    );
    assert_eq!(authorize(&http(Action::Deny), &facts(Some(BACKEND)), None).reason, Reason::DeniedByPolicy);
    let ports = Operation { ports: Patterns { any: vec![9080], none: vec![] }, ..Operation::default() };
    let by_port = [policy(Action::Allow, vec![to(ports)])];
    assert_eq!(authorize(&by_port, &facts(Some(BACKEND)), None).reason, Reason::Accepted);
}

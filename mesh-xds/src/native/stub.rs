//! Which parts of resources a node must say it understands, and what it gets otherwise: a resource that refuses
//! or answers 500, never one that is weaker than the user asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::backend::{Backend, Target};
use mesh_model::filter::Filter;
use mesh_model::finding::Reason;
use mesh_model::policy::{Action, PolicyRule};
use mesh_model::{AuthorizationPolicy, Listener, ListenerTls, ObjectName, Resource, Route, Rule};

/// Cross-origin rules in a route.
pub const FILTER_CORS: &str = "filter.cors";
/// Questions to authorization services in a route.
pub const FILTER_EXTERNAL_AUTH: &str = "filter.external-auth";
/// Mirrors in a route.
pub const FILTER_MIRROR: &str = "filter.mirror";
/// Client certificates asked for by a listener.
pub const LISTENER_CLIENT_VALIDATION: &str = "listener.client-validation";
/// Questions to authorization services at a listener.
pub const LISTENER_EXTERNAL_AUTH: &str = "listener.external-auth";
/// Policies that only record.
pub const POLICY_AUDIT: &str = "policy.audit";

/// Every feature that this version encodes. A node that understands all of them lists them in its metadata.
pub const FEATURES: [&str; 6] = [
    FILTER_CORS,
    FILTER_EXTERNAL_AUTH,
    FILTER_MIRROR,
    LISTENER_CLIENT_VALIDATION,
    LISTENER_EXTERNAL_AUTH,
    POLICY_AUDIT,
];

/// The features that a resource needs.
pub fn needed_features(resource: &Resource) -> BTreeSet<String> {
    let mut features = BTreeSet::new();
    let mut need = |feature: &str| _ = features.insert(feature.to_owned());
    match resource {
        Resource::Listener(listener) => {
            if matches!(&listener.tls, Some(ListenerTls::Terminate { client: Some(_), .. })) {
                need(LISTENER_CLIENT_VALIDATION);
            }
            if !listener.filters.is_empty() {
                need(LISTENER_EXTERNAL_AUTH);
            }
        }
        Resource::Policy(policy) => {
            if policy.action == Action::Audit {
                need(POLICY_AUDIT);
            }
        }
        Resource::Route(route) => {
            let of_backends =
                |rule: &Rule| rule.backends.iter().flat_map(|b| b.filters.clone()).collect::<Vec<_>>();
            for rule in &route.rules {
                for filter in rule.filters.iter().chain(&of_backends(rule)) {
                    match filter {
                        Filter::Cors(_) => need(FILTER_CORS),
                        Filter::ExternalAuth(_) => need(FILTER_EXTERNAL_AUTH),
                        Filter::Mirror(_) => need(FILTER_MIRROR),
                        Filter::Redirect(_)
                        | Filter::RequestHeaders(_)
                        | Filter::ResponseHeaders(_)
                        | Filter::Rewrite(_) => {}
                    }
                }
            }
        }
        Resource::BackendTls(_)
        | Resource::Certificate(_)
        | Resource::EndpointChunk(_)
        | Resource::Service(_)
        | Resource::Workload(_) => {}
    }
    features
}

/// The resource for nodes that lack a needed feature. It needs none itself.
pub fn stub(resource: &Resource) -> Resource {
    match resource {
        Resource::Listener(listener) if !listener.filters.is_empty() => {
            Resource::Listener(Arc::new(elsewhere(listener)))
        }
        Resource::Listener(listener) => Resource::Listener(Arc::new(without_certificates(listener))),
        Resource::Policy(policy) => Resource::Policy(Arc::new(denying(policy))),
        Resource::Route(route) => Resource::Route(Arc::new(answering_500(route))),
        Resource::BackendTls(_)
        | Resource::Certificate(_)
        | Resource::EndpointChunk(_)
        | Resource::Service(_)
        | Resource::Workload(_) => resource.clone(),
    }
}

/// Without a certificate every handshake fails.
fn without_certificates(listener: &Listener) -> Listener {
    let tls = Some(ListenerTls::Terminate { certificates: Vec::new(), client: None });
    Listener { tls, ..listener.clone() }
}

/// A listener that nobody serves: in plain text there is no handshake that could fail.
fn elsewhere(listener: &Listener) -> Listener {
    let gateway = ObjectName::new("", "a-proxy-that-has-the-feature");
    Listener { gateway, filters: Vec::new(), ..without_certificates(listener) }
}

fn denying(policy: &AuthorizationPolicy) -> AuthorizationPolicy {
    AuthorizationPolicy { action: Action::Deny, rules: vec![PolicyRule::default()], ..policy.clone() }
}

fn answering_500(route: &Route) -> Route {
    let reference = Arc::from("a feature that this proxy does not have");
    let target = Target::Invalid { reason: Reason::UnsupportedValue, reference };
    let backend = Backend { target, weight: 1, filters: Vec::new() };
    let stub = |rule: &Rule| Rule {
        name: rule.name.clone(),
        matches: rule.matches.clone(),
        backends: vec![backend.clone()],
        ..Rule::default()
    };
    Route { rules: route.rules.iter().map(stub).collect(), ..route.clone() }
}

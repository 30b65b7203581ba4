//! Authorization policies on the wire.

use std::fmt::Display;
use std::str::FromStr;

use mesh_model::policy::{
    Action, Condition, ConditionKey, ConditionValues, Operation, Patterns, PolicyRule, Source, TextPattern,
};
use mesh_model::{AuthorizationPolicy, Kind};

use super::field::{Decoded, Within, each, each_parsed, needed, parsed, short};
use super::meta;
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::{ConditionKey as WireKey, PolicyConditionValues as WireValues};

pub(super) fn encode(policy: &AuthorizationPolicy) -> wire::Policy {
    let action = match policy.action {
        Action::Allow => wire::PolicyAction::Allow,
        Action::Audit => wire::PolicyAction::Audit,
        Action::Deny => wire::PolicyAction::Deny,
    };
    wire::Policy {
        meta: meta::encode(&policy.key, &policy.source),
        action: action.into(),
        selector: meta::encode_labels(&policy.selector),
        rules: policy.rules.iter().map(encode_rule).collect(),
    }
}

pub(super) fn decode(wire: wire::Policy) -> Decoded<AuthorizationPolicy> {
    let (key, source) = meta::decode(Kind::Policy, wire.meta)?;
    let action = match wire::PolicyAction::try_from(wire.action) {
        Ok(wire::PolicyAction::Allow) => Some(Action::Allow),
        Ok(wire::PolicyAction::Audit) => Some(Action::Audit),
        Ok(wire::PolicyAction::Deny) => Some(Action::Deny),
        Ok(wire::PolicyAction::Unspecified) | Err(_) => None,
    };
    Ok(AuthorizationPolicy {
        key,
        source,
        action: needed("action", action)?,
        selector: meta::decode_labels(wire.selector),
        rules: each("rules", wire.rules, decode_rule)?,
    })
}

fn encode_rule(rule: &PolicyRule) -> wire::PolicyRule {
    let source = |source: &Source| wire::PolicySource {
        principals: encode_patterns(&source.principals),
        namespaces: encode_patterns(&source.namespaces),
        accounts: encode_patterns(&source.accounts),
        addresses: encode_patterns(&source.addresses),
    };
    let operation = |operation: &Operation| wire::PolicyOperation {
        hosts: encode_patterns(&operation.hosts),
        methods: encode_patterns(&operation.methods),
        paths: encode_patterns(&operation.paths),
        ports: encode_ports(&operation.ports),
    };
    wire::PolicyRule {
        from: rule.from.iter().map(source).collect(),
        to: rule.to.iter().map(operation).collect(),
        when: rule.when.iter().map(encode_condition).collect(),
    }
}

fn decode_rule(wire: wire::PolicyRule) -> Decoded<PolicyRule> {
    let source = |wire: wire::PolicySource| -> Decoded<Source> {
        Ok(Source {
            principals: decode_texts(wire.principals),
            namespaces: decode_texts(wire.namespaces),
            accounts: decode_texts(wire.accounts),
            addresses: decode_parsed("addresses", wire.addresses)?,
        })
    };
    let operation = |wire: wire::PolicyOperation| -> Decoded<Operation> {
        Ok(Operation {
            hosts: decode_texts(wire.hosts),
            methods: decode_texts(wire.methods),
            paths: decode_texts(wire.paths),
            ports: decode_ports(wire.ports)?,
        })
    };
    Ok(PolicyRule {
        from: each("from", wire.from, source)?,
        to: each("to", wire.to, operation)?,
        when: each("when", wire.when, decode_condition)?,
    })
}

fn encode_condition(condition: &Condition) -> wire::PolicyCondition {
    let (key, header) = match &condition.key {
        ConditionKey::ConnectionSni => (WireKey::ConnectionSni, ""),
        ConditionKey::DestinationIp => (WireKey::DestinationIp, ""),
        ConditionKey::DestinationPort => (WireKey::DestinationPort, ""),
        ConditionKey::RequestHeader(name) => (WireKey::RequestHeader, name.as_str()),
        ConditionKey::SourceIp => (WireKey::SourceIp, ""),
        ConditionKey::SourceNamespace => (WireKey::SourceNamespace, ""),
        ConditionKey::SourcePrincipal => (WireKey::SourcePrincipal, ""),
    };
    let values = match &condition.values {
        ConditionValues::Networks(networks) => WireValues::Networks(texts(networks)),
        ConditionValues::Ports(ports) => WireValues::Ports(numbers(ports)),
        ConditionValues::Texts(patterns) => WireValues::Texts(texts(patterns)),
    };
    wire::PolicyCondition { key: key.into(), header: header.to_owned(), values: Some(values) }
}

fn decode_condition(wire: wire::PolicyCondition) -> Decoded<Condition> {
    let key = match WireKey::try_from(wire.key) {
        Ok(WireKey::ConnectionSni) => Some(ConditionKey::ConnectionSni),
        Ok(WireKey::DestinationIp) => Some(ConditionKey::DestinationIp),
        Ok(WireKey::DestinationPort) => Some(ConditionKey::DestinationPort),
        Ok(WireKey::RequestHeader) => Some(ConditionKey::RequestHeader(parsed("header", &wire.header)?)),
        Ok(WireKey::SourceIp) => Some(ConditionKey::SourceIp),
        Ok(WireKey::SourceNamespace) => Some(ConditionKey::SourceNamespace),
        Ok(WireKey::SourcePrincipal) => Some(ConditionKey::SourcePrincipal),
        Ok(WireKey::Unspecified) | Err(_) => None,
    };
    let key = needed("key", key)?;
    // The form of the values follows from the key; another form would be a condition that never holds.
    let values = match (&key, needed("values", wire.values)?) {
        (ConditionKey::DestinationIp | ConditionKey::SourceIp, WireValues::Networks(wire)) => {
            Some(ConditionValues::Networks(decode_parsed("networks", Some(wire))?))
        }
        (ConditionKey::DestinationPort, WireValues::Ports(wire)) => {
            Some(ConditionValues::Ports(decode_ports(Some(wire))?))
        }
        (
            ConditionKey::ConnectionSni
            | ConditionKey::RequestHeader(_)
            | ConditionKey::SourceNamespace
            | ConditionKey::SourcePrincipal,
            WireValues::Texts(wire),
        ) => Some(ConditionValues::Texts(decode_texts(Some(wire)))),
        _ => None,
    };
    Ok(Condition { values: needed("values", values)?, key })
}

fn texts<T: Display>(patterns: &Patterns<T>) -> wire::TextPatterns {
    let list = |list: &[T]| list.iter().map(ToString::to_string).collect();
    wire::TextPatterns { any: list(&patterns.any), none: list(&patterns.none) }
}

fn encode_patterns<T: Display>(patterns: &Patterns<T>) -> Option<wire::TextPatterns> {
    (!patterns.is_empty()).then(|| texts(patterns))
}

fn decode_texts(patterns: Option<wire::TextPatterns>) -> Patterns<TextPattern> {
    let wire::TextPatterns { any, none } = patterns.unwrap_or_default();
    let list = |list: Vec<String>| list.into_iter().map(TextPattern::from).collect();
    Patterns { any: list(any), none: list(none) }
}

fn decode_parsed<T>(field: &str, patterns: Option<wire::TextPatterns>) -> Decoded<Patterns<T>>
where
    T: FromStr,
    T::Err: Display,
{
    let wire::TextPatterns { any, none } = patterns.unwrap_or_default();
    let list = |name: &str, list: &[String]| each_parsed(name, list).within(field);
    Ok(Patterns { any: list("any", &any)?, none: list("none", &none)? })
}

fn numbers(ports: &Patterns<u16>) -> wire::NumberPatterns {
    let list = |list: &[u16]| list.iter().copied().map(u32::from).collect();
    wire::NumberPatterns { any: list(&ports.any), none: list(&ports.none) }
}

fn encode_ports(ports: &Patterns<u16>) -> Option<wire::NumberPatterns> {
    (!ports.is_empty()).then(|| numbers(ports))
}

fn decode_ports(ports: Option<wire::NumberPatterns>) -> Decoded<Patterns<u16>> {
    let wire::NumberPatterns { any, none } = ports.unwrap_or_default();
    let list = |name: &str, list: Vec<u32>| each(name, list, |number| short("", number)).within("ports");
    Ok(Patterns { any: list("any", any)?, none: list("none", none)? })
}

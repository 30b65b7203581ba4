//! Further conditions of a rule: a key from a closed list, and values parsed for it.

use http::HeaderName;
use mesh_model::policy::{Condition, ConditionKey, ConditionValues, Patterns};
use mesh_model::{FieldPath, Reason};

use super::super::suggest::closest;
use super::{Parser, texts};
use crate::objects::security::RuleCondition;

/// The keys that have no parameter.
const KEYS: [(&str, ConditionKey); 6] = [
    ("connection.sni", ConditionKey::ConnectionSni),
    ("destination.ip", ConditionKey::DestinationIp),
    ("destination.port", ConditionKey::DestinationPort),
    ("source.ip", ConditionKey::SourceIp),
    ("source.namespace", ConditionKey::SourceNamespace),
    ("source.principal", ConditionKey::SourcePrincipal),
];

impl Parser<'_> {
    pub(super) fn condition(&mut self, condition: &RuleCondition, path: &FieldPath) -> Option<Condition> {
        let key = self.key(&condition.key, &path.field("key"))?;
        let (any, none) = (path.field("values"), path.field("notValues"));
        if condition.values.is_empty() && condition.not_values.is_empty() {
            let message = "a condition without values asks nothing";
            self.report.error(Reason::MissingField, path, message, "list values or notValues");
            return None;
        }
        let values = match key {
            ConditionKey::DestinationIp | ConditionKey::SourceIp => ConditionValues::Networks(Patterns {
                any: self.networks(&condition.values, &any),
                none: self.networks(&condition.not_values, &none),
            }),
            ConditionKey::DestinationPort => ConditionValues::Ports(Patterns {
                any: self.ports(&condition.values, &any),
                none: self.ports(&condition.not_values, &none),
            }),
            ConditionKey::SourcePrincipal => ConditionValues::Texts(Patterns {
                any: self.principals(&condition.values, &any),
                none: self.principals(&condition.not_values, &none),
            }),
            ConditionKey::ConnectionSni | ConditionKey::RequestHeader(_) | ConditionKey::SourceNamespace => {
                ConditionValues::Texts(Patterns {
                    any: texts(&condition.values),
                    none: texts(&condition.not_values),
                })
            }
        };
        Some(Condition { key, values })
    }

    fn key(&mut self, text: &str, path: &FieldPath) -> Option<ConditionKey> {
        let header = text.strip_prefix("request.headers[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = header {
            let parsed = HeaderName::try_from(name.trim_matches('"'));
            if parsed.is_err() {
                let message = format!("{name:?} is not a header name");
                self.report.error(Reason::InvalidValue, path, message, "write request.headers[x-role]");
            }
            return parsed.ok().map(ConditionKey::RequestHeader);
        }
        let found = KEYS.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = KEYS.iter().map(|(name, _)| *name);
            let list: Vec<&str> = names.clone().chain(["request.headers[<name>]"]).collect();
            let near = closest(text, names).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
            let message = format!("{text:?} is not a key of conditions");
            let right = format!("{near}keys are {}", list.join(", "));
            self.report.error(Reason::InvalidValue, path, message, right);
        }
        found.map(|(_, key)| key.clone())
    }
}

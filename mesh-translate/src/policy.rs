//! Authorization policies: from the texts that users write to parsed rules. No evaluation.
//!
//! What cannot be read never opens anything: an ALLOW or AUDIT rule with an error is left out, a DENY rule
//! loses the unreadable part and refuses more.

mod condition;
mod opaque;
mod selection;

use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_model::policy::{Action, Operation, Patterns, PolicyRule, Source, TextPattern};
use mesh_model::{
    AuthorizationPolicy, FieldPath, Kind, ObjectName, Origin, Reason, Resource, ResourceKey, SourceRef,
    SpiffeId,
};

use super::entry::Entry;
use super::output::{Output, Report};
use super::reader::Reader;
use super::workload::labels;
use crate::objects::security::{self, PolicyAction};
use crate::objects::{self, ObjectKind};
use crate::status::{Condition, ObjectStatus, StatusBody};

pub(super) fn policy(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let Some((object, entry)) = reader.object::<objects::AuthorizationPolicy>(name) else {
        return reader.is_refused_policy(name).then(|| refuse_everything(key(reader, name), name));
    };
    let mut report = Report::on(&entry.source);
    let action = match object.spec.action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Audit => Action::Audit,
        PolicyAction::Deny => Action::Deny,
    };
    let list = FieldPath::from("spec.rules");
    let mut rules = Vec::new();
    for (n, written) in object.spec.rules.iter().enumerate() {
        let errors = report.findings.len();
        let mut parser = Parser { report: &mut report, namespace: &name.namespace };
        let rule = parser.rule(written, &list.index(n));
        if report.findings.len() == errors || action == Action::Deny {
            rules.push(rule);
        }
    }
    let refused = report.findings.first().map(|finding| (finding.reason, finding.message.clone()));
    let selector = object.spec.selector.as_ref().map(|s| labels(&s.match_labels)).unwrap_or_default();
    if reader.settings().allocate_addresses {
        selection::check(reader, &name.namespace, &selector, &mut report);
    }
    opaque::check(reader, &name.namespace, &selector, &rules, &mut report);
    if rules.is_empty() && action == Action::Deny && object.spec.rules.is_empty() {
        let message = "a DENY policy without rules refuses nothing";
        report.warning(
            Reason::InvalidValue,
            &list,
            message,
            "write a rule; an empty one ({}) matches everything",
        );
    }
    let policy =
        AuthorizationPolicy { key: key(reader, name), source: entry.source.clone(), action, selector, rules };
    let resources = vec![Resource::Policy(Arc::new(policy))];
    let statuses = vec![status(entry, name, refused)];
    Some(Output { resources, statuses, findings: report.findings, ..Output::default() })
}

/// The key of a policy. One of the root namespace belongs to no namespace, for it holds in all.
fn key(reader: &Reader<'_>, name: &ObjectName) -> ResourceKey {
    let root = reader.settings().root_namespace.as_deref();
    let name = if root == Some(&*name.namespace) { ObjectName::new("", &*name.name) } else { name.clone() };
    ResourceKey::local(Kind::Policy, name)
}

/// What stands for a policy that cannot be read: nobody knows whom it selects and refuses, so nobody enters
/// the namespace.
fn refuse_everything(key: ResourceKey, name: &ObjectName) -> Output {
    let source = SourceRef::new("AuthorizationPolicy", name.clone(), Origin::Builtin);
    let mut report = Report::on(&source);
    let namespace = &name.namespace;
    let message =
        format!("the policy cannot be read, so no workload of namespace {namespace} lets anybody in");
    report.error(Reason::PolicyPending, &FieldPath::root(), message, "correct or remove it");
    let policy = AuthorizationPolicy {
        key,
        source,
        action: Action::Allow,
        selector: std::collections::BTreeMap::new(),
        rules: Vec::new(),
    };
    let resources = vec![Resource::Policy(Arc::new(policy))];
    Output { resources, findings: report.findings, ..Output::default() }
}

fn status(entry: &Entry, name: &ObjectName, refused: Option<(Reason, String)>) -> ObjectStatus {
    let accepted = Condition::unless("Accepted", refused.as_ref(), entry.generation());
    let body = StatusBody::Conditions { conditions: vec![accepted] };
    ObjectStatus { kind: ObjectKind::AuthorizationPolicy, name: name.clone(), body }
}

/// Reads one policy's rules.
struct Parser<'a> {
    report: &'a mut Report,
    namespace: &'a str,
}

impl Parser<'_> {
    fn rule(&mut self, rule: &security::PolicyRule, path: &FieldPath) -> PolicyRule {
        let (from, to, when) = (path.field("from"), path.field("to"), path.field("when"));
        let sources = rule.from.iter().enumerate();
        let sources = sources.map(|(n, f)| self.source(&f.source, &from.index(n).field("source"))).collect();
        let operations = rule.to.iter().enumerate();
        let operations =
            operations.map(|(n, t)| self.operation(&t.operation, &to.index(n).field("operation"))).collect();
        let conditions = rule.when.iter().enumerate();
        let conditions = conditions.filter_map(|(n, c)| self.condition(c, &when.index(n))).collect();
        PolicyRule { from: sources, to: operations, when: conditions }
    }

    fn source(&mut self, source: &security::Source, path: &FieldPath) -> Source {
        Source {
            principals: Patterns {
                any: self.principals(&source.principals, &path.field("principals")),
                none: self.principals(&source.not_principals, &path.field("notPrincipals")),
            },
            namespaces: Patterns { any: texts(&source.namespaces), none: texts(&source.not_namespaces) },
            accounts: Patterns {
                any: source.service_accounts.iter().map(|account| self.account(account)).collect(),
                none: Vec::new(),
            },
            addresses: Patterns {
                any: self.networks(&source.ip_blocks, &path.field("ipBlocks")),
                none: self.networks(&source.not_ip_blocks, &path.field("notIpBlocks")),
            },
        }
    }

    fn operation(&mut self, operation: &security::Operation, path: &FieldPath) -> Operation {
        Operation {
            hosts: Patterns { any: texts(&operation.hosts), none: texts(&operation.not_hosts) },
            methods: Patterns { any: texts(&operation.methods), none: texts(&operation.not_methods) },
            paths: Patterns {
                any: self.paths(&operation.paths, &path.field("paths")),
                none: self.paths(&operation.not_paths, &path.field("notPaths")),
            },
            ports: Patterns {
                any: self.ports(&operation.ports, &path.field("ports")),
                none: self.ports(&operation.not_ports, &path.field("notPorts")),
            },
        }
    }

    /// Identities with or without scheme. A whole identity must be one; a pattern is taken as it is.
    fn principals(&mut self, written: &[String], path: &FieldPath) -> Vec<TextPattern> {
        let mut patterns = Vec::new();
        for (n, text) in written.iter().enumerate() {
            let plain = text.strip_prefix("spiffe://").unwrap_or(text);
            if let (false, Err(error)) = (plain.contains('*'), SpiffeId::parse_principal(plain)) {
                let form =
                    "write <trust domain>/ns/<namespace>/sa/<account>, as in cluster.local/ns/default/sa/web";
                let message = format!("{text:?} is not an identity: {error}");
                self.report.error(Reason::InvalidValue, &path.index(n), message, form);
                continue;
            }
            patterns.extend(self.pattern(plain, &path.index(n)));
        }
        patterns
    }

    /// An account of the policy's namespace, or `namespace/account`.
    fn account(&self, text: &str) -> TextPattern {
        let full = if text.contains('/') { text.to_owned() } else { format!("{}/{text}", self.namespace) };
        TextPattern::from(full)
    }

    fn paths(&mut self, written: &[String], path: &FieldPath) -> Vec<TextPattern> {
        let mut patterns = Vec::new();
        for (n, text) in written.iter().enumerate() {
            if !text.starts_with(['/', '*']) {
                let message = format!("path {text:?} does not begin with a slash, so it matches nothing");
                self.report.error(
                    Reason::InvalidValue,
                    &path.index(n),
                    message,
                    format!("write \"/{text}\""),
                );
                continue;
            }
            patterns.extend(self.pattern(text, &path.index(n)));
        }
        patterns
    }

    fn pattern(&mut self, text: &str, path: &FieldPath) -> Option<TextPattern> {
        let inner = text.strip_prefix('*').unwrap_or(text.strip_suffix('*').unwrap_or(text));
        if inner.contains('*') {
            let message = format!("{text:?} has a star in the middle, or two");
            let form = "write one star at the beginning or the end";
            self.report.error(Reason::InvalidValue, path, message, form);
            return None;
        }
        Some(TextPattern::from(text.to_owned()))
    }

    fn ports(&mut self, written: &[String], path: &FieldPath) -> Vec<u16> {
        let parse = |text: &str| u16::from_str(text).ok().filter(|port| *port != 0);
        self.parsed(written, path, parse, ["is not a port", "write a number from 1 to 65535"])
    }

    fn networks(&mut self, written: &[String], path: &FieldPath) -> Vec<IpNet> {
        let parse = |text: &str| {
            let host = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(host)
        };
        self.parsed(written, path, parse, ["is not an address or range", "write 10.0.0.1 or 10.0.0.0/8"])
    }

    fn parsed<T>(
        &mut self,
        written: &[String],
        path: &FieldPath,
        parse: impl Fn(&str) -> Option<T>,
        [wrong, right]: [&str; 2],
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for (n, text) in written.iter().enumerate() {
            match parse(text) {
                Some(value) => parsed.push(value),
                None => {
                    self.report.error(
                        Reason::InvalidValue,
                        &path.index(n),
                        format!("{text:?} {wrong}"),
                        right,
                    );
                }
            }
        }
        parsed
    }
}

fn texts(written: &[String]) -> Vec<TextPattern> {
    written.iter().map(|text| TextPattern::from(text.clone())).collect()
}

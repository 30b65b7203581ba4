//! What an evaluation yields: facts for other nodes, resources, findings, status.

use std::collections::BTreeMap;

use mesh_model::{FieldPath, Finding, Reason, Resource, Severity, SourceRef};

use super::fact::Fact;
use super::node::Topic;
use crate::status::ObjectStatus;

/// What a node yields.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Output {
    pub(super) facts: BTreeMap<Topic, Fact>,
    pub(super) resources: Vec<Resource>,
    pub(super) findings: Vec<Finding>,
    pub(super) statuses: Vec<ObjectStatus>,
}

/// Collects findings about one object.
#[derive(Debug)]
pub(super) struct Report {
    source: SourceRef,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn on(source: &SourceRef) -> Self {
        Self { source: source.clone(), findings: Vec::new() }
    }

    /// An error at a field. The suggestion may be empty.
    pub(super) fn error(
        &mut self,
        reason: Reason,
        path: &FieldPath,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        let suggestion = suggestion.into();
        let mut finding = Finding::error(reason, &self.source, path.clone(), message);
        finding.suggestion = (!suggestion.is_empty()).then_some(suggestion);
        self.findings.push(finding);
    }

    /// As [`Self::error`], for what is in force but probably not as meant.
    pub(super) fn warning(
        &mut self,
        reason: Reason,
        path: &FieldPath,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.error(reason, path, message, suggestion);
        if let Some(last) = self.findings.last_mut() {
            last.severity = Severity::Warning;
        }
    }

    /// Something that the specification has and this implementation does not.
    pub(super) fn unsupported(&mut self, path: &FieldPath, what: &str) {
        self.error(Reason::UnsupportedValue, path, format!("{what} is not supported"), "remove it");
    }
}

/// A kind with its group, as people write it.
pub(super) fn kind_name(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") }
}

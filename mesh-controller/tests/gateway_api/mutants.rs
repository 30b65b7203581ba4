//! For every rule of the definitions, at every place where it stands, in both channels: an object that breaks
//! this rule is refused, and the place is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_controller::source::load;
use mesh_model::Reason;
use serde_json::{Value as Json, json};

use crate::builder::{Step, reach};
use crate::definitions::{Version, versions};
use crate::rules::breaking;

/// A rule at its place.
#[derive(Debug, Clone)]
struct Placed {
    version: Version,
    steps: Vec<Step>,
    schema: Json,
    rule: String,
    message: String,
    /// Whether the experimental channel, which is the one that is checked, has exactly this rule here.
    checked: bool,
}

/// How many rules stand at how many places, so that none can get lost: in the experimental channel, and in
/// the standard channel beside these.
const EXPECTED: (usize, usize) = (444, 14);

/// Rules that no document can break that has the right shape, with what says so before the rule could.
const SHAPE_COMES_FIRST: [(&str, &str); 5] = [
    ("self.type in ['Exact','PathPrefix'] ||", "the list of allowed values"),
    ("self.all(h, !h.contains('*')", "the pattern of the item"),
    ("self.all(h, h.contains('*')", "the pattern of the item"),
    ("self.all(l1, self.exists_one(l2, l1.name == l2.name))", "the uniqueness of the list's keys"),
    ("self.all(t1, self.exists_one(t2, t1.port == t2.port))", "the uniqueness of the list's keys"),
];

/// Rules that compare with an earlier version of the object, which a document does not have.
fn is_transition(rule: &str) -> bool {
    rule.contains("oldSelf")
}

fn collect(version: &Version, schema: &Json, steps: &mut Vec<Step>, found: &mut Vec<Placed>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
        let (rule, message) = (text("rule"), text("message"));
        let (version, steps, schema) = (version.clone(), steps.clone(), schema.clone());
        found.push(Placed { version, steps, schema, rule, message, checked: true });
    }
    for (name, nested) in schema["properties"].as_object().into_iter().flatten() {
        steps.push(Step::Field(name.clone()));
        collect(version, nested, steps, found);
        steps.pop();
    }
    if let Some(items) = schema.get("items") {
        steps.push(Step::Item);
        collect(version, items, steps, found);
        steps.pop();
    }
    assert!(schema["additionalProperties"]["x-kubernetes-validations"].is_null(), "rules of map values");
}

fn placed_rules() -> Vec<Placed> {
    let mut found = Vec::new();
    for version in versions("experimental").values() {
        collect(version, &version.schema, &mut Vec::new(), &mut found);
    }
    let key = |placed: &Placed| {
        (
            placed.version.api_version.clone(),
            placed.version.kind.clone(),
            placed.steps.clone(),
            placed.rule.clone(),
        )
    };
    let known: std::collections::BTreeSet<_> = found.iter().map(key).collect();
    let mut standard = Vec::new();
    for version in versions("standard").values() {
        collect(version, &version.schema, &mut Vec::new(), &mut standard);
    }
    standard.retain(|placed| !known.contains(&key(placed)));
    assert_eq!((found.len(), standard.len()), EXPECTED, "rules of the module");
    found.extend(standard.into_iter().map(|placed| Placed { checked: false, ..placed }));
    found
}

impl Placed {
    fn path(&self) -> String {
        self.steps.iter().fold(String::new(), |path, step| match step {
            Step::Field(name) if path.is_empty() => name.clone(),
            Step::Field(name) => format!("{path}.{name}"),
            Step::Item => format!("{path}[0]"),
        })
    }

    /// An object that is valid but for this rule.
    fn mutant(&self) -> Option<Json> {
        let broken = breaking(&self.rule, &self.schema)?;
        let experimental =
            &versions("experimental")[&format!("{} {}", self.version.api_version, self.version.kind)];
        let mut object = reach(&experimental.schema, &self.steps, broken);
        object["apiVersion"] = json!(self.version.api_version);
        object["kind"] = json!(self.version.kind);
        object["metadata"] = json!({"name": "mutant"});
        Some(object)
    }

    /// What is wrong with the answer to the mutant, if anything.
    fn verdict(&self) -> Option<String> {
        let Some(mutant) = self.mutant() else { return Some("no mutant for this rule".to_owned()) };
        let loaded = load(mutant.to_string().as_bytes(), &Arc::from("mutant.json"));
        let all: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
        let complaint = |what: &str| Some(format!("{what}: {all:?}\n    {mutant}"));
        if !loaded.objects.is_empty() {
            return complaint("accepted");
        }
        let path = self.path();
        if let Some((_, why)) = SHAPE_COMES_FIRST.iter().find(|(rule, _)| self.rule.starts_with(rule)) {
            let below = |p: &str| p.strip_prefix(&path).is_some_and(|rest| rest.starts_with(['.', '[']));
            let by_shape = |reason| reason == Reason::InvalidValue;
            let expected = loaded.findings.iter().all(|f| by_shape(f.reason) && below(f.path.as_str()));
            return if expected { None } else { complaint(&format!("not refused by {why}")) };
        }
        let at_place = loaded.findings.iter().all(|finding| finding.path.as_str() == path);
        let named = loaded.findings.iter().any(|finding| {
            finding.reason == Reason::RuleViolation && (finding.message == self.message || !self.checked)
        });
        // A fragment in a path is a character that paths do not have, too.
        let most = if self.rule.contains("contains('#')") { 2 } else { 1 };
        match at_place && named && loaded.findings.len() <= most {
            true => None,
            false => complaint("not refused by exactly this rule at this place"),
        }
    }
}

#[test]
fn every_rule_refuses_a_mutant_that_breaks_exactly_it_and_names_the_place() {
    let mut transitions = BTreeMap::new();
    let mut failures = Vec::new();
    for placed in placed_rules() {
        if is_transition(&placed.rule) {
            *transitions.entry(placed.version.kind.clone()).or_insert(0) += 1;
        } else if let Some(failure) = placed.verdict() {
            let name = format!("{} {}", placed.version.api_version, placed.version.kind);
            failures.push(format!("{name} {}: {}\n  {failure}", placed.path(), placed.rule));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    // The name of a class's controller cannot be changed: v1 and v1beta1.
    assert_eq!(transitions, BTreeMap::from([("GatewayClass".to_owned(), 2)]));
}

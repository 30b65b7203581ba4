//! Objects that an API server holds and that cannot be used, such as those that older definitions let through: what is
//! kept of them, and what their status says. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Finding, ObjectName, Severity};
use serde_json::{Value, json};

use crate::objects::{Gateway, GatewayClass, ListenerSet, ObjectKind, Service, group};
use crate::source::{Aim, of_targets};
use crate::store::{ObjectKey, ObjectStore};

/// All of them.
pub(super) type Unusables = BTreeMap<ObjectKey, Arc<Unusable>>;

/// Problems that a condition tells; all are findings.
const TOLD: usize = 3;

/// One object that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unusable {
    /// The version it was read at.
    pub(super) version: Arc<str>,
    /// The generation that was judged.
    pub(super) generation: i64,
    /// Its status as it stands.
    pub(super) status: Value,
    /// What it says of whom it belongs to.
    belongs: Value,
    why: String,
}

/// The fields of `spec` that say to whom an object belongs.
const BELONGS: [&str; 5] = ["controllerName", "gatewayClassName", "parentRef", "parentRefs", "targetRefs"];

/// Who reports on what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners<'a> {
    /// What else there is.
    pub(super) store: &'a ObjectStore,
    /// Signs for gateways.
    pub(super) gateways: &'a str,
    /// Signs for services.
    pub(super) mesh: &'a str,
}

impl Unusable {
    /// What is kept of an object with these findings.
    pub(super) fn new(live: (Arc<str>, i64, Value), object: &Value, findings: &[Finding]) -> Self {
        let (version, generation, status) = live;
        let spec = &object["spec"];
        let fields = BELONGS.iter().filter_map(|name| Some(((*name).to_owned(), spec.get(name)?.clone())));
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let lines: Vec<String> =
            errors.clone().take(TOLD).map(|error| format!("{}: {}", error.path, error.message)).collect();
        let mut why = lines.join("; ");
        if let Some(more) = errors.count().checked_sub(TOLD + 1) {
            why.push_str(&format!("; and {} more", more + 1));
        }
        let belongs = Value::Object(fields.collect());
        Self { version, generation, status, belongs, why }
    }

    /// The services that a policy is about, as far as that can be read.
    pub(super) fn aim(&self) -> Aim {
        let targets = self.belongs["targetRefs"].as_array()?;
        of_targets(targets.iter().map(|target| {
            let text = |name: &str| target[name].as_str();
            Some((text("group")?, text("kind")?, text("name")?))
        }))
    }

    /// What is to be said; none when the object is not ours.
    pub(super) fn says(&self, key: &ObjectKey, owners: &Owners<'_>) -> Option<Value> {
        let namespace = &*key.name.namespace;
        match key.kind {
            ObjectKind::GatewayClass => (self.belongs["controllerName"] == owners.gateways)
                .then(|| json!({"conditions": [self.fails("Accepted", "Unsupported")]})),
            ObjectKind::Gateway => {
                let class = self.belongs["gatewayClassName"].as_str()?;
                owners.class_is_ours(class).then(|| self.both())
            }
            ObjectKind::ListenerSet => {
                let parent = &self.belongs["parentRef"];
                owners.gateway_is_ours(parent, namespace).then(|| self.both())
            }
            ObjectKind::AuthorizationPolicy | ObjectKind::PeerAuthentication => {
                Some(json!({"conditions": [self.fails("Accepted", "Invalid")]}))
            }
            ObjectKind::BackendTlsPolicy
            | ObjectKind::XBackendTrafficPolicy
            | ObjectKind::XTelemetryPolicy => {
                Some(json!({"ancestors": self.entries("targetRefs", "ancestorRef", namespace, owners)}))
            }
            // Whoever refers to it says that it cannot be used.
            ObjectKind::XBackend => None,
            _ => Some(json!({"parents": self.entries("parentRefs", "parentRef", namespace, owners)})),
        }
    }

    /// One entry for each of those named that is ours.
    fn entries(&self, field: &str, named: &str, namespace: &str, owners: &Owners<'_>) -> Vec<Value> {
        let reason = if field == "parentRefs" { "UnsupportedValue" } else { "Invalid" };
        let conditions = json!([self.fails("Accepted", reason)]);
        let of = |reference: &Value| {
            let mut controller = owners.of(reference, namespace)?;
            let mut reference = reference.clone();
            if named == "ancestorRef" {
                // Targets are in the policy's own namespace, and one name signs for all of them.
                reference["namespace"] = json!(namespace);
                controller = owners.gateways;
            }
            Some(json!({named: reference, "controllerName": controller, "conditions": conditions}))
        };
        self.belongs[field].as_array().into_iter().flatten().filter_map(of).collect()
    }

    fn both(&self) -> Value {
        json!({"conditions": [self.fails("Accepted", "Invalid"), self.fails("Programmed", "Invalid")]})
    }

    fn fails(&self, kind: &str, reason: &str) -> Value {
        json!({"type": kind, "status": false, "reason": reason, "observedGeneration": self.generation,
            "message": format!("this version of the object is not in force: {}", self.why)})
    }
}

impl Owners<'_> {
    fn class_is_ours(&self, class: &str) -> bool {
        let class = self.store.one::<GatewayClass>(&ObjectName::new("", class));
        class.is_some_and(|(_, class)| class.spec.controller_name == self.gateways)
    }

    fn gateway_is_ours(&self, reference: &Value, namespace: &str) -> bool {
        let Some(name) = name(reference, namespace) else { return false };
        let gateway = self.store.one::<Gateway>(&name);
        gateway.is_some_and(|(_, gateway)| self.class_is_ours(&gateway.spec.gateway_class_name))
    }

    /// Who of us reports about an object that this reference names.
    fn of(&self, reference: &Value, namespace: &str) -> Option<&str> {
        let (kind, group) = (reference["kind"].as_str(), reference["group"].as_str());
        match (group.unwrap_or(group::GATEWAY), kind.unwrap_or("Gateway")) {
            (group::GATEWAY, "Gateway") => {
                self.gateway_is_ours(reference, namespace).then_some(self.gateways)
            }
            (group::GATEWAY, "ListenerSet") => {
                let (_, set) = self.store.one::<ListenerSet>(&name(reference, namespace)?)?;
                let parent = serde_json::to_value(&set.spec.parent_ref).ok()?;
                let home = reference["namespace"].as_str().unwrap_or(namespace);
                self.gateway_is_ours(&parent, home).then_some(self.gateways)
            }
            ("", "Service") => {
                self.store.one::<Service>(&name(reference, namespace)?)?;
                Some(self.mesh)
            }
            _ => None,
        }
    }
}

fn name(reference: &Value, namespace: &str) -> Option<ObjectName> {
    let namespace = reference["namespace"].as_str().unwrap_or(namespace);
    Some(ObjectName::new(namespace, reference["name"].as_str()?))
}

#[cfg(test)]
mod tests;

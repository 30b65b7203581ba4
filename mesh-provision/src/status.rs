//! What is reported back about each object: conditions and counts as values. Nothing is written anywhere here.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::Serialize;

use mesh_model::{ObjectName, Reason};

use mesh_objects::{ObjectKind, ParentReference};
use mesh_source::store::ObjectKey;

/// The statuses of all objects, ordered by kind and name. A copy shares everything.
#[derive(Debug, Clone, Default)]
pub struct Statuses(RedBlackTreeMapSync<ObjectKey, Arc<ObjectStatus>>);

impl Statuses {
    /// The status of one object.
    pub fn of(&self, key: &ObjectKey) -> Option<&Arc<ObjectStatus>> {
        self.0.get(key)
    }

    /// The statuses of all objects of a kind, by name.
    pub fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &Arc<ObjectStatus>> {
        let first = ObjectKey::new(kind, ObjectName::new("", ""));
        let from = self.0.range(first..);
        from.take_while(move |(key, _)| key.kind == kind).map(|(_, status)| status)
    }

    /// Replaces the status of an object, or takes it away.
    pub fn set(&mut self, key: ObjectKey, status: Option<Arc<ObjectStatus>>) {
        match status {
            Some(status) => self.0.insert_mut(key, status),
            None => drop(self.0.remove_mut(&key)),
        }
    }
}

/// One condition, without the time of its last change, which only a writer knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// A word for programs, as the Gateway API spells it.
    pub reason: &'static str,
    /// A sentence for people; empty when there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The generation of the object that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// A condition that holds.
    pub fn holds(kind: &'static str, reason: &'static str, generation: Option<i64>) -> Self {
        Self { kind, status: true, reason, message: String::new(), observed_generation: generation }
    }

    /// A condition that does not hold.
    pub fn fails(
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
        generation: Option<i64>,
    ) -> Self {
        Self { kind, status: false, reason, message: message.into(), observed_generation: generation }
    }

    /// The usual pair: holds with the condition's own name (or `Accepted`) as reason, or fails with the first
    /// problem.
    pub fn unless(kind: &'static str, problem: Option<&(Reason, String)>, generation: Option<i64>) -> Self {
        match problem {
            None => Self::holds(kind, kind, generation),
            Some((reason, message)) => Self::fails(kind, reason.as_str(), message.as_str(), generation),
        }
    }

    /// The same condition with a message.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// A kind of routes that a listener takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportedKind {
    /// The group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
}

/// A feature of the Gateway API that a class supports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportedFeature {
    /// Its name.
    pub name: &'static str,
}

/// What is reported about one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener.
    pub name: String,
    /// Routes that it accepted.
    pub attached_routes: u32,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<SupportedKind>,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// What is reported about one parent of a route, or one ancestor of a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent as the object names it.
    pub parent_ref: ParentReference,
    /// Who reports.
    pub controller_name: String,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// An address at which a gateway is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusAddress {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The address.
    pub value: String,
    /// From where it is reached (GEP-5093), of gateways that ask: `Cluster`, or empty for nothing that is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

/// The part of a status that differs by kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum StatusBody {
    /// Policies on backends: one entry per gateway that uses the backend.
    Ancestors {
        /// The entries, ours only.
        ancestors: Vec<ParentStatus>,
    },
    /// Gateway classes.
    #[serde(rename_all = "camelCase")]
    GatewayClass {
        /// The conditions.
        conditions: Vec<Condition>,
        /// What the controller supports, by the names of the Gateway API, in their order.
        supported_features: Vec<SupportedFeature>,
    },
    /// Kinds that have conditions only.
    Conditions {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// Gateways.
    #[serde(rename_all = "camelCase")]
    Gateway {
        /// The conditions.
        conditions: Vec<Condition>,
        /// One entry per listener of the object.
        listeners: Vec<ListenerStatus>,
        /// Listener sets that were accepted.
        attached_listener_sets: u32,
        /// Where it is reached; empty where nothing is created for gateways.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<StatusAddress>,
    },
    /// Listener sets.
    ListenerSet {
        /// The conditions.
        conditions: Vec<Condition>,
        /// One entry per listener of the object.
        listeners: Vec<ListenerStatus>,
    },
    /// Routes: one entry per parent that is ours.
    Parents {
        /// The entries, ours only.
        parents: Vec<ParentStatus>,
    },
}

/// The status of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectStatus {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Its namespace and name.
    pub name: ObjectName,
    /// What is reported.
    pub body: StatusBody,
}

impl Serialize for ObjectStatus {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            object: String,
            status: &'a StatusBody,
        }
        let object = format!("{} {}", self.kind.as_str(), self.name);
        Shape { object, status: &self.body }.serialize(out)
    }
}

impl ObjectStatus {
    /// Every condition of the object with the part it is about; an empty text is the whole object.
    pub fn conditions(&self) -> Vec<(String, &Condition)> {
        match &self.body {
            StatusBody::Ancestors { ancestors: all } | StatusBody::Parents { parents: all } => {
                all.iter().flat_map(of_parent).collect()
            }
            StatusBody::Conditions { conditions } | StatusBody::GatewayClass { conditions, .. } => {
                whole(conditions).collect()
            }
            StatusBody::Gateway { conditions, listeners, .. }
            | StatusBody::ListenerSet { conditions, listeners } => {
                whole(conditions).chain(listeners.iter().flat_map(of_listener)).collect()
            }
        }
    }
}

fn whole(conditions: &[Condition]) -> impl Iterator<Item = (String, &Condition)> {
    conditions.iter().map(|condition| (String::new(), condition))
}

fn of_listener(listener: &ListenerStatus) -> impl Iterator<Item = (String, &Condition)> {
    let name = format!("listener {}", listener.name);
    listener.conditions.iter().map(move |condition| (name.clone(), condition))
}

fn of_parent(parent: &ParentStatus) -> impl Iterator<Item = (String, &Condition)> {
    let name = format!("{} {}", parent.parent_ref.kind, parent.parent_ref.name);
    parent.conditions.iter().map(move |condition| (name.clone(), condition))
}

//! What all objects share: metadata, label selectors, conditions. Nothing that belongs to one kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scalar::Timestamp;
use super::shape::shapes;

/// Labels, annotations and other maps of texts, in the order of their keys.
pub type TextMap = BTreeMap<String, String>;

/// An object that has `spec` and `status` and nothing else beside its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    bound(
        deserialize = "Spec: Deserialize<'de>, Status: Deserialize<'de>",
        serialize = "Spec: Serialize, Status: Serialize"
    )
)]
pub struct Manifest<Spec, Status> {
    /// Group and version as written.
    pub api_version: String,
    /// Kind as written.
    pub kind: String,
    /// Name, namespace, labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: Spec,
    /// What controllers reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

shapes! {
    /// `metadata` of every object (Kubernetes 1.36, `ObjectMeta`).
    pub default struct ObjectMeta {
        /// Notes of tools and people.
        pub annotations: TextMap,
        /// When the API server created the object.
        pub creation_timestamp: Option<Timestamp>,
        /// Seconds until removal.
        pub deletion_grace_period_seconds: Option<i64>,
        /// When removal was asked for.
        pub deletion_timestamp: Option<Timestamp>,
        /// Who must agree before removal.
        pub finalizers: Vec<String>,
        /// Prefix of a name that the API server makes.
        pub generate_name: Option<String>,
        /// Counts changes of the desired state.
        pub generation: Option<i64>,
        /// What selectors see.
        pub labels: TextMap,
        /// Who set which field.
        pub managed_fields: Vec<ManagedFields>,
        /// The name, unique per kind and namespace.
        pub name: Option<String>,
        /// The namespace as written; [`super::Object::name`] gives the one in force.
        pub namespace: Option<String>,
        /// Objects that this one falls with.
        pub owner_references: Vec<OwnerReference>,
        /// Version for optimistic writes.
        pub resource_version: Option<String>,
        /// Obsolete address of the object.
        pub self_link: Option<String>,
        /// Unique over time.
        pub uid: Option<String>,
    }

    /// Fields that one writer owns.
    pub default struct ManagedFields {
        /// Version the fields are named in.
        pub api_version: Option<String>,
        /// How the set is written.
        pub fields_type: Option<String>,
        /// The set.
        pub fields_v1: Option<Value>,
        /// The writer.
        pub manager: Option<String>,
        /// Apply or Update.
        pub operation: Option<String>,
        /// Part of the object that was written.
        pub subresource: Option<String>,
        /// When.
        pub time: Option<Timestamp>,
    }

    /// An owner of an object.
    pub struct OwnerReference {
        /// Group and version of the owner.
        pub api_version: String,
        /// Whether the owner waits for this object.
        pub block_owner_deletion: Option<bool>,
        /// Whether the owner manages this object.
        pub controller: Option<bool>,
        /// Kind of the owner.
        pub kind: String,
        /// Name of the owner.
        pub name: String,
        /// Identity of the owner.
        pub uid: String,
    }

    /// A label selector: all parts must hold; an empty one selects everything.
    pub default struct LabelSelector {
        /// Conditions on single labels.
        pub match_expressions: Vec<LabelRequirement>,
        /// Labels with exactly these values.
        pub match_labels: TextMap,
    }
}

impl LabelSelector {
    /// Whether labels satisfy the selector.
    pub fn matches(&self, labels: &TextMap) -> bool {
        let equal = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        equal && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

shapes! {
    /// A condition on one label.
    pub struct LabelRequirement {
        /// The label.
        pub key: String,
        /// How it is compared.
        pub operator: LabelOperator,
        /// With what.
        pub values: Vec<String>,
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &TextMap) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::DoesNotExist => value.is_none(),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::In => listed(),
            LabelOperator::NotIn => !listed(),
        }
    }
}

shapes! {
    /// How a label is compared.
    pub enum LabelOperator {
        /// The label is absent.
        DoesNotExist,
        /// The label is present with any value.
        Exists,
        /// The value is one of the list.
        In,
        /// The label is absent or its value is none of the list.
        NotIn,
    }

    /// One condition of a status.
    pub struct Condition {
        /// When `status` changed last.
        pub last_transition_time: Timestamp,
        /// A sentence for people.
        pub message: String,
        /// The generation that was looked at.
        pub observed_generation: Option<i64>,
        /// A word for programs.
        pub reason: String,
        /// Whether it holds.
        pub status: ConditionStatus,
        /// Which condition.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// Whether a condition holds.
    pub enum ConditionStatus {
        /// It does not hold.
        False,
        /// It holds.
        True,
        /// Nobody has looked yet.
        Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_need_every_part() {
        let labels: TextMap = [("app", "cart"), ("tier", "web")].map(|(k, v)| (k.into(), v.into())).into();
        let require = |operator, key: &str, values: &[&str]| LabelSelector {
            match_expressions: vec![LabelRequirement {
                key: key.into(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
            match_labels: [("app".to_owned(), "cart".to_owned())].into(),
        };
        let table = [
            (require(LabelOperator::In, "tier", &["web", "db"]), true),
            (require(LabelOperator::In, "tier", &["db"]), false),
            (require(LabelOperator::NotIn, "tier", &["web"]), false),
            (require(LabelOperator::NotIn, "absent", &["web"]), true),
            (require(LabelOperator::Exists, "absent", &[]), false),
            (require(LabelOperator::DoesNotExist, "absent", &[]), true),
            (LabelSelector::default(), true),
        ];
        for (selector, expected) in table {
            assert_eq!(selector.matches(&labels), expected, "{selector:?}");
        }
        assert!(!require(LabelOperator::Exists, "tier", &[]).matches(&TextMap::new()));
    }
}

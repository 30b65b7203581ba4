//! `GatewayClass` (Gateway API v1.7.0, both channels). No choice of controllers.

use serde_json::{Value, json};

use super::meta::{Condition, Manifest};
use super::shape::shapes;

/// The finalizer of a class that gateways use (Gateway API v1.7.0, `GatewayClass`).
pub const IN_USE: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";

/// The change (RFC 7396) that takes [`IN_USE`] off a class, of the very version that has it; nothing where it is not.
pub fn unmarked(class: &Value) -> Option<Value> {
    let metadata = &class["metadata"];
    let marks = metadata["finalizers"].as_array()?;
    let others: Vec<&Value> = marks.iter().filter(|mark| *mark != IN_USE).collect();
    let change = json!({"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": others}});
    (others.len() < marks.len()).then_some(change)
}

/// Which controller serves a gateway.
pub type GatewayClass = Manifest<GatewayClassSpec, GatewayClassStatus>;

shapes! {
    /// What a `GatewayClass` says.
    pub struct GatewayClassSpec {
        /// Which controller serves gateways of the class.
        pub controller_name: String,
        /// A sentence for people.
        pub description: Option<String>,
        /// Settings for all gateways of the class.
        pub parameters_ref: Option<ParametersReference>,
    }

    /// An object with settings.
    pub struct ParametersReference {
        /// Group of the object.
        pub group: String,
        /// Kind of the object.
        pub kind: String,
        /// Name of the object.
        pub name: String,
        /// Namespace of the object, when it lives in one.
        pub namespace: Option<String>,
    }

    /// What the controller reported about a class.
    pub default struct GatewayClassStatus {
        /// The conditions.
        pub conditions: Vec<Condition>,
        /// Features of the specification that work.
        pub supported_features: Vec<SupportedFeature>,
    }

    /// A feature of the specification.
    pub struct SupportedFeature {
        /// Its name.
        pub name: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_loses_the_mark_of_the_controller_and_no_other() {
        let class = |marks: Value| json!({"metadata": {"resourceVersion": "7", "finalizers": marks}});
        assert_eq!(unmarked(&class(json!([IN_USE, "a/b"]))), Some(class(json!(["a/b"]))));
        assert_eq!(unmarked(&class(json!(["a/b"]))), None);
        assert_eq!(unmarked(&json!({"metadata": {"resourceVersion": "7"}})), None);
    }
}

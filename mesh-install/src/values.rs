//! The values of an installation, the same ones in the chart and in `--set`: which exist, what they may be, and
//! which are refused because nothing stands behind them yet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Everything that can be chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Values {
    /// The name that classes give for us to serve them.
    pub controller_name: String,
    /// The class that is made.
    pub gateway_class: ClassValues,
    /// Values for everything.
    pub global: GlobalValues,
    /// The images.
    pub image: ImageValues,
    /// Another mesh's dialect.
    pub istio: IstioValues,
    /// Several clusters.
    pub multi_cluster: MultiClusterValues,
    /// Pods without a proxy of their own.
    pub node: NodeValues,
    /// Metrics.
    pub observability: ObservabilityValues,
    /// Which values are the others' defaults.
    pub profile: Profile,
    /// How many controllers stand by; one of them writes.
    pub replicas: u32,
    /// Requests and limits of the controller's container.
    pub resources: Json,
    /// Who may call when no policy says anything.
    pub security: SecurityValues,
    /// The trust domain of every identity.
    pub trust_domain: String,
}

/// The class that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClassValues {
    /// Its name; empty for none.
    pub name: String,
}

/// Values for everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GlobalValues {
    /// The domain of consoles.
    pub domain: String,
}

/// The images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ImageValues {
    /// The controller's.
    pub controller: String,
    /// That of the proxies of nodes.
    pub node: String,
    /// The gateways'.
    pub proxy: String,
    /// When the controller's is pulled.
    pub pull_policy: PullPolicy,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When it is not there.
    #[default]
    IfNotPresent,
    /// It has to be there.
    Never,
}

/// Another mesh's dialect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IstioValues {
    /// Whether it is read.
    pub enabled: bool,
}

/// Several clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MultiClusterValues {
    /// Whether they make one mesh.
    pub enabled: bool,
}

/// Pods without a proxy of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeValues {
    /// Whether each node has a proxy for them.
    pub enabled: bool,
    /// How long streams live on in a proxy that was replaced. It ends earlier when it has none.
    pub grace_seconds: u32,
}

/// Metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObservabilityValues {
    /// Whether the controller's pods say where a Prometheus finds their metrics.
    pub enabled: bool,
}

/// Who may call whom when no policy says anything. Every call has an identity in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecurityValues {
    /// In production nobody may be let in by omission, unless this is said, too.
    pub accept_open: bool,
    /// Whether nobody enters a workload whom no policy allows.
    pub enabled: bool,
    /// Whether a pod's token counts wherever it comes from.
    pub tokens_anywhere: bool,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            controller_name: "mesh.io/gateway-controller".to_owned(),
            gateway_class: ClassValues::default(),
            global: GlobalValues::default(),
            image: ImageValues::default(),
            istio: IstioValues::default(),
            multi_cluster: MultiClusterValues::default(),
            node: NodeValues::default(),
            observability: ObservabilityValues::default(),
            profile: Profile::default(),
            replicas: 1,
            resources: serde_json::json!({
                "limits": {"memory": "512Mi"},
                "requests": {"cpu": "50m", "memory": "64Mi"},
            }),
            security: SecurityValues::default(),
            trust_domain: "cluster.local".to_owned(),
        }
    }
}

impl Default for ClassValues {
    fn default() -> Self {
        Self { name: "mesh".to_owned() }
    }
}

impl Default for NodeValues {
    fn default() -> Self {
        Self { enabled: false, grace_seconds: 3600 }
    }
}

impl Default for ImageValues {
    fn default() -> Self {
        Self {
            controller: "service-mesh/service-mesh-controller:dev".to_owned(),
            node: "service-mesh/mesh-node:dev".to_owned(),
            proxy: "service-mesh/mesh-proxy:dev".to_owned(),
            pull_policy: PullPolicy::default(),
        }
    }
}

impl Default for ObservabilityValues {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// A set of choices with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One controller.
    #[default]
    Default,
    /// The smallest controller, for a cluster on a laptop.
    Demo,
    /// Two controllers, and nobody enters whom no policy allows.
    Production,
}

impl Profile {
    /// Every profile, by its name.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("default", Self::Default), ("demo", Self::Demo), ("production", Self::Production)];

    /// The values of the profile, before any that are given one by one.
    pub fn values(self) -> Values {
        let mut values = Values { profile: self, ..Values::default() };
        match self {
            Self::Default => {}
            Self::Demo => {
                values.resources = serde_json::json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
            }
            Self::Production => {
                values.replicas = 2;
                values.security.enabled = true;
                values.resources = serde_json::json!({
                    "limits": {"memory": "1Gi"},
                    "requests": {"cpu": "200m", "memory": "128Mi"},
                });
            }
        }
        values
    }
}

impl FromStr for Profile {
    type Err = ValuesError;

    fn from_str(text: &str) -> Result<Self, ValuesError> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, profile)| *profile).ok_or_else(|| ValuesError::Profile(text.to_owned()))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, profile)| profile == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// Why values cannot be installed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValuesError {
    /// Not `key=value`.
    #[error("{0:?} is not of the form key=value")]
    Form(String),
    /// A value of the wrong kind.
    #[error("{key}: {problem}")]
    Invalid {
        /// The value's name.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// No such profile.
    #[error("there is no profile {0:?}; profiles are {list}", list = names(Profile::ALL.iter().map(|(name, _)| (*name).to_owned())))]
    Profile(String),
    /// No such value.
    #[error("there is no value {0:?}; values are {list}", list = names(known()))]
    Unknown(String),
    /// A value with nothing behind it.
    #[error("{key} cannot be set: {reason}")]
    Unsupported {
        /// The value's name.
        key: &'static str,
        /// What is not there yet.
        reason: &'static str,
    },
}

fn names(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// Values that are refused, with the reason that the chart gives too.
pub const UNSUPPORTED: [(&str, &str); 3] = [
    ("global.domain", "it names the hosts of consoles, and this version has no console in a cluster"),
    ("istio.enabled", "this version reads no objects of another mesh"),
    ("multiCluster.enabled", "this version joins no clusters"),
];

/// What is said when production is to be open; the chart says it, too.
pub const OPEN: &str =
    "in production everybody could then call everything; say security.acceptOpen=true as well";

impl Values {
    /// The values of `key=value` texts, over those of the profile among them.
    ///
    /// # Errors
    /// When a text has another form, names no value, or gives one that cannot be.
    pub fn of_settings<S: AsRef<str>>(settings: &[S]) -> Result<Self, ValuesError> {
        let mut pairs = Vec::new();
        for setting in settings {
            let setting = setting.as_ref();
            let pair = setting.split_once('=').filter(|(key, _)| !key.is_empty());
            pairs.push(pair.ok_or_else(|| ValuesError::Form(setting.to_owned()))?);
        }
        let profile = pairs.iter().rev().find(|(key, _)| *key == "profile");
        let profile = profile.map_or(Ok(Profile::Default), |(_, name)| name.parse::<Profile>())?;
        let mut tree = tree(&profile.values());
        for (key, text) in pairs {
            set(&mut tree, key, text)?;
        }
        let invalid = |error: serde_json::Error| ValuesError::Invalid {
            key: "values".to_owned(),
            problem: error.to_string(),
        };
        let values: Self = serde_json::from_value(tree).map_err(invalid)?;
        values.check()?;
        Ok(values)
    }

    /// Whether the values can be installed.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn check(&self) -> Result<(), ValuesError> {
        let asked = [!self.global.domain.is_empty(), self.istio.enabled, self.multi_cluster.enabled];
        let refused = UNSUPPORTED.iter().zip(asked).find(|(_, asked)| *asked);
        if let Some(((key, reason), _)) = refused {
            return Err(ValuesError::Unsupported { key, reason });
        }
        let SecurityValues { accept_open, enabled, .. } = self.security;
        if self.profile == Profile::Production && !enabled && !accept_open {
            return Err(invalid("security.enabled", OPEN));
        }
        if self.replicas == 0 {
            return Err(invalid("replicas", "at least 1 is needed"));
        }
        // Less would cut requests that are under way.
        if self.node.grace_seconds < 10 {
            return Err(invalid("node.graceSeconds", "at least 10 is needed"));
        }
        for (key, text) in [
            ("controllerName", &self.controller_name),
            ("image.controller", &self.image.controller),
            ("image.node", &self.image.node),
            ("image.proxy", &self.image.proxy),
            ("trustDomain", &self.trust_domain),
        ] {
            if text.is_empty() {
                return Err(invalid(key, "an empty text is no value"));
            }
        }
        Ok(())
    }
}

fn invalid(key: &str, problem: &str) -> ValuesError {
    ValuesError::Invalid { key: key.to_owned(), problem: problem.to_owned() }
}

fn tree(values: &Values) -> Json {
    serde_json::to_value(values).expect("values are made of texts, numbers and maps with text keys")
}

/// The names of all values, with dots. What is below `resources` is open.
pub fn known() -> Vec<String> {
    fn descend(value: &Json, path: &str, found: &mut Vec<String>) {
        match value {
            Json::Object(fields) if path != "resources" => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    descend(value, &path, found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    descend(&tree(&Values::default()), "", &mut found);
    found
}

/// Sets one value; its text is read as what the value is.
fn set(tree: &mut Json, key: &str, text: &str) -> Result<(), ValuesError> {
    let below_resources = key.starts_with("resources.");
    if !below_resources && !known().iter().any(|name| name == key) || key == "resources" {
        return Err(ValuesError::Unknown(key.to_owned()));
    }
    let mut place = tree;
    for part in key.split('.') {
        let fields = place.as_object_mut().ok_or_else(|| ValuesError::Unknown(key.to_owned()))?;
        let empty = || Json::Object(Map::new());
        place = fields.entry(part).or_insert_with(empty);
    }
    *place = match place {
        Json::Bool(_) => text.parse().map(Json::Bool).map_err(|_| invalid(key, "write true or false"))?,
        Json::Number(_) => {
            let number = text.parse::<u32>();
            Json::from(number.map_err(|_| invalid(key, "write a whole number"))?)
        }
        _ if key == "image.pullPolicy" && !PULL_POLICIES.contains(&text) => {
            return Err(invalid(key, &format!("write one of {}", PULL_POLICIES.join(", "))));
        }
        _ => Json::String(text.to_owned()),
    };
    Ok(())
}

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_goes_over_its_profile_wherever_it_stands() {
        let values = Values::of_settings(&["replicas=3", "profile=production"]).unwrap();
        assert_eq!((values.replicas, values.profile), (3, Profile::Production));
        assert_eq!(values.resources["limits"]["memory"], "1Gi");
        let values = Values::of_settings(&["resources.limits.cpu=2"]).unwrap();
        assert_eq!(values.resources["limits"], serde_json::json!({"cpu": "2", "memory": "512Mi"}));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let table = [
            ("profile=prod", "there is no profile \"prod\"; profiles are default, demo, production"),
            ("replicas", "\"replicas\" is not of the form key=value"),
            ("replicas=many", "replicas: write a whole number"),
            ("replicas=0", "replicas: at least 1 is needed"),
            ("node.graceSeconds=9", "node.graceSeconds: at least 10 is needed"),
            ("observability.enabled=yes", "observability.enabled: write true or false"),
            ("image.pullPolicy=Sometimes", "image.pullPolicy: write one of Always, IfNotPresent, Never"),
            ("security.enabled=nobody", "security.enabled: write true or false"),
            ("trustDomain=", "trustDomain: an empty text is no value"),
            (
                "istio.enabled=true",
                "istio.enabled cannot be set: this version reads no objects of another mesh",
            ),
        ];
        for (setting, expected) in table {
            assert_eq!(Values::of_settings(&[setting]).unwrap_err().to_string(), expected, "{setting}");
        }
        let unknown = Values::of_settings(&["replica=2"]).unwrap_err().to_string();
        let list = "controllerName, gatewayClass.name, global.domain, image.controller, image.node, image.proxy, \
                    image.pullPolicy, istio.enabled, multiCluster.enabled, node.enabled, node.graceSeconds, \
                    observability.enabled, profile, replicas, resources, security.acceptOpen, security.enabled, \
                    security.tokensAnywhere, trustDomain";
        assert_eq!(unknown, format!("there is no value \"replica\"; values are {list}"));
    }

    #[test]
    fn production_lets_nobody_in_by_omission_unless_that_is_said_twice() {
        let enabled = |settings: &[&str]| Values::of_settings(settings).map(|values| values.security.enabled);
        assert_eq!(enabled(&[]), Ok(false));
        assert_eq!(enabled(&["profile=production"]), Ok(true));
        let open = ["profile=production", "security.enabled=false"];
        assert_eq!(enabled(&open), Err(invalid("security.enabled", OPEN)));
        assert_eq!(enabled(&[open[0], open[1], "security.acceptOpen=true"]), Ok(false));
    }

    #[test]
    fn every_value_without_anything_behind_it_is_refused() {
        for (key, reason) in UNSUPPORTED {
            let text = match key {
                "global.domain" => "mesh.test",
                _ => "true",
            };
            let refused = Values::of_settings(&[format!("{key}={text}")]).unwrap_err();
            assert_eq!(refused, ValuesError::Unsupported { key, reason });
        }
    }
}

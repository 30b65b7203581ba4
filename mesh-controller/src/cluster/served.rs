//! Which of our kinds an API server serves, in which version and under which path. Pure.

use std::collections::BTreeMap;

use crate::objects::{ObjectKind, Scope, group};

/// One served kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The kind.
    pub(crate) kind: ObjectKind,
    /// The version that is used, the most stable one of those that are served.
    pub(crate) version: &'static str,
    /// The name in paths, such as `httproutes`.
    pub(crate) plural: String,
}

impl Resource {
    /// Group and version as an object writes them.
    pub(crate) fn api_version(&self) -> String {
        match self.kind.group() {
            group::CORE => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path of all objects of the kind.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", group_path(self.kind.group(), self.version), self.plural)
    }

    /// The path of one object.
    pub(crate) fn object_path(&self, namespace: &str, name: &str) -> String {
        let group = group_path(self.kind.group(), self.version);
        match self.kind.scope() {
            Scope::Cluster => format!("{group}/{}/{name}", self.plural),
            Scope::Namespaced => format!("{group}/namespaces/{namespace}/{}/{name}", self.plural),
        }
    }
}

/// The path of a group and version.
pub(crate) fn group_path(group: &str, version: &str) -> String {
    match group {
        group::CORE => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    }
}

/// All kinds that are served now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Served(BTreeMap<ObjectKind, Resource>);

impl Served {
    /// How a kind is served; none when it is not.
    pub(crate) fn of(&self, kind: ObjectKind) -> Option<&Resource> {
        self.0.get(&kind)
    }

    /// Every served kind.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.values()
    }
}

impl FromIterator<Resource> for Served {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        Self(resources.into_iter().map(|resource| (resource.kind, resource)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_version_and_scope() {
        let resource = |kind, version, plural: &str| Resource { kind, version, plural: plural.to_owned() };
        let table = [
            (resource(ObjectKind::Secret, "v1", "secrets"), "/api/v1/namespaces/a/secrets/b"),
            (resource(ObjectKind::Namespace, "v1", "namespaces"), "/api/v1/namespaces/b"),
            (
                resource(ObjectKind::TcpRoute, "v1alpha2", "tcproutes"),
                "/apis/gateway.networking.k8s.io/v1alpha2/namespaces/a/tcproutes/b",
            ),
        ];
        for (resource, expected) in table {
            assert_eq!(resource.object_path("a", "b"), expected);
        }
    }
}

//! Which of our kinds an API server serves: asks every group and version that we read. Nothing is assumed
//! about which resource definitions are installed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Api, CallError, Fault};
use super::served::{Resource, Served, group_path};
use crate::objects::{ObjectKind, group};

/// Kinds and their plural names by group and version.
type Found = BTreeMap<(&'static str, &'static str), BTreeMap<String, String>>;

/// Asks the API server. A kind that was served before counts as served until its definition is gone for
/// certain: a server that has just started may not know its definitions yet.
///
/// # Errors
/// When the server does not answer a question; nothing is known then.
pub(super) async fn discover(api: &Api, before: &Served) -> Result<Served, CallError> {
    let listed = groups(&api.get("/apis").await?);
    let mut found = Found::new();
    for (group, version) in questions() {
        if group != group::CORE && !listed.contains(&format!("{group}/{version}")) {
            continue;
        }
        match api.get(&group_path(group, version)).await {
            Ok(answer) => drop(found.insert((group, version), plurals(&answer))),
            Err(error) if error.fault() == Fault::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut served: Vec<Resource> = kinds().filter_map(|kind| best(kind, &found)).collect();
    for lost in before.iter().filter(|lost| !served.iter().any(|now| now.kind == lost.kind)).cloned() {
        if !is_gone(api, &lost).await? {
            return Err(CallError::new(
                "discovery",
                Fault::Unavailable,
                format!("{} is missing", lost.plural),
            ));
        }
    }
    served.sort_by_key(|resource| resource.kind);
    Ok(served.into_iter().collect())
}

/// Kinds that an API server may have; processes are for local meshes.
fn kinds() -> impl Iterator<Item = ObjectKind> {
    ObjectKind::ALL.iter().copied().filter(|kind| kind.group() != group::LOCAL)
}

fn questions() -> BTreeSet<(&'static str, &'static str)> {
    kinds().flat_map(|kind| kind.versions().iter().map(move |version| (kind.group(), *version))).collect()
}

/// The groups and versions of an `APIGroupList`.
fn groups(answer: &Value) -> BTreeSet<String> {
    let groups = answer.get("groups").and_then(Value::as_array);
    let versions = groups.into_iter().flatten().filter_map(|group| group.get("versions")?.as_array());
    let names = versions.flatten().filter_map(|version| version.get("groupVersion")?.as_str());
    names.map(str::to_owned).collect()
}

/// The kinds of an `APIResourceList`, without subresources.
fn plurals(answer: &Value) -> BTreeMap<String, String> {
    let resources = answer.get("resources").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = resources.iter().filter_map(|resource| {
        let text = |name: &str| resource.get(name).and_then(Value::as_str);
        Some((text("kind")?.to_owned(), text("name")?.to_owned()))
    });
    named.filter(|(_, name)| !name.contains('/')).collect()
}

/// The first served version in the order of preference.
fn best(kind: ObjectKind, found: &Found) -> Option<Resource> {
    kind.versions().iter().find_map(|version| {
        let plural = found.get(&(kind.group(), *version))?.get(kind.as_str())?;
        Some(Resource { kind, version, plural: plural.clone() })
    })
}

/// Whether the definition of a kind does not exist, as the storage behind the server says.
async fn is_gone(api: &Api, resource: &Resource) -> Result<bool, CallError> {
    if matches!(resource.kind.group(), group::CORE | group::DISCOVERY) {
        return Ok(false);
    }
    let name = format!("{}.{}", resource.plural, resource.kind.group());
    match api.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")).await {
        // It is there; its versions may still be others than ours.
        Ok(definition) => Ok(!serves_any(&definition, resource.kind)),
        Err(error) if error.fault() == Fault::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn serves_any(definition: &Value, kind: ObjectKind) -> bool {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    versions.into_iter().flatten().any(|version| {
        let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
        version.get("served") == Some(&Value::Bool(true)) && kind.versions().contains(&name)
    })
}

#[cfg(test)]
mod tests;

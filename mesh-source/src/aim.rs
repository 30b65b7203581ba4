//! What policies are about that cannot be used: as much of a broken object as keeps it from closing more than it should.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::ObjectName;
use mesh_yaml::{Node, Value};

/// The services, of its own namespace, that a policy is about; none when that cannot be read.
pub type Aim = Option<BTreeSet<String>>;

/// By policy for TLS towards backends.
pub type Aims = BTreeMap<ObjectName, Aim>;

/// Notes a policy. Of several under one name every aim counts, and one that cannot be read most.
pub fn add(aims: &mut Aims, policy: ObjectName, aim: Aim) {
    match (aims.remove(&policy), aim) {
        (None, aim) => drop(aims.insert(policy, aim)),
        (Some(Some(mut before)), Some(aim)) => {
            before.extend(aim);
            aims.insert(policy, Some(before));
        }
        (Some(_), _) => drop(aims.insert(policy, None)),
    }
}

/// The services among targets: group, kind and name of each, where all of them can be read.
pub fn of_targets<'t>(targets: impl Iterator<Item = Option<(&'t str, &'t str, &'t str)>>) -> Aim {
    let all: Vec<_> = targets.collect::<Option<_>>()?;
    let is_service = |(group, kind, _): &(&str, &str, &str)| group.is_empty() && *kind == "Service";
    (!all.is_empty()).then(|| all.into_iter().filter(is_service).map(|(.., name)| name.to_owned()).collect())
}

/// What the policy of a document is about.
pub(super) fn of_document(root: &Node) -> Aim {
    let Value::Seq(targets) = &root.field("spec")?.field("targetRefs")?.value else { return None };
    of_targets(targets.iter().map(|target| {
        let text = |name: &str| target.field(name)?.as_str();
        Some((text("group")?, text("kind")?, text("name")?))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_whole_or_none() {
        let of = |targets: &[Option<(&'static str, &'static str, &'static str)>]| {
            of_targets(targets.iter().copied())
        };
        let names =
            |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        let (a, other) = (Some(("", "Service", "a")), Some(("x.test", "Thing", "b")));
        assert_eq!(of(&[a, other]), names(&["a"]));
        assert_eq!(of(&[other]), names(&[]));
        assert_eq!(of(&[a, None]), None);
        assert_eq!(of(&[]), None);
        let policy = || ObjectName::new("shop", "p");
        let mut aims = Aims::new();
        add(&mut aims, policy(), names(&["a"]));
        add(&mut aims, policy(), names(&["b"]));
        assert_eq!(aims[&policy()], names(&["a", "b"]));
        add(&mut aims, policy(), None);
        add(&mut aims, policy(), names(&["c"]));
        assert_eq!(aims[&policy()], None, "what could not be read may be about anything");
    }
}

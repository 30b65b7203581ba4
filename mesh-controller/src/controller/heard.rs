//! What proxies say about the resources that they were sent: findings about the objects these were made from. Who
//! is connected, and how it is told what, is mesh-xds's.

use std::collections::BTreeMap;

use mesh_model::{FieldPath, Finding, Mesh, ObjectName, Origin, Reason, Resource, ResourceKey, SourceRef};
use mesh_xds::server::{Fleet, ProxyState};

use crate::objects::ObjectKind;
use crate::status::{Condition, ListenerStatus, ObjectStatus, StatusBody};
use crate::store::ObjectKey;

/// What proxies refuse and leave unanswered at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// By resource and proxy: the words in which the resource was refused.
    pub refused: BTreeMap<ResourceKey, BTreeMap<String, String>>,
    /// By proxy: the type of the response that it left unanswered.
    pub silent: BTreeMap<String, String>,
}

impl Heard {
    /// What the connected proxies say now.
    pub fn of(fleet: &Fleet) -> Self {
        let mut heard = Self::default();
        for proxy in fleet.complaints() {
            let name = name(&proxy);
            for (key, refusal) in &proxy.refused {
                // A name that is no key of ours was not sent by us.
                let Ok(key) = key.name.parse::<ResourceKey>() else { continue };
                heard.refused.entry(key).or_default().insert(name.clone(), refusal.reason.clone());
            }
            heard.silent.extend(proxy.unanswered.map(|kind| (name, kind.to_string())));
        }
        heard
    }

    pub(super) fn findings(&self, mesh: &Mesh) -> Vec<Finding> {
        let refused = self.refused.iter().filter_map(|(key, by)| Some((mesh.resource(key)?, by)));
        let refused = refused.map(|(resource, by)| {
            Finding::error(Reason::RefusedByProxy, resource.source(), FieldPath::root(), words(by))
        });
        let silent = self.silent.iter().map(|(proxy, kind)| {
            let who = SourceRef::new("Proxy", ObjectName::new("", proxy.as_str()), Origin::Builtin);
            let text = format!("it has not answered what it was sent of {kind}");
            Finding::error(Reason::ProxySilent, &who, FieldPath::root(), text).warning()
        });
        refused.chain(silent).collect()
    }
}

/// Refusals by the object that the resource was made from: the listener, where it was one, and the words.
pub(super) type Spoiled = BTreeMap<ObjectKey, Vec<(Option<String>, String)>>;

impl Heard {
    /// What is refused, by objects that are in the mesh now.
    pub(super) fn spoiled(&self, mesh: &Mesh) -> Spoiled {
        let mut spoiled = Spoiled::new();
        for (key, by) in &self.refused {
            let Some(resource) = mesh.resource(key) else { continue };
            let source = resource.source();
            let Some(kind) = ObjectKind::ALL.iter().find(|kind| *kind.as_str() == *source.kind) else {
                continue;
            };
            let listener = match resource {
                Resource::Listener(listener) => Some(listener.name.to_string()),
                _ => None,
            };
            let object = ObjectKey::new(*kind, source.object.clone());
            spoiled.entry(object).or_default().push((listener, words(by)));
        }
        spoiled
    }
}

/// The status of an object of which proxies refuse something. Listeners that they took stay as they are.
pub(super) fn spoil(status: &ObjectStatus, refusals: &[(Option<String>, String)]) -> ObjectStatus {
    let mut status = status.clone();
    let fail = |conditions: &mut Vec<Condition>, kind: &str, words: &str| {
        for condition in conditions.iter_mut().filter(|condition| condition.kind == kind && condition.status)
        {
            let reason = Reason::RefusedByProxy.as_str();
            *condition = Condition::fails(condition.kind, reason, words, condition.observed_generation);
        }
    };
    for (listener, words) in refusals {
        match &mut status.body {
            StatusBody::Ancestors { ancestors: all } | StatusBody::Parents { parents: all } => {
                all.iter_mut().for_each(|parent| fail(&mut parent.conditions, "Accepted", words));
            }
            StatusBody::Conditions { conditions } | StatusBody::GatewayClass { conditions, .. } => {
                fail(conditions, "Accepted", words);
            }
            StatusBody::Gateway { conditions, listeners, .. }
            | StatusBody::ListenerSet { conditions, listeners } => {
                let named = |name: &str| listener.as_deref().is_none_or(|listener| listener == name);
                for listener in listeners.iter_mut().filter(|listener| named(&listener.name)) {
                    fail(&mut listener.conditions, "Programmed", words);
                }
                let programmed =
                    |l: &ListenerStatus| l.conditions.iter().any(|c| c.kind == "Programmed" && c.status);
                if !listeners.iter().any(programmed) {
                    fail(conditions, "Programmed", words);
                }
            }
        }
    }
    status
}

/// Who refuses a resource, in one sentence.
fn words(by: &BTreeMap<String, String>) -> String {
    let words: Vec<_> = by.iter().take(MOST).map(|(proxy, words)| format!("{proxy}: {words}")).collect();
    let more = by.len().checked_sub(MOST).filter(|more| *more > 0);
    let more = more.map_or_else(String::new, |more| format!(", and {more} more"));
    format!("refused by {}{more}; what was in force there stays", words.join(", "))
}

/// Proxies that are named in one finding.
const MOST: usize = 3;

/// The verified identity, with the name that the proxy gives itself.
fn name(proxy: &ProxyState) -> String {
    let id: String = proxy.node.id.chars().filter(|c| !c.is_control()).take(80).collect();
    match &proxy.node.identity {
        Some(identity) => format!("{identity} ({id})"),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use mesh_rt::SystemClock;

    use super::*;
    use crate::controller::{Controller, View};
    use crate::source::FileSource;
    use crate::translate::Settings;

    const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: mesh
  listeners:
    - {name: one, port: 80, protocol: HTTP}
    - {name: two, port: 81, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec: {parentRefs: [{name: edge}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other, namespace: shop}
spec: {parentRefs: [{name: edge}]}
";

    /// Conditions that do not hold, with their reasons.
    fn failing(view: &View, kind: ObjectKind, name: &str) -> Vec<String> {
        let status = view.statuses.of(&ObjectKey::new(kind, ObjectName::new("shop", name)));
        let conditions = status.expect("a status").conditions();
        let failing =
            conditions.iter().filter(|(_, condition)| !condition.status && condition.kind != "Conflicted");
        failing.map(|(part, condition)| format!("{part} {} {}", condition.kind, condition.reason)).collect()
    }

    fn refused(view: &View, kind: &str, name: &str) -> Heard {
        let is_meant = |resource: &&Resource| {
            let source = resource.source();
            let listener = if let Resource::Listener(l) = resource { &*l.name == name } else { true };
            *source.kind == *kind && listener && (kind == "Gateway" || &*source.object.name == name)
        };
        let key = view.mesh.resources().filter(|r| !matches!(r, Resource::Workload(_))).find(is_meant);
        let by = BTreeMap::from([("edge-1".to_owned(), "no room".to_owned())]);
        let refused = BTreeMap::from([(key.expect("a resource").key().clone(), by)]);
        Heard { refused, silent: BTreeMap::new() }
    }

    #[test]
    fn a_refusal_is_said_of_its_object_and_of_no_other_until_it_is_over() {
        let mut controller = Controller::new(Settings::default(), SystemClock::shared());
        controller.take(FileSource::from_text("a.yaml", OBJECTS.as_bytes()).snapshot());
        let before = controller_view(&controller);
        let (route, gateway) = (ObjectKind::HttpRoute, ObjectKind::Gateway);
        let all = |view: &View| {
            [(route, "cart"), (route, "other"), (gateway, "edge")]
                .map(|(kind, name)| failing(view, kind, name))
        };
        let fine = all(&before);
        let heard = refused(&before, "HTTPRoute", "cart");
        controller.take_heard(heard);
        let now = controller_view(&controller);
        assert!(all(&now)[0].contains(&"Gateway edge Accepted RefusedByProxy".to_owned()), "{:?}", all(&now));
        assert_eq!(all(&now)[1..], fine[1..]);
        let touched = now.touched.since(before.touched.revision()).expect("it is not long ago").keys;
        assert_eq!(touched.into_iter().map(|key| key.name.to_string()).collect::<Vec<_>>(), ["shop/cart"]);
        let heard = refused(&before, "Gateway", "two");
        controller.take_heard(heard);
        let now = controller_view(&controller);
        assert_eq!(all(&now)[..2], fine[..2]);
        assert!(
            all(&now)[2].contains(&"listener two Programmed RefusedByProxy".to_owned()),
            "{:?}",
            all(&now)
        );
        assert!(!all(&now)[2].iter().any(|text| text.starts_with("listener one") || text.starts_with(" P")));
        controller.take_heard(Heard::default());
        assert_eq!(all(&controller_view(&controller)), fine);
    }

    fn controller_view(controller: &Controller) -> View {
        controller.watch().borrow().clone()
    }
}

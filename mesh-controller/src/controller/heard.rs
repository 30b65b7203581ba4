//! What proxies say about the resources that they were sent: findings about the objects these were made from. Who
//! is connected, and how it is told what, is mesh-xds's.

use std::collections::BTreeMap;

use mesh_model::{FieldPath, Finding, Mesh, ObjectName, Origin, Reason, ResourceKey, SourceRef};
use mesh_xds::server::{Fleet, ProxyState};

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
            let words: Vec<_> =
                by.iter().take(MOST).map(|(proxy, words)| format!("{proxy}: {words}")).collect();
            let more = by.len().checked_sub(MOST).filter(|more| *more > 0);
            let more = more.map_or_else(String::new, |more| format!(", and {more} more"));
            let text = format!("refused by {}{more}; what was in force there stays", words.join(", "));
            Finding::error(Reason::RefusedByProxy, resource.source(), FieldPath::root(), text)
        });
        let silent = self.silent.iter().map(|(proxy, kind)| {
            let who = SourceRef::new("Proxy", ObjectName::new("", proxy.as_str()), Origin::Builtin);
            let text = format!("it has not answered what it was sent of {kind}");
            Finding::error(Reason::ProxySilent, &who, FieldPath::root(), text).warning()
        });
        refused.chain(silent).collect()
    }
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

//! Injection: whether a pod gets a sidecar, and the pod with it. Pure, and the same for the webhook and for files.
//!
//! What decides, the first that is there: the pod's label `mesh.io/mode`; that of its namespace; the namespace's
//! label `istio-injection`; the namespace's label `mesh.io/rev`. A label `mesh.io/rev`, the pod's before the
//! namespace's, leaves the pod to the control plane of that revision.

mod container;
pub(crate) mod probes;
mod review;
mod template;
mod workload_api;

use mesh_model::{SpiffeId, TrustDomain};
use serde_json::{Map, Value, json};

use crate::pods::{SIDECAR, has_sidecar};
use mesh_objects::meta::TextMap;

pub use review::{Question, answer};
pub use template::{Refused, inject_object};
pub use workload_api::WORKLOAD_API;

/// The label that says how a pod, or the pods of a namespace, belong to the mesh: `sidecar`, `node` or `none`.
pub const MODE: &str = "mesh.io/mode";
/// The label that names the control plane whose sidecar is injected.
pub const REVISION: &str = "mesh.io/rev";
/// The label of another mesh that is understood on namespaces.
pub const ALIAS: &str = "istio-injection";
/// The annotation of an injected pod: the revision.
pub const INJECTED: &str = "mesh.io/injected";
/// The label with which a namespace limits what its pods may do.
pub const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
/// The init container that sets the redirect rules.
pub const INIT: &str = "mesh-init";
/// The user that sidecars run as, and no application may.
pub const USER: u32 = 1337;
/// Metrics and readiness of every proxy: never captured.
pub const HEALTH_PORT: u16 = 15_020;
/// Where a sidecar takes what its application sends.
pub const OUTBOUND_PORT: u16 = 15_001;
/// Where a sidecar takes what comes for its application.
pub const INBOUND_PORT: u16 = 15_006;
/// Where a sidecar takes what its application asks about names.
pub const NAMES_PORT: u16 = 15_053;
/// The annotation of a pod whose questions for names go to the cluster's servers as without a mesh: `none`.
pub const DNS: &str = "mesh.io/dns";
/// Ports of the sidecar in the pod's network.
const PORTS: [u16; 5] = [15_000, OUTBOUND_PORT, INBOUND_PORT, HEALTH_PORT, NAMES_PORT];

/// What holds for all sidecars of a control plane.
#[derive(Debug, Clone)]
pub struct Injection {
    /// Host and port of discovery, as the proxies reach it.
    pub controller_address: String,
    /// Who answers there.
    pub controller_identity: SpiffeId,
    /// The image of the proxies.
    pub image: String,
    /// The name of this control plane among several.
    pub revision: String,
    /// The trust domain of the proxies' identities.
    pub trust_domain: TrustDomain,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The pod with a sidecar.
    Inject(Box<Value>),
    /// It stays as it is.
    Leave(Because),
    /// It is to have a sidecar and cannot: why, and what helps.
    Refuse(String),
}

/// Why a pod stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Because {
    /// It has its sidecar.
    #[error("it has a sidecar")]
    HasSidecar,
    /// It has no network of its own.
    #[error("it uses the node's network, where nothing can be captured for it alone")]
    HostNetwork,
    /// Nothing asks for one.
    #[error("neither it nor its namespace asks for a sidecar")]
    NotAsked,
    /// The proxy of its node serves it.
    #[error("the proxy of its node serves it")]
    OnNode,
    /// It is to have none.
    #[error("its label, or that of its namespace, says that it gets none")]
    OptedOut,
    /// Another control plane injects.
    #[error("its revision is that of another control plane")]
    OtherRevision,
}

/// Decides about a pod, or the template of one, in a namespace with these labels.
pub fn decide(pod: &Value, namespace: &TextMap, settings: &Injection) -> Decision {
    let spec = &pod["spec"];
    if has_sidecar(spec) {
        return Decision::Leave(Because::HasSidecar);
    }
    if let Some(because) = unasked(&pod["metadata"]["labels"], namespace, settings) {
        return Decision::Leave(because);
    }
    if spec["hostNetwork"] == Value::Bool(true) {
        return Decision::Leave(Because::HostNetwork);
    }
    if let Some(why) = refusal(spec, namespace) {
        return Decision::Refuse(why);
    }
    let wishes = workload_api::socket(pod).and_then(|socket| Ok((socket, is_wanted(pod, DNS)?)));
    match wishes {
        Err(why) => Decision::Refuse(why),
        Ok((socket, names)) => {
            let wishes = Wishes { socket: socket.as_deref(), names: names.then_some(NAMES_PORT) };
            Decision::Inject(Box::new(inject(pod, settings, wishes)))
        }
    }
}

/// What a pod wants of its sidecar beside the mesh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes<'p> {
    /// Where applications get identities of their own.
    pub(crate) socket: Option<&'p str>,
    /// Where questions for names are taken.
    pub(crate) names: Option<u16>,
}

/// Whether a pod wants something of its sidecar that an annotation may say `none` to.
///
/// # Errors
/// The annotation says something unknown: a misspelt `none` must not pass for a wish.
pub(crate) fn is_wanted(pod: &Value, annotation: &str) -> Result<bool, String> {
    match &pod["metadata"]["annotations"][annotation] {
        Value::Null => Ok(true),
        Value::String(word) if word == "none" => Ok(false),
        other => Err(format!("the annotation {annotation} is {other}; the only value is none")),
    }
}

/// Whether the labels of a namespace ask for sidecars, of whatever revision.
pub fn is_asked_by(namespace: &TextMap) -> bool {
    let label = |key: &str| namespace.get(key).map(String::as_str);
    asked(label(MODE), namespace) == Some(true)
}

/// Whether a mode, or without one the namespace, asks for a sidecar; `None` when neither says anything.
fn asked(mode: Option<&str>, namespace: &TextMap) -> Option<bool> {
    let around = |key: &str| namespace.get(key).map(String::as_str);
    match (mode, around(ALIAS), around(REVISION)) {
        (Some(mode), _, _) => Some(mode == "sidecar"),
        (None, Some(alias), _) => Some(alias == "enabled"),
        (None, None, Some(_)) => Some(true),
        (None, None, None) => None,
    }
}

fn unasked(labels: &Value, namespace: &TextMap, settings: &Injection) -> Option<Because> {
    let own = |key: &str| labels[key].as_str();
    let around = |key: &str| namespace.get(key).map(String::as_str);
    let mode = own(MODE).or_else(|| around(MODE));
    if mode == Some("node") {
        return Some(Because::OnNode);
    }
    match asked(mode, namespace) {
        Some(true) => {}
        Some(false) => return Some(Because::OptedOut),
        None => return Some(Because::NotAsked),
    }
    let revision = own(REVISION).or_else(|| around(REVISION));
    (revision.unwrap_or(&settings.revision) != settings.revision).then_some(Because::OtherRevision)
}

/// Why a pod that is to have a sidecar cannot have one.
fn refusal(spec: &Value, namespace: &TextMap) -> Option<String> {
    let level = namespace.get(POD_SECURITY).map_or("privileged", String::as_str);
    if matches!(level, "baseline" | "restricted") {
        return Some(format!(
            "a sidecar needs an init container with NET_ADMIN, which the namespace's label \
             {POD_SECURITY}={level} forbids; raise the label to privileged, have the node's proxy capture the \
             pods instead ({MODE}=node, where it is installed), or leave the pod out with the label {MODE}=none"
        ));
    }
    let user = |context: &Value| context["runAsUser"].as_u64() == Some(USER.into());
    if user(&spec["securityContext"]) {
        return Some(taken_user("the pod"));
    }
    for container in containers(spec) {
        let name = container["name"].as_str().unwrap_or_default();
        if matches!(name, SIDECAR | INIT) {
            return Some(format!("the name {name} of a container is the sidecar's; choose another"));
        }
        if user(&container["securityContext"]) {
            return Some(taken_user(name));
        }
        let ports = container["ports"].as_array().into_iter().flatten();
        let taken = ports.filter_map(|port| port["containerPort"].as_u64());
        if let Some(port) = taken.into_iter().find(|port| PORTS.iter().any(|ours| u64::from(*ours) == *port))
        {
            return Some(format!(
                "container {name} uses port {port}, which is the sidecar's; choose another"
            ));
        }
    }
    None
}

fn taken_user(who: &str) -> String {
    format!(
        "{who} runs as user {USER}, which is the sidecar's, so nothing of it would be captured; choose another"
    )
}

/// Containers and init containers.
pub(crate) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten())
}

/// The pod with its sidecar.
fn inject(pod: &Value, settings: &Injection, wishes: Wishes<'_>) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["annotations"][INJECTED] = json!(settings.revision);
    let spec = &mut pod["spec"];
    let mut asked = Map::new();
    for list in ["initContainers", "containers"] {
        let all = spec[list].as_array_mut().into_iter().flatten();
        for container in all {
            probes::redirect(container, &mut asked);
            if wishes.socket.is_some() {
                workload_api::offer(container);
            }
        }
    }
    let later = spec["initContainers"].as_array_mut().map(std::mem::take).unwrap_or_default();
    // The first to start: every other container, init containers too, finds its network captured and served.
    let first = [container::init(settings, wishes), container::proxy(settings, asked, wishes)];
    spec["initContainers"] = first.into_iter().chain(later).collect();
    let mut volumes = spec["volumes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    volumes.extend(container::volumes());
    volumes.extend(wishes.socket.map(|_| workload_api::volume()));
    spec["volumes"] = volumes.into();
    pod
}

#[cfg(test)]
mod tests;

//! Applications in pods with sidecars that have their identities from the SPIFFE Workload API, by the public client for
//! Go: an init container, and two that meet each other with TLS of their own, through the mesh.

use anyhow::{Context, bail};

use super::OF_NAMESPACE;
use crate::cluster::{Place, apply, kubectl};

/// Applications that may do next to nothing, in namespaces of `meshed`.
const PODS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: meshed}
spec:
  selector: {app: vault}
  ports: [{name: tcp, port: 8443, appProtocol: tcp}]
"#;

/// Who the calling pod is, and who the called one.
const FRIEND: &str = "spiffe://cluster.local/ns/meshed/sa/friend";
const SERVER: &str = "spiffe://cluster.local/ns/meshed/sa/server";

fn pod(name: &str, account: &str) -> String {
    let container = |name: &str, words: &str| {
        format!(
            "  - name: {name}\n    image: {}\n    args: [{words}]\n    securityContext: {{allowPrivilegeEscalation: false, \
             readOnlyRootFilesystem: true, runAsNonRoot: true, runAsUser: 1000, capabilities: {{drop: [ALL]}}}}\n",
            crate::images::SPIFFE
        )
    };
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: meshed, labels: {{app: {name}, \
         mesh.io/mode: sidecar}}}}\nspec:\n  serviceAccountName: {account}\n  initContainers:\n{}  containers:\n{}",
        container("first", "fetch"),
        container("app", "serve, ':8443'"),
    )
}

/// # Errors
/// Somebody has no identity, or one that is not the pod's, or does not meet whom it should meet.
pub(super) fn check(place: &Place) -> anyhow::Result<()> {
    apply(place, &format!("{PODS}{}{}", pod("vault", "server"), pod("asker", "friend")))?;
    let ready = ["wait", "pod/vault", "pod/asker", "--for=condition=Ready", "--timeout=90s"];
    kubectl(place, &[&[OF_NAMESPACE][..], &ready].concat())
        .context("an init container that asks who it is")?;
    let first = kubectl(place, &[OF_NAMESPACE, "logs", "asker", "-c", "first"])?;
    if first.trim() != FRIEND {
        bail!("the init container is told {first:?}");
    }
    let call = |expected: &str| {
        kubectl(
            place,
            &[OF_NAMESPACE, "exec", "asker", "-c", "app", "--", "/spiffe", "call", "vault:8443", expected],
        )
    };
    let seen = call(SERVER)?;
    if seen.trim() != FRIEND {
        bail!("the server saw {seen:?}");
    }
    match call(FRIEND) {
        Ok(answer) => bail!("a server with another identity was believed: {answer:?}"),
        Err(error) if format!("{error:#}").contains("unexpected ID") => Ok(()),
        Err(error) => Err(error.context("refused for another reason")),
    }
}

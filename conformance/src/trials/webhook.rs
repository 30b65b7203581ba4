//! The webhook that gives pods their sidecar: under questions that nobody means well, and when it is away.

use anyhow::{Context, ensure};

use super::scene::{LIMIT, SYSTEM, Scene};
use crate::cluster::{inside, kubectl};
use crate::step::{output, wait_for};

/// Longer than any question may be.
const LONG: usize = 4 << 20;

/// Questions that are none are refused one by one, and the next good one is answered.
pub(super) fn hostile(scene: &Scene<'_>) -> anyhow::Result<()> {
    let address = ["get", "service", "service-mesh-controller", "-o", "jsonpath={.spec.clusterIP}"];
    let address = kubectl(scene.place, &[&[SYSTEM], address.as_slice()].concat())?;
    let review = |object: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","namespace":"default","operation":"CREATE","object":{object}}}}}"#
        )
    };
    let table = [
        ("nothing", String::new(), "400"),
        ("no JSON", "\u{0}\u{1}{".to_owned(), "400"),
        ("another kind", r#"{"kind":"Pod","apiVersion":"v1"}"#.to_owned(), "400"),
        ("no request", r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#.to_owned(), "400"),
        ("lists in lists without end", "[".repeat(LONG / 8), "400"),
        ("a pod that is a list", review("[]"), "400"),
        (
            "a pod deeper than anything",
            review(&format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))),
            "400",
        ),
        ("more than may be said", review(&format!("\"{}\"", "a".repeat(LONG))), "413"),
    ];
    for (what, body, status) in table {
        let file = scene.place.folder.join("question");
        std::fs::write(&file, body)?;
        let mut curl = inside(scene.place)?;
        curl.args(["curl", "--silent", "--insecure", "--max-time", "15", "--output", "/dev/null"]);
        curl.args([
            "--write-out",
            "%{http_code}",
            "--header",
            "content-type: application/json",
            "--data-binary",
        ]);
        curl.arg(format!("@{}", file.display())).arg(format!("https://{address}:443/inject"));
        let said = output(curl).with_context(|| what.to_owned())?;
        ensure!(said == status, "{what} is answered {said} and not {status}");
    }
    run(scene, "after", "sidecar")?;
    let pod = scene.get("pod/after")?;
    let inits = pod["spec"]["initContainers"].as_array().map_or(0, Vec::len);
    ensure!(inits >= 2, "the pod has {inits} init containers and no sidecar");
    Ok(())
}

/// Without a controller pods that no label puts into the mesh are admitted, others are refused by name, and the
/// controller itself comes back.
pub(super) fn away(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.with_controllers(0, || without(scene))?;
    wait_for("a pod gets its sidecar again", LIMIT, || run(scene, "again", "sidecar"))
}

fn without(scene: &Scene<'_>) -> anyhow::Result<()> {
    kubectl(scene.place, &["run", "own", "--image=registry.k8s.io/pause:3.10", "--namespace=kube-system"])?;
    kubectl(scene.place, &["delete", "pod", "own", "--namespace=kube-system", "--wait=false"])?;
    scene.kubectl(&["run", "plain", "--image=registry.k8s.io/pause:3.10"])?;
    run(scene, "opted-out", "none")?;
    match run(scene, "meshed", "sidecar") {
        Ok(()) => anyhow::bail!("a pod of the mesh started without its sidecar"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("inject.mesh.io"), "the reason names no webhook: {said}");
            Ok(())
        }
    }
}

fn run(scene: &Scene<'_>, name: &str, mode: &str) -> anyhow::Result<()> {
    let label = format!("--labels=mesh.io/mode={mode}");
    scene.kubectl(&["run", name, "--image=registry.k8s.io/pause:3.10", &label]).map(drop)
}

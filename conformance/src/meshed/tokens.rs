//! Tokens that prove nothing: a proxy of ours is started beside the pods with each of them, and the control plane must
//! refuse it with the reason.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::{NAMESPACE, OF_NAMESPACE};
use crate::cluster::{Place, inside, kubectl};
use crate::step::{Running, wait_for};

/// How long a refusal may take.
const SOON: Duration = Duration::from_secs(20);
/// The account whose certificate is wanted; a pod of the same name runs under it.
const VICTIM: &str = "friend";

/// Each kind of token, and what is said of it.
pub(super) fn refused(place: &Place) -> anyhow::Result<()> {
    let uid = ["get", "pod", VICTIM, "-o", "jsonpath={.metadata.uid}"];
    let uid = format!("--bound-object-uid={}", kubectl(place, &[&[OF_NAMESPACE], uid.as_slice()].concat())?);
    let bound = ["--bound-object-kind=Pod", "--bound-object-name=friend", &uid];
    let token = |audience: &str, more: &[&str]| {
        let words = [&[OF_NAMESPACE, "create", "token", VICTIM, "--audience", audience], more].concat();
        kubectl(place, &words)
    };
    let table = [
        ("of another pod", token("mesh-ca", &bound)?, "which is no address of it"),
        ("of no pod", token("mesh-ca", &[])?, "is not that of a pod"),
        ("for somebody else", token("other", &bound)?, "the token is refused"),
        ("that nobody signed", "e30.e30.e30".to_owned(), "the token is refused"),
    ];
    for (which, token, why) in table {
        said(place, token.trim(), why).with_context(|| format!("a token {which}"))?;
    }
    Ok(())
}

/// Starts a proxy with a token in the network of the node, and waits for the reason.
fn said(place: &Place, token: &str, why: &str) -> anyhow::Result<()> {
    let folder = place.folder.join("thief");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let system = "--namespace=service-mesh-system";
    let address = ["get", "service", "service-mesh-controller", "-o", "jsonpath={.spec.clusterIP}"];
    let address = kubectl(place, &[&[system], address.as_slice()].concat())?;
    let roots = ["get", "configmap", "mesh-ca-root", "-o", r"jsonpath={.data.roots\.pem}"];
    std::fs::write(folder.join("roots.pem"), kubectl(place, &[&[OF_NAMESPACE], roots.as_slice()].concat())?)?;
    std::fs::write(folder.join("token"), token)?;
    let config = json!({
        "controller": {
            "address": format!("{address}:15012"),
            "identity": "spiffe://cluster.local/ns/service-mesh-system/sa/service-mesh-controller",
            "roots": folder.join("roots.pem"),
            "token": folder.join("token"),
        },
        "gateway": {"name": "thief", "namespace": NAMESPACE},
        "identity": format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{VICTIM}"),
        "name": "thief",
        "state": {"directory": folder.join("state")},
        "trustDomain": "cluster.local",
    });
    std::fs::write(folder.join("proxy.json"), config.to_string())?;
    let log = folder.join("log");
    let file = std::fs::File::create(&log)?;
    let mut call = inside(place)?;
    call.arg(std::env::current_exe()?.with_file_name("mesh-proxy")).arg("--config");
    call.arg(folder.join("proxy.json")).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let _proxy = Running(call.spawn()?);
    wait_for(&format!("the refusal {why:?}"), SOON, || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(text.contains(why), "{text}");
        Ok(())
    })
}

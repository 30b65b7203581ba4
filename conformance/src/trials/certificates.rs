//! Secrets that break while their certificates are shown.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::scene::{LIMIT, Scene, route};
use crate::step::wait_for;

const HOST: &str = "trial.test";

/// A Secret with a certificate of a name, and the certificate.
fn secret(key: &rcgen::KeyPair, shown: &rcgen::KeyPair) -> anyhow::Result<(Value, String)> {
    let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()])?.self_signed(key)?.pem();
    let data = json!({"tls.crt": certificate, "tls.key": shown.serialize_pem()});
    Ok((object(&data), certificate))
}

fn object(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"},
        "type": "kubernetes.io/tls", "stringData": data})
}

/// Text that is no PEM, then a key of another certificate: the last good certificate stays and the status says why.
pub(super) fn broken(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (key, other) = (rcgen::KeyPair::generate()?, rcgen::KeyPair::generate()?);
    let (good, certificate) = secret(&key, &key)?;
    let authority = scene.place.folder.join("trial.pem");
    std::fs::write(&authority, certificate)?;
    scene.apply(&good.to_string())?;
    let gateway = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: web}]}}
";
    scene.apply(gateway)?;
    scene.apply(&route("secure", "https", "/secure", 302))?;
    scene.programmed()?;
    let to = format!("{HOST}:443:{}", scene.address()?);
    let file = authority.to_str().context("a path that is text")?;
    let url = format!("https://{HOST}/secure");
    let shown = || scene.answers_now(&url, 302, &["--resolve", &to, "--cacert", file]);
    wait_for("the certificate is shown", LIMIT, shown)?;
    let rubbish = object(&json!({"tls.crt": "rubbish", "tls.key": "rubbish"}));
    for (broken, why) in [(rubbish, "tls.crt"), (secret(&other, &key)?.0, "does not belong")] {
        scene.apply(&broken.to_string())?;
        wait_for("the status says why", LIMIT, || {
            let message = unresolved(&scene.get("gateway/edge")?);
            ensure!(message.contains(why) && message.contains("stays in force"), "it says {message:?}");
            Ok(())
        })?;
        shown()?;
    }
    scene.apply(&good.to_string())?;
    wait_for("the status is right again", LIMIT, || {
        let message = unresolved(&scene.get("gateway/edge")?);
        ensure!(message.is_empty(), "it says {message:?}");
        Ok(())
    })?;
    shown()
}

/// Why references of the listener `https` are not resolved.
fn unresolved(gateway: &Value) -> String {
    let listeners = gateway["status"]["listeners"].as_array().into_iter().flatten();
    let conditions = listeners
        .filter(|listener| listener["name"] == "https")
        .flat_map(|listener| listener["conditions"].as_array().into_iter().flatten());
    let mut fails = conditions.filter(|c| c["type"] == "ResolvedRefs" && c["status"] == "False");
    fails.next().and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
}

//! CA certificates that the cluster keeps for everyone (ClusterTrustBundle, `certificates.k8s.io`): at a gateway's
//! backends and for its clients, and what follows when they are exchanged.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::guest::Guest;
use super::scene::{LIMIT, Scene, route};
use crate::cluster::{inside, kubectl};
use crate::step::{output, wait_for};

const HOST: &str = "trial.test";
const BUNDLE: &str = "trial-roots";

const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  tls:
    frontend:
      default: {validation: {caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: trial-roots}]}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: web}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: secured}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
  - matches: [{path: {value: /secured}}]
    backendRefs: [{name: secured, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secured}
spec:
  targetRefs: [{group: \"\", kind: Service, name: secured}]
  validation:
    hostname: trial.test
    caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: trial-roots}]
";

/// An authority, and a certificate of it for both ends.
struct Root {
    pem: String,
    certificate: String,
    key: String,
}

impl Root {
    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut own = CertificateParams::new(Vec::new())?;
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = own.self_signed(&key)?.pem();
        let issuer = Issuer::new(own, key);
        let leaf = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![HOST.to_owned()])?.signed_by(&leaf, &issuer)?.pem();
        Ok(Self { pem, certificate, key: leaf.serialize_pem() })
    }

    /// Certificate and key as files.
    fn files(&self, scene: &Scene<'_>, name: &str) -> anyhow::Result<[String; 2]> {
        let write = |ending: &str, text: &str| {
            let file: PathBuf = scene.place.folder.join(format!("{name}.{ending}"));
            std::fs::write(&file, text)?;
            file.to_str().map(str::to_owned).context("a path that is text")
        };
        Ok([write("crt", &self.certificate)?, write("key", &self.key)?])
    }
}

/// One bundle is what a backend is judged by and what clients are; exchanged, it is so for both, and while it is away the
/// status says so.
pub(super) fn of_the_cluster(scene: &Scene<'_>) -> anyhow::Result<()> {
    let (old, new) = (Root::new()?, Root::new()?);
    let outcome = exchanged(scene, &old, &new);
    let gone = kubectl(scene.place, &["delete", "clustertrustbundle", BUNDLE, "--ignore-not-found"]);
    outcome.and(gone.map(drop))
}

fn exchanged(scene: &Scene<'_>, old: &Root, new: &Root) -> anyhow::Result<()> {
    publish(scene, &old.pem)?;
    let [certificate, key] = old.files(scene, "old")?;
    let others = new.files(scene, "new")?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": old.certificate, "tls.key": old.key}});
    scene.apply(&secret.to_string())?;
    let _backend = Guest::start(scene, "secured", "https_server.py", &[&certificate, &key])?;
    scene.apply(OBJECTS)?;
    scene.apply(&route("asks-who", "https", "/who", 302))?;
    scene.programmed()?;
    let mine = [certificate, key];
    holds(scene, "the first bundle", 200, &mine, &others)?;
    publish(scene, &new.pem)?;
    holds(scene, "another bundle", 503, &others, &mine)?;
    publish(scene, &[old.pem.as_str(), &new.pem].concat())?;
    holds(scene, "a bundle of both", 200, &mine, &[])?;
    holds(scene, "a bundle of both", 200, &others, &[])?;
    kubectl(scene.place, &["delete", "clustertrustbundle", BUNDLE])?;
    wait_for("the status says that the bundle is away", LIMIT, || {
        let policy = scene.get("backendtlspolicy/secured")?["status"].to_string();
        ensure!(policy.contains(&format!("there is no ClusterTrustBundle {BUNDLE}")), "{policy}");
        Ok(())
    })?;
    publish(scene, &old.pem)?;
    holds(scene, "the bundle is back", 200, &mine, &others)
}

fn publish(scene: &Scene<'_>, roots: &str) -> anyhow::Result<()> {
    let bundle = json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
        "metadata": {"name": BUNDLE}, "spec": {"trustBundle": roots}});
    scene.apply(&bundle.to_string())
}

/// Waits until the backend is reached with this status, and clients with these certificates are let in and refused.
fn holds(scene: &Scene<'_>, when: &str, status: u16, good: &[String], bad: &[String]) -> anyhow::Result<()> {
    let url = format!("http://{}/secured", scene.address()?);
    wait_for(&format!("{when}: the backend"), LIMIT, || scene.answers_now(&url, status, &[]))?;
    wait_for(&format!("{when}: clients"), LIMIT, || {
        ensure!(enters(scene, good)?, "the right client is refused");
        ensure!(bad.is_empty() || !enters(scene, bad)?, "the wrong client is let in");
        ensure!(!enters(scene, &[])?, "a client without certificate is let in");
        Ok(())
    })
}

/// Whether a client with this certificate and key, or with none, gets an answer.
fn enters(scene: &Scene<'_>, shown: &[String]) -> anyhow::Result<bool> {
    let mut curl = inside(scene.place)?;
    curl.args(["curl", "--silent", "--insecure", "--max-time", "5", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code}", "--resolve", &format!("{HOST}:443:{}", scene.address()?)]);
    if let [certificate, key] = shown {
        curl.args(["--cert", certificate, "--key", key]);
    }
    curl.arg(format!("https://{HOST}/who"));
    Ok(output(curl).is_ok_and(|said| said == "302"))
}

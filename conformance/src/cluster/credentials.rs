//! The cluster's keys, certificates, tokens and kubeconfigs. New for every cluster; they guard a network that
//! nobody outside can reach.

use std::path::Path;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

use super::{NODE, NODE6, Place};

/// Names under which the API server is called.
const NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
    "fd00:96::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Writes all of them into the cluster's folder.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(place: &Place) -> anyhow::Result<()> {
    let folder = &place.folder;
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let mut names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    names.extend([NODE.to_string(), NODE6.to_string()]);
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let certificate = server.signed_by(&key, &issuer)?.pem();
    let token = rcgen::KeyPair::generate()?;
    let token: String = token.serialized_der().iter().map(|byte| format!("{byte:02x}")).collect();
    let token = token.get(token.len() - 64..).context("a key is longer than that")?;
    file(folder, "ca.crt", &root)?;
    file(folder, "server.crt", &certificate)?;
    file(folder, "server.key", &key.serialize_pem())?;
    let accounts = KeyPair::generate()?;
    file(folder, "accounts.key", &accounts.serialize_pem())?;
    file(folder, "accounts.pub", &accounts.public_key_pem())?;
    file(folder, "tokens.csv", &format!("{token},admin,admin,\"system:masters\"\n"))?;
    file(folder, "kubeconfig", &kubeconfig(folder, token)?)
}

/// Nobody but us may read them.
fn file(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

fn kubeconfig(folder: &Path, token: &str) -> anyhow::Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": "https://127.0.0.1:6443",
            "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}],
        "current-context": "cluster",
    });
    Ok(serde_json::to_string_pretty(&config)?)
}

//! Certificates: PEM texts of secrets and config maps to DER, checked. No listeners, no TLS.

use std::sync::Arc;

use mesh_model::tls::PrivateKey;
use mesh_model::{Certificate, FieldPath, Kind, ObjectName, Reason, Resource, ResourceKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::feature::{Feature, off};
use super::node::Topic;
use super::output::{Output, Report};
use super::reader::Reader;
use crate::objects::{ClusterTrustBundle, ConfigMap, Secret, group};

/// Field of the chain.
const CHAIN: &str = "tls.crt";
/// Field of the key.
const KEY: &str = "tls.key";
/// Field of the CA certificates.
const AUTHORITIES: &str = "ca.crt";

/// A chain with its key.
pub(super) struct Pair {
    chain: Vec<Arc<[u8]>>,
    key: PrivateKey,
}

/// The resource of a secret that some listener shows. Other secrets never leave the controller.
pub(super) fn certificate(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (secret, entry) = reader.object::<Secret>(name)?;
    let mut output = Output::default();
    if reader.facts(Topic::Wanted(name.clone())).next().is_none() {
        return Some(output);
    }
    let Ok(Pair { chain, key }) = parse(secret) else { return Some(output) };
    let mut report = Report::on(&entry.source);
    let field = if secret.string_data.contains_key(CHAIN) { "stringData" } else { "data" };
    check_validity(reader, &chain[0], &FieldPath::from(field).field(CHAIN), &mut report);
    output.findings = report.findings;
    let certificate = Certificate {
        key: ResourceKey::local(Kind::Certificate, name.clone()),
        source: entry.source.clone(),
        chain,
        private_key: key,
    };
    output.resources.push(Resource::Certificate(Arc::new(certificate)));
    Some(output)
}

/// Days before its end at which a certificate is reported.
const WARN_DAYS: i64 = 14;

fn check_validity(reader: &Reader<'_>, leaf: &[u8], path: &FieldPath, report: &mut Report) {
    let (Some(now), Ok((_, leaf))) = (reader.time(), X509Certificate::from_der(leaf)) else { return };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (from, to) = (leaf.validity().not_before, leaf.validity().not_after);
    if now > to.timestamp() {
        report.error(Reason::Expired, path, format!("the certificate ended at {to}"), "renew it");
    } else if now < from.timestamp() {
        report.error(Reason::Expired, path, format!("the certificate begins at {from}"), "check the clock");
    } else if to.timestamp() - now < WARN_DAYS * 86_400 {
        report.warning(Reason::Expired, path, format!("the certificate ends at {to}"), "renew it soon");
    }
}

/// The certificate and key of a secret.
///
/// # Errors
/// What is wrong, in words without any part of the secret.
pub(super) fn parse(secret: &Secret) -> Result<Pair, String> {
    let field = |name: &str| secret.value(name).ok_or_else(|| format!("{name} is missing"));
    let chain = certificates(field(CHAIN)?).map_err(|problem| format!("{CHAIN} {problem}"))?;
    let key = PrivateKeyDer::from_pem_slice(field(KEY)?);
    let key = key.map_err(|_| format!("{KEY} holds no private key in PEM"))?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key);
    let signing = signing.map_err(|_| format!("{KEY} holds a key of a kind that is not supported"))?;
    let leaf =
        X509Certificate::from_der(&chain[0]).map_err(|_| format!("{CHAIN} holds a broken certificate"))?.1;
    let public = signing.public_key().ok_or_else(|| format!("{KEY} has no public part"))?;
    if public.as_ref() != leaf.public_key().raw {
        return Err(format!("{KEY} does not belong to the certificate in {CHAIN}"));
    }
    Ok(Pair { chain, key: PrivateKey::from_der(key.secret_der().to_vec()) })
}

/// The CA certificates of a bundle of the cluster.
fn of_cluster(bundle: &ClusterTrustBundle) -> Result<Vec<Arc<[u8]>>, String> {
    let text = bundle.spec.trust_bundle.as_bytes();
    certificates(text).map_err(|problem| format!("spec.trustBundle {problem}"))
}

/// The CA certificates of an object that a reference names; `None` when objects of its kind hold none. A bundle of the
/// cluster lies in no namespace.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn authorities(
    reader: &Reader<'_>,
    (group, kind): (&str, &str),
    (namespace, name): (&str, &str),
) -> Option<Result<Vec<Arc<[u8]>>, String>> {
    match (group, kind) {
        ("", "ConfigMap") => {
            let name = ObjectName::new(namespace, name);
            let map = reader.object::<ConfigMap>(&name).map(|(map, _)| map);
            Some(map.ok_or_else(|| format!("there is no ConfigMap {name}")).and_then(of_map))
        }
        (group::CERTIFICATES, "ClusterTrustBundle") => {
            let feature = Feature::ClusterTrustBundle;
            if !reader.settings().has(feature) {
                return Some(Err(off(feature)));
            }
            let bundle = reader.object::<ClusterTrustBundle>(&ObjectName::new("", name));
            let bundle = bundle.map(|(bundle, _)| bundle);
            let found = bundle.ok_or_else(|| format!("there is no ClusterTrustBundle {name}"));
            Some(found.and_then(of_cluster))
        }
        _ => None,
    }
}

/// The CA certificates of a config map.
fn of_map(map: &ConfigMap) -> Result<Vec<Arc<[u8]>>, String> {
    let text = map.data.get(AUTHORITIES).map(String::as_bytes);
    let bytes = text.or_else(|| map.binary_data.get(AUTHORITIES).map(|bytes| bytes.expose()));
    let bytes = bytes.ok_or_else(|| format!("{AUTHORITIES} is missing"))?;
    certificates(bytes).map_err(|problem| format!("{AUTHORITIES} {problem}"))
}

fn certificates(pem: &[u8]) -> Result<Vec<Arc<[u8]>>, &'static str> {
    let mut chain = Vec::new();
    for item in CertificateDer::pem_slice_iter(pem) {
        let der = item.map_err(|_| "is not PEM")?;
        X509Certificate::from_der(&der).map_err(|_| "holds a broken certificate")?;
        chain.push(Arc::from(&*der));
    }
    if chain.is_empty() { Err("holds no certificate in PEM") } else { Ok(chain) }
}

//! TLS material on the wire. Keys travel here; no text form shows them.

use mesh_model::tls::{ClientCertificate, PrivateKey, Roots, SubjectAltName};
use mesh_model::{BackendTls, Certificate, Kind};

use super::field::{Decoded, Within, ders, each, needed, port, text, wrong};
use super::meta;
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::{BackendTlsRoots as WireRoots, SubjectAltNameName as WireName};

pub(super) fn encode_certificate(certificate: &Certificate) -> wire::Certificate {
    wire::Certificate {
        meta: meta::encode(&certificate.key, &certificate.source),
        chain: certificate.chain.iter().map(|der| der.to_vec()).collect(),
        private_key: certificate.private_key.expose().to_vec(),
    }
}

pub(super) fn decode_certificate(wire: wire::Certificate) -> Decoded<Certificate> {
    let (key, source) = meta::decode(Kind::Certificate, wire.meta)?;
    if wire.chain.is_empty() {
        return Err(wrong("chain", "is empty"));
    }
    if wire.private_key.is_empty() {
        return Err(wrong("private_key", "is empty"));
    }
    let chain = ders("chain", wire.chain)?;
    Ok(Certificate { key, source, chain, private_key: PrivateKey::from_der(wire.private_key) })
}

pub(super) fn encode_backend(tls: &BackendTls) -> wire::BackendTls {
    let name = |name: &SubjectAltName| match name {
        SubjectAltName::Dns(dns) => WireName::Dns(dns.to_string()),
        SubjectAltName::Uri(uri) => WireName::Uri(uri.to_string()),
    };
    let roots = match &tls.roots {
        Roots::Bundle(ders) => WireRoots::Bundle(wire::RootBundle {
            certificates: ders.iter().map(|der| der.to_vec()).collect(),
        }),
        Roots::None => WireRoots::None(wire::NoRoots {}),
        Roots::System => WireRoots::System(wire::SystemRoots {}),
    };
    wire::BackendTls {
        meta: meta::encode(&tls.key, &tls.source),
        service: meta::encode_object(&tls.service),
        port: tls.port.map(u32::from),
        hostname: tls.hostname.to_string(),
        names: tls.names.iter().map(|n| wire::SubjectAltName { name: Some(name(n)) }).collect(),
        roots: Some(roots),
        client: tls.client.as_ref().map(|client| wire::ClientCertificate {
            certificate: client.certificate.to_string(),
            gateways: client.gateways.iter().filter_map(meta::encode_object).collect(),
        }),
    }
}

pub(super) fn decode_backend(wire: wire::BackendTls) -> Decoded<BackendTls> {
    let (key, source) = meta::decode(Kind::BackendTls, wire.meta)?;
    let name = |wire: wire::SubjectAltName| match needed("name", wire.name)? {
        WireName::Dns(dns) => Ok(SubjectAltName::Dns(text("dns", &dns)?)),
        WireName::Uri(uri) => Ok(SubjectAltName::Uri(text("uri", &uri)?)),
    };
    let roots = match needed("roots", wire.roots)? {
        WireRoots::Bundle(bundle) => Roots::Bundle(ders("roots.certificates", bundle.certificates)?),
        WireRoots::None(_) => Roots::None,
        WireRoots::System(_) => Roots::System,
    };
    Ok(BackendTls {
        key,
        source,
        service: meta::decode_object("service", wire.service)?,
        port: wire.port.map(|number| port("port", number)).transpose()?,
        hostname: text("hostname", &wire.hostname)?,
        names: each("names", wire.names, name)?,
        roots,
        client: wire.client.map(|client| decode_client(client).within("client")).transpose()?,
    })
}

fn decode_client(wire: wire::ClientCertificate) -> Decoded<ClientCertificate> {
    Ok(ClientCertificate {
        certificate: meta::decode_key(Kind::Certificate, "certificate", &wire.certificate)?,
        gateways: each("gateways", wire.gateways, |gateway| meta::decode_object("name", Some(gateway)))?,
    })
}

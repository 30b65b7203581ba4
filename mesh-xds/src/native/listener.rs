//! Listeners on the wire.

use std::sync::Arc;

use mesh_model::listener::ClientValidation;
use mesh_model::{Kind, Listener, ListenerProtocol, ListenerTls, ResourceKey};

use super::field::{Decoded, Within, ders, each, needed, parsed, port, text};
use super::{filter, meta, tracing};
use crate::generated::mesh_v1 as wire;
use crate::generated::mesh_v1::ListenerProtocol as WireProtocol;

pub(super) fn encode(listener: &Listener) -> wire::Listener {
    wire::Listener {
        meta: meta::encode(&listener.key, &listener.source),
        gateway: meta::encode_object(&listener.gateway),
        name: listener.name.to_string(),
        port: listener.port.into(),
        protocol: encode_protocol(listener.protocol).into(),
        hostname: listener.hostname.to_string(),
        tls: listener.tls.as_ref().map(encode_tls),
        backend_certificate: listener
            .backend_certificate
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        filters: listener.filters.iter().map(filter::encode_auth).collect(),
        tracing: listener.tracing.as_deref().map(tracing::encode),
    }
}

pub(super) fn decode(wire: wire::Listener) -> Decoded<Listener> {
    let (key, source) = meta::decode(Kind::Listener, wire.meta)?;
    let protocol = WireProtocol::try_from(wire.protocol).ok().and_then(decode_protocol);
    Ok(Listener {
        key,
        source,
        gateway: meta::decode_object("gateway", wire.gateway)?,
        name: text("name", &wire.name)?,
        port: port("port", wire.port)?,
        protocol: needed("protocol", protocol)?,
        hostname: parsed("hostname", &wire.hostname)?,
        tls: wire.tls.map(|tls| decode_tls(tls).within("tls")).transpose()?,
        backend_certificate: decode_certificate(&wire.backend_certificate)?,
        filters: each("filters", wire.filters, filter::decode_auth)?,
        tracing: wire.tracing.map(|wire| tracing::decode(wire).within("tracing")).transpose()?.map(Arc::new),
    })
}

fn decode_certificate(name: &str) -> Decoded<Option<ResourceKey>> {
    let named = (!name.is_empty()).then(|| meta::decode_key(Kind::Certificate, "backend_certificate", name));
    named.transpose()
}

fn encode_protocol(protocol: ListenerProtocol) -> WireProtocol {
    match protocol {
        ListenerProtocol::Http => WireProtocol::Http,
        ListenerProtocol::Https => WireProtocol::Https,
        ListenerProtocol::Tcp => WireProtocol::Tcp,
        ListenerProtocol::Tls => WireProtocol::Tls,
        ListenerProtocol::Udp => WireProtocol::Udp,
    }
}

fn decode_protocol(protocol: WireProtocol) -> Option<ListenerProtocol> {
    match protocol {
        WireProtocol::Unspecified => None,
        WireProtocol::Http => Some(ListenerProtocol::Http),
        WireProtocol::Https => Some(ListenerProtocol::Https),
        WireProtocol::Tcp => Some(ListenerProtocol::Tcp),
        WireProtocol::Tls => Some(ListenerProtocol::Tls),
        WireProtocol::Udp => Some(ListenerProtocol::Udp),
    }
}

fn encode_tls(tls: &ListenerTls) -> wire::ListenerTls {
    match tls {
        ListenerTls::Passthrough => wire::ListenerTls::Passthrough(wire::Passthrough {}),
        ListenerTls::Terminate { certificates, client } => {
            let client = client.as_ref().map(|client| wire::ClientValidation {
                roots: client.roots.iter().map(|der| der.to_vec()).collect(),
                insecure_fallback: client.insecure_fallback,
            });
            let certificates = certificates.iter().map(ToString::to_string).collect();
            wire::ListenerTls::Terminate(wire::Terminate { certificates, client })
        }
    }
}

fn decode_tls(tls: wire::ListenerTls) -> Decoded<ListenerTls> {
    let wire::ListenerTls::Terminate(terminate) = tls else { return Ok(ListenerTls::Passthrough) };
    let key = |name: String| meta::decode_key(Kind::Certificate, "name", &name);
    let certificates = each("certificates", terminate.certificates, key)?;
    let client = terminate.client.map(|client| -> Decoded<ClientValidation> {
        let roots = ders("client.roots", client.roots)?;
        Ok(ClientValidation { roots, insecure_fallback: client.insecure_fallback })
    });
    Ok(ListenerTls::Terminate { certificates, client: client.transpose()? })
}

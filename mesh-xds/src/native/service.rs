//! Services and endpoints on the wire.

use std::sync::Arc;

use mesh_model::backend::MAX_CHUNK;
use mesh_model::hostname::is_label;
use mesh_model::{
    AppProtocol, Endpoint, EndpointChunk, HostPattern, Kind, RetryBudget, Service, ServicePort, Transport,
};

use super::field::{Decoded, Within, each, each_parsed, needed, parsed, port, wrong};
use super::{meta, session};
use crate::generated::mesh_v1 as wire;

pub(super) fn encode(service: &Service) -> wire::Service {
    let encode_port = |port: &ServicePort| wire::ServicePort {
        name: port.name.to_string(),
        port: port.port.into(),
        transport: encode_transport(port.transport).into(),
        protocol: encode_protocol(port.protocol).into(),
    };
    wire::Service {
        meta: meta::encode(&service.key, &service.source),
        name: meta::encode_object(&service.name),
        addresses: service.addresses.iter().map(ToString::to_string).collect(),
        ports: service.ports.iter().map(encode_port).collect(),
        retry_budget: service.retry_budget.as_ref().map(encode_budget),
        session: service.session.as_deref().map(session::encode),
        hostname: service.hostname.as_ref().map_or_else(String::new, ToString::to_string),
    }
}

fn encode_budget(budget: &RetryBudget) -> wire::RetryBudget {
    wire::RetryBudget {
        source: Some(meta::encode_source(&budget.source)),
        percent: budget.percent,
        interval: meta::encode_span(Some(budget.interval)),
        least: budget.least,
        least_interval: meta::encode_span(Some(budget.least_interval)),
    }
}

fn decode_budget(wire: wire::RetryBudget) -> Decoded<RetryBudget> {
    let span = |field: &str, span| {
        let span = needed(field, meta::decode_span(field, span)?)?;
        if span.is_zero() { Err(wrong(field, "is zero")) } else { Ok(span) }
    };
    if wire.percent > 100 {
        return Err(wrong("percent", format!("{} is more than 100", wire.percent)));
    }
    Ok(RetryBudget {
        source: needed("source", wire.source).and_then(|s| meta::decode_source(s).within("source"))?,
        percent: wire.percent,
        interval: span("interval", wire.interval)?,
        least: wire.least,
        least_interval: span("least_interval", wire.least_interval)?,
    })
}

pub(super) fn decode(wire: wire::Service) -> Decoded<Service> {
    let (key, source) = meta::decode(Kind::Service, wire.meta)?;
    let decode_port = |wire: wire::ServicePort| -> Decoded<ServicePort> {
        Ok(ServicePort {
            port: port("port", wire.port)?,
            transport: decode_transport(wire.transport)?,
            protocol: decode_protocol(wire.protocol)?,
            name: wire.name.into(),
        })
    };
    Ok(Service {
        key,
        source,
        name: meta::decode_object("name", wire.name)?,
        addresses: each_parsed("addresses", &wire.addresses)?,
        ports: each("ports", wire.ports, decode_port)?,
        retry_budget: wire.retry_budget.map(|b| decode_budget(b).within("retry_budget")).transpose()?,
        session: wire.session.map(|wire| session::decode(wire).within("session")).transpose()?,
        hostname: decode_hostname(wire.hostname)?,
    })
}

/// One name, kept as written.
fn decode_hostname(hostname: String) -> Decoded<Option<Arc<str>>> {
    if hostname.is_empty() {
        return Ok(None);
    }
    match parsed("hostname", &hostname)? {
        HostPattern::Exact(_) => Ok(Some(Arc::from(hostname))),
        HostPattern::Any | HostPattern::Wildcard(_) => Err(wrong("hostname", "is not one name")),
    }
}

fn decode_label(label: &str) -> Decoded<Arc<str>> {
    if is_label(label) {
        Ok(Arc::from(label))
    } else {
        Err(wrong("hostname", format!("{label:?} is no label of a name")))
    }
}

pub(super) fn encode_chunk(chunk: &EndpointChunk) -> wire::EndpointChunk {
    let encode_endpoint = |endpoint: &Endpoint| wire::Endpoint {
        address: endpoint.address.to_string(),
        identity: endpoint.identity.as_ref().map(ToString::to_string),
        workload: endpoint.workload.to_string(),
        ready: endpoint.ready,
        zone: endpoint.zone.as_ref().map(ToString::to_string),
        hostname: endpoint.hostname.as_ref().map(ToString::to_string),
    };
    wire::EndpointChunk {
        meta: meta::encode(&chunk.key, &chunk.source),
        service: meta::encode_object(&chunk.service),
        port: chunk.port.into(),
        transport: encode_transport(chunk.transport).into(),
        endpoints: chunk.endpoints.iter().map(encode_endpoint).collect(),
    }
}

pub(super) fn decode_chunk(wire: wire::EndpointChunk) -> Decoded<EndpointChunk> {
    let (key, source) = meta::decode(Kind::EndpointChunk, wire.meta)?;
    if wire.endpoints.len() > MAX_CHUNK {
        return Err(wrong("endpoints", format!("{} are more than {MAX_CHUNK}", wire.endpoints.len())));
    }
    let decode_endpoint = |wire: wire::Endpoint| -> Decoded<Endpoint> {
        Ok(Endpoint {
            address: parsed("address", &wire.address)?,
            identity: wire.identity.map(|id| parsed("identity", &id)).transpose()?,
            workload: wire.workload.into(),
            ready: wire.ready,
            zone: wire.zone.map(Into::into),
            hostname: wire.hostname.map(|name| decode_label(&name)).transpose()?,
        })
    };
    Ok(EndpointChunk {
        key,
        source,
        service: meta::decode_object("service", wire.service)?,
        port: port("port", wire.port)?,
        transport: decode_transport(wire.transport)?,
        endpoints: each("endpoints", wire.endpoints, decode_endpoint)?,
    })
}

fn encode_transport(transport: Transport) -> wire::Transport {
    match transport {
        Transport::Tcp => wire::Transport::Tcp,
        Transport::Udp => wire::Transport::Udp,
    }
}

fn decode_transport(number: i32) -> Decoded<Transport> {
    let transport = match wire::Transport::try_from(number) {
        Ok(wire::Transport::Tcp) => Some(Transport::Tcp),
        Ok(wire::Transport::Udp) => Some(Transport::Udp),
        Ok(wire::Transport::Unspecified) | Err(_) => None,
    };
    needed("transport", transport)
}

fn encode_protocol(protocol: AppProtocol) -> wire::AppProtocol {
    match protocol {
        AppProtocol::Detect => wire::AppProtocol::Detect,
        AppProtocol::Grpc => wire::AppProtocol::Grpc,
        AppProtocol::Http1 => wire::AppProtocol::Http1,
        AppProtocol::Http2 => wire::AppProtocol::Http2,
        AppProtocol::Tcp => wire::AppProtocol::Tcp,
        AppProtocol::Tls => wire::AppProtocol::Tls,
        AppProtocol::WebSocket => wire::AppProtocol::WebSocket,
    }
}

fn decode_protocol(number: i32) -> Decoded<AppProtocol> {
    let protocol = match wire::AppProtocol::try_from(number) {
        Ok(wire::AppProtocol::Detect) => Some(AppProtocol::Detect),
        Ok(wire::AppProtocol::Grpc) => Some(AppProtocol::Grpc),
        Ok(wire::AppProtocol::Http1) => Some(AppProtocol::Http1),
        Ok(wire::AppProtocol::Http2) => Some(AppProtocol::Http2),
        Ok(wire::AppProtocol::Tcp) => Some(AppProtocol::Tcp),
        Ok(wire::AppProtocol::Tls) => Some(AppProtocol::Tls),
        Ok(wire::AppProtocol::WebSocket) => Some(AppProtocol::WebSocket),
        Ok(wire::AppProtocol::Unspecified) | Err(_) => None,
    };
    needed("protocol", protocol)
}

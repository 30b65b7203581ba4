//! Targets of mesh-model: what is parsed prints back equal, and canonical forms are final.

use mesh_model::{Authority, GatewayDuration, HostPattern, ResourceKey, SpiffeId, TrustDomain, path};

use crate::{planted, text};

/// Hosts of requests: the canonical form parses to itself and hides nothing.
pub fn authority(bytes: &[u8]) {
    let Some(parsed) = text(bytes).and_then(|text| text.parse::<Authority>().ok()) else { return };
    let printed = parsed.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&parsed));
    assert!(printed.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'/' | b'?' | b'#')));
    assert!(!parsed.host().bytes().any(|b| b.is_ascii_uppercase()));
    planted(parsed.host().starts_with('[') && parsed.port().is_some_and(|port| port > 9999));
}

/// Durations of the Gateway API.
pub fn duration(bytes: &[u8]) {
    let Some(parsed) = text(bytes).and_then(|text| text.parse::<GatewayDuration>().ok()) else { return };
    let printed = parsed.to_string();
    assert_eq!(printed.parse().ok(), Some(parsed));
    planted(printed.contains('h') && printed.contains("ms"));
}

/// Two patterns and a host, one on each line: the intersection matches what both match.
pub fn host_pattern(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut lines = text.split('\n');
    let mut pattern = || lines.next().and_then(|line| line.parse::<HostPattern>().ok());
    let (Some(a), Some(b)) = (pattern(), pattern()) else { return };
    assert_eq!(a.to_string().parse().as_ref(), Ok(&a));
    let both = a.intersect(&b);
    assert_eq!(both, b.intersect(&a), "intersection has no direction");
    assert_eq!(a.intersect(&a), Some(a.clone()));
    let host = lines.next().and_then(|line| line.parse::<Authority>().ok());
    if let Some(host) = host {
        let matched = both.as_ref().is_some_and(|both| both.matches(host.host()));
        assert_eq!(matched, a.matches(host.host()) && b.matches(host.host()), "{a} {b} {host}");
        planted(matched && a != b);
    }
}

/// SPIFFE IDs, principals and trust domains.
pub fn identity(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.as_str(), text);
    }
    if let Ok(id) = SpiffeId::parse_principal(text) {
        assert_eq!(SpiffeId::parse_principal(&id.principal()).as_ref(), Ok(&id));
    }
    let Ok(id) = text.parse::<SpiffeId>() else { return };
    assert_eq!(id.to_string(), text, "an identity has one spelling");
    assert_eq!(SpiffeId::parse_principal(&id.principal()).as_ref(), Ok(&id));
    planted(id.service_account().is_some_and(|(namespace, name)| namespace == name));
}

/// Request paths: the canonical form is final and has no way up.
pub fn path(bytes: &[u8]) {
    let Some(Ok(normalized)) = text(bytes).map(path::normalize) else { return };
    assert!(normalized.starts_with('/') && !normalized.contains("//") && !normalized.contains('\\'));
    assert!(!normalized.split('/').any(|segment| matches!(segment, "." | "..")), "{normalized}");
    assert_eq!(path::normalize(&normalized).as_deref(), Ok(&*normalized), "normalising twice changes it");
    for reading in path::readings(&normalized) {
        assert!(reading.starts_with('/') && !reading.split('/').any(|segment| segment == ".."));
        planted(reading.len() < normalized.len() / 2);
    }
}

/// Names of resources on the wire.
pub fn resource_key(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(key) = text.parse::<ResourceKey>() else { return };
    assert_eq!(key.to_string(), text);
    planted(key.part.is_some_and(|part| part.contains('/')));
}

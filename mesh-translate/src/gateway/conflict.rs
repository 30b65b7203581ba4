//! Listeners that cannot stand beside one of higher precedence: another protocol on the port, or the same
//! hostname. The first in the order of precedence stays; nothing good is lost (GEP-1713).

use std::collections::BTreeMap;

use mesh_model::{ListenerProtocol, ListenerTls, Reason, Transport};

use super::super::Settings;
use super::super::feature::{Feature, off};
use super::listener::Draft;

/// Marks every listener that conflicts with an accepted one before it.
pub(super) fn decide(settings: &Settings, drafts: &mut [Draft<'_>]) {
    let mut ports: BTreeMap<(Transport, u16), Vec<usize>> = BTreeMap::new();
    for at in 0..drafts.len() {
        let Some(transport) = drafts[at].transport().filter(|_| drafts[at].refused.is_none()) else {
            continue;
        };
        let held = ports.entry((transport, drafts[at].object.port)).or_default();
        let clash = held.iter().find_map(|other| clash(settings, &drafts[*other], &drafts[at]));
        match clash {
            None => held.push(at),
            Some((reason, message)) => {
                let field = if reason == Reason::HostnameConflict { "hostname" } else { "protocol" };
                let path = drafts[at].path.field(field);
                drafts[at].report.error(reason, &path, message.clone(), "use another port or hostname");
                drafts[at].conflict = Some((reason, message));
            }
        }
    }
}

fn clash(settings: &Settings, first: &Draft<'_>, second: &Draft<'_>) -> Option<(Reason, String)> {
    let port = second.object.port;
    let (a, b) = (first.protocol?, second.protocol?);
    let holder = format!("listener {:?} of {}", first.object.name, first.entry.source.object);
    if family(a) != family(b) {
        let message = format!("port {port} carries {} for {holder}", first.object.protocol);
        return Some((Reason::ProtocolConflict, message));
    }
    if matches!(a, ListenerProtocol::Tcp | ListenerProtocol::Udp) {
        return Some((Reason::ProtocolConflict, format!("port {port} belongs to {holder}")));
    }
    let passes = |draft: &Draft<'_>| draft.tls == Some(ListenerTls::Passthrough);
    if a == b
        && a == ListenerProtocol::Tls
        && passes(first) != passes(second)
        && !settings.has(Feature::TlsMixed)
    {
        return Some((Reason::ProtocolConflict, off(Feature::TlsMixed)));
    }
    // Without isolation a request could be served by the routes of either listener.
    let isolated = match b {
        ListenerProtocol::Https => settings.has(Feature::Misdirected),
        _ => settings.has(Feature::ListenerIsolation),
    };
    let meet = !isolated && first.hostname.intersect(&second.hostname).is_some();
    let same = meet || first.hostname == second.hostname;
    same.then(|| {
        (Reason::HostnameConflict, format!("hostname {} of port {port} belongs to {holder}", first.hostname))
    })
}

/// Protocols of one family share a port; hostnames tell their listeners apart.
fn family(protocol: ListenerProtocol) -> u8 {
    match protocol {
        ListenerProtocol::Http => 0,
        ListenerProtocol::Https | ListenerProtocol::Tls => 1,
        ListenerProtocol::Tcp => 2,
        ListenerProtocol::Udp => 3,
    }
}

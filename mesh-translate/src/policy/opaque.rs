//! Rules that look at requests on ports that carry opaque connections: they cannot act there as meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::policy::PolicyRule;
use mesh_model::{AppProtocol, FieldPath, Reason};

use super::super::node::Index;
use super::super::output::Report;
use super::super::reader::Reader;
use super::super::service::app_protocol;
use crate::objects::{Process, Service};

/// Warns where a rule needs a request and a selected workload serves a port declared as opaque.
pub(super) fn check(
    reader: &Reader<'_>,
    namespace: &str,
    selector: &BTreeMap<Arc<str>, Arc<str>>,
    rules: &[PolicyRule],
    report: &mut Report,
) {
    let Some(at) = rules.iter().position(PolicyRule::needs_http) else { return };
    let ports: Vec<u16> = rules[at].to.iter().flat_map(|to| to.ports.any.iter().copied()).collect();
    let processes = reader.members::<Process>(Index::Processes(namespace.to_owned()));
    let chosen = processes.iter().filter(|(process, _)| {
        selector
            .iter()
            .all(|(key, value)| process.metadata.labels.get(&**key).is_some_and(|v| **v == **value))
    });
    let services = reader.members::<Service>(Index::Services(namespace.to_owned()));
    for (process, entry) in chosen {
        for (service, service_entry) in &services {
            let wanted = &service.spec.selector;
            let selects = !wanted.is_empty()
                && wanted.iter().all(|(key, value)| process.metadata.labels.get(key) == Some(value));
            let opaque = service.spec.ports.iter().find(|port| {
                let protocol = port.app_protocol.as_deref().and_then(app_protocol);
                let listed = ports.is_empty() || ports.contains(&port.port);
                listed && matches!(protocol, Some(AppProtocol::Tcp | AppProtocol::Tls))
            });
            if let (true, Some(port)) = (selects, opaque) {
                let message = format!(
                    "the rule looks at requests, but port {} of service {} carries opaque connections to {}",
                    port.port,
                    service_entry.name(),
                    entry.name()
                );
                let right =
                    "name the HTTP ports in operation.ports, or set appProtocol: http on the service's port";
                let path = FieldPath::from("spec.rules").index(at);
                report.warning(Reason::InvalidValue, &path, message, right);
                return;
            }
        }
    }
}

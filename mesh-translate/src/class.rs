//! Gateway classes: which are ours. No gateways.

use mesh_model::{FieldPath, ObjectName};

use super::output::{Output, Report};
use super::reader::Reader;
use crate::objects::{GatewayClass, ObjectKind};
use crate::status::{Condition, ObjectStatus, StatusBody, SupportedFeature};

/// To whom a class belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// No class of the name.
    Nobody,
    /// Another controller.
    Other,
    /// This controller.
    Ours,
}

/// To whom the class of a name belongs.
pub(super) fn owner(reader: &Reader<'_>, class: &str) -> Owner {
    match reader.object::<GatewayClass>(&ObjectName::new("", class)) {
        Some((object, _)) if object.spec.controller_name == reader.settings().controller_name => Owner::Ours,
        Some(_) => Owner::Other,
        None if reader.settings().builtin_classes.contains(class) => Owner::Ours,
        None => Owner::Nobody,
    }
}

pub(super) fn class(reader: &Reader<'_>, name: &ObjectName) -> Option<Output> {
    let (object, entry) = reader.object::<GatewayClass>(name)?;
    if object.spec.controller_name != reader.settings().controller_name {
        return Some(Output::default());
    }
    let mut report = Report::on(&entry.source);
    let accepted = if object.spec.parameters_ref.is_some() {
        report.unsupported(&FieldPath::from("spec.parametersRef"), "a reference to parameters");
        let message = "parameters are not supported";
        Condition::fails("Accepted", "InvalidParameters", message, entry.generation())
    } else {
        Condition::holds("Accepted", "Accepted", entry.generation())
    };
    let supported = reader.settings().features().map(|feature| SupportedFeature { name: feature.as_str() });
    let body =
        StatusBody::GatewayClass { conditions: vec![accepted], supported_features: supported.collect() };
    let status = ObjectStatus { kind: ObjectKind::GatewayClass, name: name.clone(), body };
    Some(Output { findings: report.findings, statuses: vec![status], ..Output::default() })
}

//! Every type has every field and every value of its schema: what a schema allows is read and printed back.

use mesh_controller::objects::{Object, ObjectKind};
use serde_json::{Value as Json, json};

use crate::builder::full;
use crate::definitions::{own_kinds, versions, with_metadata};

/// More than the longest list of allowed values has.
const VARIANTS: usize = 12;

fn check(api_version: &str, kind: &str, schema: &Json) {
    let known =
        ObjectKind::find(api_version, kind).unwrap_or_else(|| panic!("{api_version} {kind} is not read"));
    for index in 0..VARIANTS {
        let mut value = full(schema, index);
        value["apiVersion"] = json!(api_version);
        value["kind"] = json!(kind);
        let object = Object::parse(known, value.clone())
            .unwrap_or_else(|error| panic!("{api_version} {kind}, variant {index}: {error}\n{value:#}"));
        let printed = object.print().expect("objects can be printed");
        assert_eq!(printed, value, "{api_version} {kind}, variant {index}");
    }
}

#[test]
fn types_of_the_gateway_api_have_every_field_and_value_of_both_channels() {
    for channel in ["experimental", "standard"] {
        for version in versions(channel).values() {
            check(&version.api_version, &version.kind, &with_metadata(&version.schema));
        }
    }
}

#[test]
fn our_own_types_have_every_field_and_value_of_their_schemas() {
    for (name, schema) in own_kinds() {
        let (api_version, kind) = name.split_once(' ').expect("version and kind");
        check(api_version, kind, &schema);
    }
}

#[test]
fn every_kind_that_is_read_has_a_schema_in_every_version() {
    let own = own_kinds();
    for kind in ObjectKind::ALL {
        for version in kind.versions() {
            let group = kind.group();
            let api_version =
                if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
            let name = format!("{api_version} {}", kind.as_str());
            assert!(own.contains_key(&name) || versions("experimental").contains_key(&name), "{name}");
        }
    }
}

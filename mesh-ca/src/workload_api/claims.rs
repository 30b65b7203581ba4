//! JSON as `google.protobuf.Struct`. Nothing here knows tokens.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Value as Json};

/// An object. Numbers become doubles, for the type has no others.
pub(super) fn of_object(object: Map<String, Json>) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, of_value(value))).collect() }
}

fn of_value(value: Json) -> Value {
    let kind = match value {
        Json::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(of_value).collect() })
        }
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Null => Kind::NullValue(0),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::Object(object) => Kind::StructValue(of_object(object)),
        Json::String(text) => Kind::StringValue(text),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_arrives() {
        let Json::Object(object) = json!({"a": [1, "b", null], "c": {"d": true}}) else { unreachable!() };
        let fields = of_object(object).fields;
        let kind = |kind: Kind| Value { kind: Some(kind) };
        let list =
            vec![kind(Kind::NumberValue(1.0)), kind(Kind::StringValue("b".into())), kind(Kind::NullValue(0))];
        assert_eq!(fields["a"], kind(Kind::ListValue(ListValue { values: list })));
        let inner = Struct { fields: [("d".to_owned(), kind(Kind::BoolValue(true)))].into() };
        assert_eq!(fields["c"], kind(Kind::StructValue(inner)));
    }
}

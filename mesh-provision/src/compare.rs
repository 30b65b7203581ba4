//! Whether what is in the cluster says what it should, so that nothing equal is written again.

use aws_lc_rs::digest;
use serde_json::{Value, json};

/// Whether a live object says everything that is wanted. It may say more: defaults, and fields of others. Lists
/// must have as many items as wanted, in any order, for an API server merges some by key.
pub fn includes(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            live.get(key).map_or_else(|| is_nothing(wanted), |live| includes(live, wanted))
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && wanted.iter().all(|w| live.iter().any(|l| includes(l, w)))
        }
        (live, wanted) => live == wanted,
    }
}

/// Servers leave out what is empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The object with a fingerprint of itself among its annotations: when something is not wanted any more, what is
/// wanted is still included in what is there, but the fingerprint differs.
pub fn fingerprint(mut body: Value, annotation: &str) -> Value {
    let print = digest(&body.to_string());
    body["metadata"]["annotations"][annotation] = json!(print);
    body
}

/// 16 hexadecimal digits of a text's SHA-256.
pub(super) fn digest(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_object_may_say_more_but_not_less_and_nothing_else() {
        let wanted = json!({"labels": {"a": "1"}, "ports": [{"port": 80}, {"port": 443}], "args": []});
        let table = [
            (json!({"labels": {"a": "1", "b": "2"}, "ports": [{"port": 80, "x": 1}, {"port": 443}]}), true),
            (json!({"labels": {"a": "1"}, "ports": [{"port": 443}, {"port": 80}], "args": []}), true),
            (json!({"labels": {"a": "2"}, "ports": [{"port": 80}, {"port": 443}]}), false),
            (json!({"labels": {"a": "1"}, "ports": [{"port": 80}]}), false),
            (json!({"labels": {"a": "1"}, "ports": [{"port": 80}, {"port": 443}, {"port": 1}]}), false),
            (json!({"ports": [{"port": 80}, {"port": 443}]}), false),
        ];
        for (live, expected) in table {
            assert_eq!(includes(&live, &wanted), expected, "{live}");
        }
    }

    #[test]
    fn a_fingerprint_tells_what_is_not_wanted_any_more() {
        let print = |body: Value| fingerprint(body, "a")["metadata"]["annotations"]["a"].clone();
        let (more, less) = (json!({"data": {"a": "1", "b": "2"}}), json!({"data": {"a": "1"}}));
        assert!(includes(&more, &less));
        assert_ne!(print(more), print(less.clone()));
        assert_eq!(print(less.clone()), print(less));
    }
}

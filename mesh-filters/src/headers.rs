//! Header edits (Gateway API, `HTTPHeaderFilter`): set replaces, add appends, remove drops.

use http::{HeaderMap, HeaderName};
use mesh_model::filter::HeaderEdit;

use crate::names;

/// Edits headers. Headers that frame the message or that only the mesh may write stay as they are.
pub fn apply(edit: &HeaderEdit, headers: &mut HeaderMap) {
    for line in edit.set.iter().filter(|line| may_edit(&line.name)) {
        headers.insert(&line.name, line.value.clone());
    }
    for line in edit.add.iter().filter(|line| may_edit(&line.name)) {
        headers.append(&line.name, line.value.clone());
    }
    for name in edit.remove.iter().filter(|name| may_edit(&name.0)) {
        headers.remove(&name.0);
    }
}

/// Whether filters and services may change a header of this name.
pub fn may_edit(name: &HeaderName) -> bool {
    const FRAMING: [&str; 6] =
        ["connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"];
    !FRAMING.contains(&name.as_str()) && !names::is_ours(name.as_str())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use mesh_model::filter::{HeaderKey, HeaderLine};

    use super::*;

    #[test]
    fn edits_replace_append_and_drop_but_never_reframe() {
        let line = |name: &'static str, value: &'static str| HeaderLine {
            name: HeaderName::from_static(name),
            value: HeaderValue::from_static(value),
        };
        let edit = HeaderEdit {
            set: vec![line("x-set", "new"), line("content-length", "7")],
            add: vec![line("x-add", "two"), line("x-mesh-http1", "1")],
            remove: vec![HeaderKey(HeaderName::from_static("x-gone"))],
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-set", "a"), ("x-set", "b"), ("x-add", "one"), ("x-gone", "x")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        apply(&edit, &mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("x-set"), all("x-add")), (vec!["new"], vec!["one", "two"]));
        assert_eq!(headers.len(), 3);
    }
}

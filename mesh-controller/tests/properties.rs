//! Properties of reading and printing: what is printed is read back equal, and no text takes the reader down.

use std::sync::Arc;

use mesh_controller::objects::Object;
use mesh_controller::source::{FileSource, load};
use mesh_controller::yaml;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value as Json, json};

fn any_text() -> impl Strategy<Value = String> {
    let words =
        ["yes", "n", "~", "", "0755", "1e3", ".inf", "- a", "a: b", "#x", "'", "\"", "---", "*a", "&a", "<<"];
    prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        "[ -~]{0,12}",
        "[^\\x00-\\x1f\\x7f-\\x9f\u{feff}\u{fffe}\u{ffff}]{0,6}"
    ]
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any_text().prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(any_text(), inner, 0..6)
                .prop_map(|map| Json::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Block style: every collection that is not empty on lines of its own, texts in double quotes.
fn block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                *out += &format!("\n{pad}-");
                block(item, indent + 2, out);
            }
        }
        Json::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                *out += &format!("\n{pad}{}:", Json::from(key.as_str()));
                block(field, indent + 2, out);
            }
        }
        scalar => *out += &format!(" {scalar}"),
    }
}

fn read_one(text: &str) -> Option<Json> {
    let documents = yaml::read(text.as_bytes());
    assert!(documents.len() <= 1, "{text:?} is {} documents", documents.len());
    documents.first().map(|document| match &document.root {
        Ok(root) => root.to_json(),
        Err(error) => panic!("{error} at {} in {text:?}", error.position),
    })
}

/// A valid route, with what the numbers choose.
fn route(name: &str, choices: &[u8]) -> Json {
    let at = |index: usize| usize::from(choices.get(index).copied().unwrap_or(0));
    let rules: Vec<Json> = (0..1 + at(0) % 4)
        .map(|rule| {
            let kind = ["Exact", "PathPrefix"][at(rule + 1) % 2];
            let path = json!({"type": kind, "value": format!("/{}", at(rule + 2))});
            let headers = json!([{"name": "x-a", "value": format!("v{}", at(rule + 3))}]);
            let modifier = json!({"set": [{"name": "x-b", "value": "1"}], "remove": ["x-c"]});
            let filters = match at(rule + 4) % 3 {
                0 => json!([]),
                1 => json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": modifier}]),
                _ => json!([{"type": "URLRewrite", "urlRewrite": {"hostname": "a.test"}}]),
            };
            let (name, port) = (format!("s{}", at(rule + 5)), 80 + at(rule + 6));
            let backends = json!([{"name": name, "port": port, "weight": at(rule + 7)}]);
            json!({"matches": [{"path": path, "headers": headers}], "filters": filters, "backendRefs": backends})
        })
        .collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "g"}], "hostnames": [format!("h{}.test", at(9))], "rules": rules}
    })
}

fn printed(objects: &[Object]) -> Vec<Json> {
    objects.iter().map(|object| object.print().expect("objects can be printed")).collect()
}

fn objects(text: &str) -> Vec<Object> {
    let loaded = load(text.as_bytes(), &Arc::from("a.yaml"));
    loaded.objects.iter().map(|stored| stored.object().clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(0x5EED), ..ProptestConfig::default() })]

    #[test]
    fn any_value_is_read_back_from_json_and_from_block_style(value in any_json()) {
        let expected = Some(value.clone()).filter(|value| !value.is_null());
        prop_assert_eq!(&read_one(&value.to_string()), &expected);
        prop_assert_eq!(&read_one(&format!("{value:#}")), &expected);
        let mut text = String::from("---");
        block(&value, 0, &mut text);
        prop_assert_eq!(&read_one(&text), &expected, "{}", text);
        prop_assert_eq!(&read_one(&text.replace('\n', "\r\n")), &expected, "{}", text);
    }

    #[test]
    fn no_text_takes_the_reader_down_and_places_are_inside(text in "[-a:{}\\[\\] \n\t\r'\"|>&*!%#?,0]{0,60}") {
        let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("a short text");
        for document in yaml::read(text.as_bytes()) {
            let position = document.root.map_or_else(|error| error.position, |root| root.position);
            let line = document.line_offset + position.line;
            prop_assert!((1..=lines + 1).contains(&line) && position.column >= 1, "{} of {}", line, lines);
        }
    }

    #[test]
    fn what_is_printed_is_read_back_equal(choices in prop::collection::vec(any::<u8>(), 12)) {
        let first = objects(&route("a", &choices).to_string());
        prop_assert_eq!(first.len(), 1);
        let text = printed(&first)[0].to_string();
        prop_assert_eq!(&objects(&text), &first);
        prop_assert_eq!(printed(&objects(&text)), printed(&first));
    }

    #[test]
    fn a_damaged_manifest_is_a_finding_or_an_object_and_spares_its_neighbours(
        choices in prop::collection::vec(any::<u8>(), 12), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut damaged = format!("{:#}", route("damaged", &choices)).into_bytes();
        let at = at.index(damaged.len());
        // A line that begins a document belongs to the stream, not to the manifest.
        prop_assume!(byte < 0x80 && !matches!(byte, b'-' | b'.'));
        damaged[at] = byte;
        let around = |name: &str| format!("\n---\n{}\n---\n", route(name, &choices));
        let text = [around("before").as_bytes(), &damaged, around("after").as_bytes()].concat();
        let loaded = load(&text, &Arc::from("a.yaml"));
        let names: Vec<&str> = loaded.objects.iter().map(|stored| &*stored.name().name).collect();
        prop_assert_eq!(names.first(), Some(&"before"));
        prop_assert_eq!(names.last(), Some(&"after"));
        prop_assert_eq!(names.len() == 2, !loaded.findings.is_empty());
    }

    #[test]
    fn a_source_that_followed_every_edit_equals_one_that_reads_the_last(
        edits in prop::collection::vec(prop::collection::vec((0..5_u8, prop::collection::vec(any::<u8>(), 12)), 0..4), 1..6)
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "").expect("a file");
        let mut followed = FileSource::open(folder.path()).expect("a source");
        for edit in &edits {
            let documents = edit.iter().map(|(name, choices)| route(&format!("r{name}"), choices).to_string());
            std::fs::write(&path, documents.collect::<Vec<_>>().join("\n---\n")).expect("a file");
            followed.reread([path.as_path()]);
            let (now, mut fresh) = (followed.snapshot(), FileSource::open(folder.path()).expect("a source"));
            let fresh = fresh.snapshot();
            prop_assert!(now.store.changes_since(&fresh.store).is_empty());
            prop_assert_eq!(now.findings, fresh.findings);
        }
    }
}

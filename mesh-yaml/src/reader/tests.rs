//! Tests of the YAML reader: what it reads, what it refuses, and that it refuses in bounded time.

use mesh_model::FieldPath;
use serde_json::json;

use super::*;

fn one(text: &str) -> Result<serde_json::Value, SyntaxError> {
    let mut documents = read(text.as_bytes());
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).root.map(|node| node.to_json())
}

fn refused(text: &str) -> (Problem, (u32, u32)) {
    let error = one(text).expect_err("the text was read");
    (error.problem, (error.position.line, error.position.column))
}

#[test]
fn plain_scalars_mean_what_kubernetes_takes_them_for() {
    let table = [
        ("yes", json!(true)),
        ("y", json!(true)),
        ("ON", json!(true)),
        ("off", json!(false)),
        ("\"yes\"", json!("yes")),
        ("'on'", json!("on")),
        ("!!str yes", json!("yes")),
        ("yEs", json!("yEs")),
        ("12", json!(12)),
        ("-12", json!(-12)),
        ("+12", json!(12)),
        ("1_000", json!(1000)),
        ("0755", json!(493)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("0b101", json!(5)),
        ("0", json!(0)),
        ("089", json!(89)),
        ("18446744073709551615", json!(18446744073709551615_u64)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1e3", json!(1000)),
        ("80.0", json!(80)),
        ("-0.0", json!(0)),
        ("1.", json!(1)),
        ("1_000.5", json!(1000.5)),
        ("1e999", json!("1e999")),
        ("-0x10", json!(-16)),
        ("_1", json!("_1")),
        ("0b2", json!("0b2")),
        ("1.2.3.4", json!("1.2.3.4")),
        ("10.0.0.0/8", json!("10.0.0.0/8")),
        ("12:30", json!("12:30")),
        ("2026-01-01", json!("2026-01-01")),
        ("2026-01-01T00:00:00Z", json!("2026-01-01T00:00:00Z")),
        ("-", json!([null])),
        ("--", json!("--")),
        ("1h30m", json!("1h30m")),
        ("0x", json!("0x")),
        ("+0x-5", json!("+0x-5")),
    ];
    for (text, expected) in table {
        assert_eq!(one(text), Ok(expected), "{text:?}");
    }
    assert_eq!(one("a: ~\nb: null\nc:\n"), Ok(json!({"a": null, "b": null, "c": null})));
    for text in [".inf", "-.Inf", ".nan"] {
        assert!(matches!(refused(text).0, Problem::NotFinite(_)), "{text:?}");
    }
}

#[test]
fn collections_quotes_and_block_texts_are_read() {
    let text = "# head\na:\n  - b: \"x\\ty\"\n    c: 'it''s'\n  - [1, {d: 2}]\ne: |\n  line\n\n  two\nf: >-\n  one\n  line\n";
    let expected = json!({
        "a": [{"b": "x\ty", "c": "it's"}, [1, {"d": 2}]], "e": "line\n\ntwo\n", "f": "one line"
    });
    assert_eq!(one(text), Ok(expected.clone()));
    assert_eq!(one(&text.replace('\n', "\r\n")), Ok(expected.clone()));
    assert_eq!(one(&format!("\u{feff}{text}")), Ok(expected));
}

#[test]
fn json_is_yaml() {
    let value =
        json!({"a": [1, 2.5, true, null, "x\"y\\z/\n"], "b": {}, "c": [], "long key with: colon": "é"});
    for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
        assert_eq!(one(&text), Ok(value.clone()), "{text}");
    }
    assert_eq!(one("{\n\t\"a\": 1,\n\t\"b\": [\n\t\t2\n\t]\n}\n"), Ok(json!({"a": 1, "b": [2]})));
}

#[test]
fn documents_are_apart_and_a_bad_one_spares_the_others() {
    let text = "# only a comment\n---\na: 1\n---\nb: [\n---\nc: \"never closed\n---\n...\n--- # next\nd: 4\n...\ne: 5\n";
    let documents = read(text.as_bytes());
    let seen: Vec<_> =
        documents.iter().map(|d| (d.line_offset, d.root.as_ref().ok().map(Node::to_json))).collect();
    let expected = [
        (0, Some(json!({"a": 1}))),
        (3, None),
        (5, None),
        (9, Some(json!({"d": 4}))),
        (12, Some(json!({"e": 5}))),
    ];
    assert_eq!(seen, expected);
    assert!(read(b"").is_empty() && read(b"---\n---\n# x\n").is_empty());
    assert_eq!(one("%YAML 1.2\n---\na: 1\n"), Ok(json!({"a": 1})));
    assert_eq!(one("a: |\n  ---x\n  --- y\n"), Ok(json!({"a": "---x\n--- y\n"})));
}

#[test]
fn duplicate_keys_are_refused_with_both_places() {
    let (problem, place) = refused("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n");
    assert_eq!(problem, Problem::DuplicateKey { key: "c".into(), first: Position { line: 3, column: 3 } });
    assert_eq!(place, (5, 3));
    assert_eq!(problem.to_string(), "the key \"c\" is there twice, first at 3:3");
}

#[test]
fn keys_must_be_texts() {
    for text in ["1: a", "true: a", "~: a", "[a]: b", "{a: b}: c", "? [x]\n: y"] {
        assert!(matches!(refused(text).0, Problem::KeyType(_)), "{text:?}");
    }
    assert_eq!(one("\"1\": a\n'on': b\n"), Ok(json!({"1": "a", "on": "b"})));
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let text = "x: &x {a: 1, b: [2]}\nv: *x\nz:\n  <<: *x\n  a: 9\nw:\n  <<: [{c: 3}, *x]\n";
    let expected = json!({
        "x": {"a": 1, "b": [2]}, "v": {"a": 1, "b": [2]}, "z": {"a": 9, "b": [2]}, "w": {"c": 3, "a": 1, "b": [2]}
    });
    assert_eq!(one(text), Ok(expected));
    assert_eq!(refused("a: &a [*a]").0, Problem::EndlessAlias);
    assert!(matches!(refused("a: *b").0, Problem::Syntax(_)));
    assert_eq!(refused("<<: 1").0, Problem::Merge);
}

#[test]
fn alias_bombs_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
    }
    assert_eq!(refused(&text).0, Problem::TooManyCopies);
}

#[test]
fn ten_megabytes_of_nesting_are_refused() {
    let size = 10 * 1024 * 1024;
    for text in ["[".repeat(size), "{a: ".repeat(size / 4), "- ".repeat(size / 2)] {
        assert_eq!(refused(&text).0, Problem::TooDeep, "{:?}", &text[..4]);
    }
    let stairs: String = (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(refused(&stairs), (Problem::TooDeep, (65, 65)));
}

#[test]
fn sixty_four_levels_are_read_and_one_more_is_not() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(one(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refused(&nested(MAX_DEPTH + 1)).0, Problem::TooDeep);
}

#[test]
fn texts_that_are_not_yaml_are_refused_at_their_place() {
    let table = [
        ("a: b: c\n", (1, 5)),
        ("a: 1\n\tb: 2\n", (2, 1)),
        ("a:\n  b: 1\n \tc: 2\n", (3, 1)),
        ("a: 'x\n", (1, 4)),
        ("a: [1\nb: 2\n", (2, 2)),
        ("a: 1\n b: 2\n", (2, 3)),
        ("- a\nb: c\n", (2, 1)),
        ("a: !foo 1", (1, 4)),
        ("a: !!int x", (1, 4)),
        ("a: 1\nb\0: 2", (2, 2)),
        ("a: \u{1b}", (1, 4)),
    ];
    for (text, expected) in table {
        let (problem, place) = refused(text);
        assert_eq!(place, expected, "{text:?}: {problem}");
    }
    assert_eq!(refused("a: 1\nb\0: 2"), (Problem::Character('\0'), (2, 2)));
    let documents = read(b"a: 1\nb: \xff\n");
    let error = documents[0].root.clone().expect_err("bytes that are not UTF-8");
    assert_eq!((error.problem, error.position), (Problem::NotUtf8, Position { line: 2, column: 4 }));
    let large = vec![b' '; MAX_BYTES + 1];
    assert!(matches!(&read(&large)[0].root, Err(error) if error.problem == Problem::TooLarge(MAX_BYTES + 1)));
}

#[test]
fn fields_are_found_by_their_path() {
    let text =
        "metadata:\n  labels:\n    a.b/c: x\nspec:\n  rules:\n  - name: a\n  - name: b\n    port:  80\n";
    let root = read(text.as_bytes()).remove(0).root.unwrap();
    let spec = FieldPath::root().field("spec");
    let rule = spec.field("rules").index(1);
    let table = [
        (FieldPath::root(), (1, 1)),
        (rule.clone(), (7, 5)),
        (rule.field("port"), (8, 12)),
        (rule.field("missing").field("deeper"), (7, 5)),
        (spec.field("rules").index(7), (6, 5)),
        (FieldPath::root().field("metadata").field("labels").field("a.b/c"), (3, 12)),
    ];
    for (path, expected) in table {
        let position = root.position(&path);
        assert_eq!((position.line, position.column), expected, "{path}");
    }
}

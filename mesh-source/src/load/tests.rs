//! Tests of reading texts: bad documents, duplicates, places.

use super::*;
use mesh_model::Reason;
use mesh_objects::{HttpRoute, ObjectKind};

fn read(text: &str) -> Loaded {
    load(text.as_bytes(), &Arc::from("a.yaml"))
}

fn lines(text: &str) -> Vec<String> {
    read(text).findings.iter().map(ToString::to_string).collect()
}

const GOOD: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: kept\n";

/// Reads a text between two good documents and returns its findings; the good ones must survive.
fn between(text: &str) -> Vec<String> {
    let loaded = read(&format!("{GOOD}---\n{text}\n---\n{}", GOOD.replace("kept", "kept-too")));
    let names: Vec<_> = loaded.objects.iter().map(|stored| stored.name().name.to_string()).collect();
    assert_eq!(names, ["kept", "kept-too"], "{text}");
    loaded.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bad_document_is_named_and_spares_the_others() {
    let deep = format!("a: {}", "[".repeat(100));
    let table = [
        ("a: [", "error[MESH0100] a.yaml:7:1: while parsing a node, did not find expected node content"),
        (
            "kind: A\nkind: B",
            "error[MESH0101] a.yaml:7:1: the key \"kind\" is there twice, first at 6:1; keep one of the two",
        ),
        (&deep, "error[MESH0100] a.yaml:6:67: nested deeper than 64 levels"),
        (
            "1: a",
            "error[MESH0100] a.yaml:6:1: a key must be a text, and this is a number; put quotes around the key",
        ),
        ("- a", "error[MESH0104] a.yaml:6:1: an object must be a mapping, and this is a list"),
        ("a: 1", "error[MESH0105] a.yaml:6:1: apiVersion: the field apiVersion is missing"),
        ("apiVersion: v1\nkind: 7", "error[MESH0104] a.yaml:7:7: kind: this must be a text, and is a number"),
        (
            "apiVersion: v1\nkind: Servce\nmetadata: {name: a}",
            "error[MESH0103] a.yaml:7:7: Servce default/a: kind: the kind Servce of v1 is not known; did you mean Service?",
        ),
        (
            "apiVersion: v1beta1\nkind: Service",
            "error[MESH0103] a.yaml:6:13: apiVersion: Service is not known in v1beta1; write v1",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment",
            "error[MESH0103] a.yaml:7:7: kind: the kind Deployment of apps/v1 is not known; known groups are the core \
             group, gateway.networking.k8s.io, security.mesh.io, local.mesh.io, discovery.k8s.io",
        ),
        (
            "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XMesh",
            "error[MESH0206] a.yaml:7:7: kind: XMesh is experimental, and of clusters only",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  nam: x",
            "error[MESH0102] a.yaml:9:3: metadata.nam: there is no field \"nam\" here; did you mean name?",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: yes",
            "error[MESH0104] a.yaml:9:9: metadata.name: this must be a text, and is a truth value; put quotes around it",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(between(text), [expected], "{text}");
    }
}

#[test]
fn of_two_equal_objects_the_first_counts_and_both_places_are_named() {
    let text = format!("{GOOD}---\n{GOOD}  labels: {{second: \"1\"}}\n");
    let loaded = read(&text);
    assert_eq!(loaded.objects.len(), 1);
    assert!(loaded.objects[0].object().metadata().labels.is_empty());
    assert_eq!(
        lines(&text),
        [
            "error[MESH0107] a.yaml:9:9: Namespace /kept: metadata.name: this object is already described at a.yaml:1, \
          and that one counts; rename or remove one of the two"
        ]
    );
}

#[test]
fn lists_are_taken_apart() {
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {}", GOOD.trim_end().replace('\n', "\n  "));
    let loaded = read(&text);
    assert_eq!((loaded.objects.len(), loaded.findings.len()), (1, 0), "{:?}", loaded.findings);
    assert_eq!(loaded.objects[0].source().to_string(), "Namespace /kept (a.yaml:4)");
}

#[test]
fn a_route_of_ten_thousand_rules_is_refused_in_one_sentence() {
    let rules = "  - backendRefs: [{name: a, port: 80}]\n".repeat(10_000);
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a}}\nspec:\n  rules:\n{rules}"
    );
    assert_eq!(
        between(text.trim_end()),
        ["error[MESH0104] a.yaml:11:5: HTTPRoute default/a: spec.rules: 10000 items are here; at most 16"]
    );
}

#[test]
fn many_mistakes_in_one_object_are_cut_short() {
    let fields: String = (0..10_000).map(|number| format!("x{number}: 1\n")).collect();
    let found =
        between(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n{}", fields.trim_end()));
    assert_eq!(found.len(), mesh_objects::schema::MAX_VIOLATIONS);
    assert!(found[24].contains("more problems in this object"), "{}", found[24]);
}

#[test]
fn a_text_that_is_not_utf_8_is_one_finding() {
    let loaded = load(b"a: 1\nb: \xff", &Arc::from("a.yaml"));
    assert_eq!(loaded.findings[0].to_string(), "error[MESH0100] a.yaml:2:4: the text is not UTF-8");
    assert!(loaded.unreadable);
}

#[test]
fn findings_of_later_steps_find_their_place() {
    let text = format!(
        "{GOOD}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: r\nspec:\n  rules:\n  \
         - backendRefs:\n    - name: gone\n      port: 80\n"
    );
    let loaded = read(&text);
    let stored =
        loaded.objects.iter().find(|o| o.object().kind() == ObjectKind::HttpRoute).expect("the route");
    let route = stored.get::<HttpRoute>().expect("a route");
    assert_eq!(route.spec.rules[0].backend_refs[0].weight, 1);
    let path = mesh_model::FieldPath::from("spec.rules[0].backendRefs[0].name");
    let finding = stored.finding(Reason::BackendNotFound, path, "Service default/gone does not exist");
    assert_eq!(
        finding.to_string(),
        "error[MESH0200] a.yaml:13:13: HTTPRoute default/r: spec.rules[0].backendRefs[0].name: Service default/gone does \
         not exist"
    );
}

#[test]
fn unchanged_documents_are_not_parsed_again() {
    let mut cache = Cache::default();
    let file: Arc<str> = Arc::from("a.yaml");
    let text = |name: &str| format!("{}---\n{GOOD}", GOOD.replace("kept", name));
    let first = cache.load(text("one").as_bytes(), &file);
    let second = cache.load(format!("# moved\n\n{}", text("two")).as_bytes(), &file);
    let kept = |loaded: &Loaded| {
        loaded.objects.iter().find(|o| &*o.name().name == "kept").map(|o| o.place().cloned())
    };
    let (first, second) = (kept(&first).flatten().expect("there"), kept(&second).flatten().expect("there"));
    assert!(Arc::ptr_eq(&first.root, &second.root));
    assert_eq!((first.line_offset, second.line_offset), (4, 6));
}

#[test]
fn secrets_are_in_no_debug_text() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: hunter2}\ndata: {key: aHVudGVyMg==}\n";
    let mut cache = Cache::default();
    let loaded = cache.load(text.as_bytes(), &Arc::from("a.yaml"));
    let secret = loaded.objects[0].get::<mesh_objects::Secret>().expect("a secret");
    assert_eq!(secret.value("key"), Some(&b"hunter2"[..]));
    let root = &loaded.objects[0].place().expect("a place").root;
    for shown in [format!("{loaded:?}"), format!("{cache:?}"), format!("{root:?}"), format!("{secret:?}")] {
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
    }
}

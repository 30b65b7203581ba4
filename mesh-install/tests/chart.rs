//! The chart, rendered by Helm's own engine, against what this crate renders for the same values.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mesh_install::render::NAMESPACE;
use mesh_install::values::{OPEN, UNSUPPORTED};
use mesh_install::{Values, manifest, render};
use serde_json::{Value as Json, json};

/// Settings, as `--set` takes them, and the same as the chart's values.
fn cases() -> Vec<(&'static str, Vec<&'static str>, Json)> {
    vec![
        (NAMESPACE, vec![], json!({})),
        ("mesh-test", vec!["profile=production"], json!({"profile": "production"})),
        (NAMESPACE, vec!["profile=demo", "replicas=3"], json!({"profile": "demo", "replicas": 3})),
        (NAMESPACE, vec!["security.enabled=true"], json!({"security": {"enabled": true}})),
        (
            NAMESPACE,
            vec!["profile=production", "security.enabled=false", "security.acceptOpen=true"],
            json!({"profile": "production", "security": {"enabled": false, "acceptOpen": true}}),
        ),
        (NAMESPACE, vec!["security.tokensAnywhere=true"], json!({"security": {"tokensAnywhere": true}})),
        ("mesh-test", vec!["node.enabled=true"], json!({"node": {"enabled": true}})),
        (
            NAMESPACE,
            vec![
                "node.enabled=true",
                "node.graceSeconds=120",
                "image.node=r.test/n:1",
                "observability.enabled=false",
            ],
            json!({"node": {"enabled": true, "graceSeconds": 120}, "image": {"node": "r.test/n:1"}, "observability": {"enabled": false}}),
        ),
        (NAMESPACE, vec!["observability.enabled=false"], json!({"observability": {"enabled": false}})),
        (
            NAMESPACE,
            vec!["trustDomain=mesh.test", "controllerName=mesh.test/c", "image.pullPolicy=Always"],
            json!({"trustDomain": "mesh.test", "controllerName": "mesh.test/c", "image": {"pullPolicy": "Always"}}),
        ),
        (
            NAMESPACE,
            vec!["image.controller=r.test/c:1", "image.proxy=r.test/p:1"],
            json!({"image": {"controller": "r.test/c:1", "proxy": "r.test/p:1"}}),
        ),
    ]
}

/// Answers of the renderer: first the complaints of the linter, then one per case.
fn helm(python: &Path, cases: &[Json]) -> Vec<Json> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chart = here.parent().map(PathBuf::from).expect("a workspace").join("helm/service-mesh");
    let mut command = Command::new(python);
    command.arg(here.join("tests/chart.py")).arg(chart).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python starts");
    let mut stdin = child.stdin.take().expect("the input is piped");
    for case in cases {
        writeln!(stdin, "{case}").expect("the renderer reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("the renderer ends");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let answers: Vec<Json> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert_eq!(answers.len(), cases.len() + 1, "{text}");
    answers
}

fn objects(texts: &Json) -> Vec<Json> {
    let texts = texts.as_array().into_iter().flatten().filter_map(Json::as_str);
    let documents = texts.flat_map(|text| mesh_yaml::read(text.as_bytes()));
    let values = documents.map(|document| document.root.expect("the chart renders YAML").to_json());
    values.filter(|value| !value.is_null()).collect()
}

/// Whether Helm takes an object for its own work, which `meshctl` does by itself.
fn is_hook(object: &Json) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

fn by_name(objects: impl IntoIterator<Item = Json>) -> BTreeMap<String, Json> {
    let name = |object: &Json| format!("{} {}", object["kind"], object["metadata"]["name"]);
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

#[test]
fn the_chart_renders_what_meshctl_installs_and_refuses_what_it_refuses() {
    let Some(python) = testkit::config::python() else {
        return testkit::skip("SERVICE_MESH_PYTHON names no Python with Helm's engine; make test sets it");
    };
    let mut asked: Vec<Json> = cases()
        .into_iter()
        .map(|(namespace, _, values)| json!({"namespace": namespace, "values": values}))
        .collect();
    let refused = [
        json!({"global": {"domain": "mesh.test"}}),
        json!({"istio": {"enabled": true}}),
        json!({"multiCluster": {"enabled": true}}),
    ];
    asked.extend(refused.map(|values| json!({"namespace": NAMESPACE, "values": values})));
    let open = json!({"profile": "production", "security": {"enabled": false}});
    asked.push(json!({"namespace": NAMESPACE, "values": open}));
    asked.push(json!({"namespace": NAMESPACE, "values": {"replicas": "two"}}));
    asked.push(json!({"namespace": NAMESPACE, "values": {"replica": 2}}));
    let answers = helm(&python, &asked);
    assert_eq!(answers[0], json!({"lint": []}));
    let mut answers = answers.into_iter().skip(1);
    for (namespace, settings, _) in cases() {
        let answer = answers.next().expect("one answer per case");
        let values = Values::of_settings(&settings).expect("the values exist");
        let ours = render(&values, namespace).objects;
        let ours = by_name(ours.iter().map(manifest::without_notes));
        let (hooks, theirs): (Vec<Json>, Vec<Json>) =
            objects(&answer["texts"]).into_iter().partition(is_hook);
        assert_eq!(by_name(theirs), ours, "{settings:?}: {answer}");
        assert_eq!(hooks.len(), 4, "{settings:?}: {hooks:?}");
    }
    for (key, reason) in UNSUPPORTED {
        let error = answers.next().expect("one answer per case")["error"].to_string();
        assert!(error.contains(&format!("{key} cannot be set: {reason}")), "{error}");
    }
    let error = answers.next().expect("one answer per case")["error"].to_string();
    assert!(error.contains(OPEN), "{error}");
    for answer in answers {
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("replica")), "{answer}");
    }
}

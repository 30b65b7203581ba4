//! `meshctl install`: what it prints without a cluster, and what it says when values or a kubeconfig are wrong.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Command, Output};

fn meshctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(arguments)
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap()
}

fn error(arguments: &[&str]) -> String {
    let output = meshctl(arguments);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_dry_run_prints_the_static_manifest_our_definitions_and_the_class() {
    let output = meshctl(&["install", "--dry-run"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let documents = |path: &str| {
        let text = std::fs::read_to_string(format!("{root}/{path}")).unwrap();
        let lines: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
        lines.join("\n").split("---\n").map(|document| document.trim().to_owned()).collect::<Vec<_>>()
    };
    let mut printed: Vec<_> = text.split("---\n").map(|document| document.trim().to_owned()).collect();
    let mut expected = documents("kubernetes/controller-deployment.yaml");
    expected.extend(documents("kubernetes/gateway-class.yaml"));
    for file in std::fs::read_dir(format!("{root}/config/crd")).unwrap() {
        expected.extend(documents(&format!("config/crd/{}", file.unwrap().file_name().to_string_lossy())));
    }
    printed.sort();
    expected.sort();
    assert_eq!(printed, expected);
}

#[test]
fn unknown_profiles_and_values_list_the_known_ones() {
    let text = error(&["install", "--dry-run", "--set", "profile=large"]);
    assert!(text.contains("profiles are default, demo, production"), "{text}");
    let text = error(&["install", "--dry-run", "--set", "replica=2"]);
    assert!(text.contains("values are controllerName, gatewayClass.name"), "{text}");
}

#[test]
fn without_a_kubeconfig_it_says_where_it_looked() {
    for command in ["install", "uninstall"] {
        let text = error(&[command]);
        assert!(text.contains("there is no kubeconfig") && text.contains("/nonexistent"), "{text}");
    }
}

#[test]
fn the_completion_of_a_shell_knows_the_commands() {
    let output = meshctl(&["completion", "bash"]);
    let script = String::from_utf8(output.stdout).unwrap();
    assert!(script.contains("--skip-crds") && script.contains("--leave-gateways"));
}

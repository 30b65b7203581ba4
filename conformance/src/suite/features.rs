//! Each claimed feature is switched off once, and a test of it must fail then: a claim that nothing depends on is
//! none. Which test needs which feature is read from the suite's own source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};

use super::events::Outcome;
use super::{Run, play};
use crate::arguments::Arguments;
use crate::cluster::{Place, kubectl};
use crate::config::Config;
use crate::controller::{CONTROLLER, NAMESPACE, Names};
use crate::{golang, say};

/// Options of the task.
pub(crate) const OPTIONS: &[&str] = &["name", "only"];

/// A test that waits for what does not come need not wait as long as one that will pass.
const IMPATIENT: &str = "MaxTimeToConsistency:10;GatewayMustHaveAddress:20;GatewayMustHaveCondition:20;\
    GatewayStatusMustHaveListeners:10;GatewayListenersMustHaveConditions:10;HTTPRouteMustHaveCondition:10;\
    TLSRouteMustHaveCondition:10;TCPRouteMustHaveCondition:10;UDPRouteMustHaveCondition:10;\
    RouteMustHaveParents:10;ListenerSetMustHaveCondition:10;ListenerSetListenersMustHaveConditions:10;\
    DefaultTestTimeout:20";

/// Tests of one feature that are tried.
const MOST: usize = 8;

/// Seconds for one run of a few tests.
const LIMIT: u32 = 300;

/// Features that the suite names and does not test; `mesh-controller/tests/features.rs` does.
const OURS_ALONE: [&str; 2] = ["ClusterTrustBundle", "GatewayListenerFilters"];

/// The tests of each feature, those that need the fewest others first.
type Tests = BTreeMap<String, Vec<(usize, String)>>;

/// Runs against a running cluster with our controller, and leaves the controller as it was.
///
/// # Errors
/// Names the features without a test that fails.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    let tests = of_suite(config)?;
    let only: Option<BTreeSet<&str>> = given.get("only").map(|names| names.split(',').collect());
    let path = "-o=jsonpath={.status.supportedFeatures[*].name}";
    let claimed = kubectl(&place, &["get", "gatewayclass", &Names::usual().class, path])?;
    let claimed =
        claimed.split_whitespace().filter(|name| only.as_ref().is_none_or(|only| only.contains(name)));
    let before = kubectl(
        &place,
        &[NAMESPACE, "get", CONTROLLER, "-o=jsonpath={.spec.template.spec.containers[0].args}"],
    )?;
    let (mut rows, mut without) = (Vec::new(), Vec::new());
    let outcome = claimed.map(str::to_owned).try_for_each(|feature| {
        let names = tests.get(&feature).into_iter().flatten().take(MOST).map(|(_, test)| test.as_str());
        match dependent(config, &place, &before, (&feature, names))? {
            Some(test) => rows.push(format!("| {feature} | {test} |")),
            None if OURS_ALONE.contains(&feature.as_str()) => rows.push(format!("| {feature} | none |")),
            None => without.push(feature),
        }
        Ok(())
    });
    let restored = arguments(&place, &before);
    say("| feature | passes with it and fails without |\n|---|---|");
    rows.iter().for_each(|row| say(row));
    outcome.and(restored)?;
    if without.is_empty() { Ok(()) } else { bail!("no test depends on {}", without.join(" ")) }
}

/// The first of these tests that passes with the feature and fails without it.
fn dependent<'t>(
    config: &Config,
    place: &Place,
    before: &str,
    (feature, tests): (&str, impl Iterator<Item = &'t str>),
) -> anyhow::Result<Option<&'t str>> {
    let passes = |test: &str| {
        let mut run = Run::new(place, &Names::usual().class)
            .with("-all-features".to_owned())
            .with("-exempt-features=Mesh".to_owned())
            .with("-cleanup-base-resources=false".to_owned())
            .with(format!("-timeout-config-overrides={IMPATIENT}"))
            .only(test);
        run.limit = LIMIT;
        let results = play(config, place, &run)?;
        // Where even what all tests share does not come up, no test begins.
        let outcome = results.tests.get(test).map_or(Outcome::Failed, |test| test.outcome);
        Ok::<_, anyhow::Error>(outcome == Outcome::Passed)
    };
    let mut list: Vec<String> = serde_json::from_str(before).context("the controller's arguments")?;
    list.push(format!("--disable-feature={feature}"));
    let off = serde_json::to_string(&list)?;
    for test in tests {
        // A test of what must not happen may pass all the more; then another one has to tell.
        arguments(place, &off)?;
        if passes(test)? {
            continue;
        }
        arguments(place, before)?;
        if passes(test)? {
            return Ok(Some(test));
        }
    }
    Ok(None)
}

/// Gives the controller these arguments and waits for it.
fn arguments(place: &Place, list: &str) -> anyhow::Result<()> {
    let patch =
        format!(r#"[{{"op":"replace","path":"/spec/template/spec/containers/0/args","value":{list}}}]"#);
    kubectl(place, &[NAMESPACE, "patch", CONTROLLER, "--type=json", "--patch", &patch])?;
    kubectl(place, &[NAMESPACE, "rollout", "status", CONTROLLER, "--timeout=90s"]).map(drop)
}

/// What the suite's source says.
fn of_suite(config: &Config) -> anyhow::Result<Tests> {
    let suite = golang::module(config, "suite", "sigs.k8s.io/gateway-api/conformance")?;
    let api = golang::module(config, "suite", "sigs.k8s.io/gateway-api")?;
    let features = sources(&api.join("pkg/features"))?;
    let names = names(&features);
    let mut tests = Tests::new();
    for (test, symbols) in needs(&sources(&suite.join("tests"))?) {
        for symbol in &symbols {
            let name = names.get(symbol.as_str()).with_context(|| symbol.clone())?;
            tests.entry(name.clone()).or_default().push((symbols.len(), test.clone()));
        }
    }
    tests.values_mut().for_each(|tests| tests.sort_unstable());
    Ok(tests)
}

/// The text of all Go files of a folder.
fn sources(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "go") {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(text)
}

/// Names of features by their symbols: `SupportX FeatureName = "X"`, some without the type.
fn names(source: &str) -> BTreeMap<&str, String> {
    let constants = source.lines().map(str::trim).filter(|line| line.starts_with("Support"));
    let pairs = constants.filter_map(|line| line.split_once(" = \""));
    let symbol = |left: &'_ str| left.split_whitespace().next().map_or(0, str::len);
    pairs.map(|(left, value)| (&left[..symbol(left)], value.trim_end_matches('"').to_owned())).collect()
}

/// The symbols that each test of gateways names in its list of features.
fn needs(source: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for test in source.split("ConformanceTest{").skip(1) {
        let name = test.split_once("ShortName:").and_then(|(_, rest)| rest.split('"').nth(1));
        let list = test.split_once("[]features.FeatureName{").and_then(|(_, rest)| rest.split_once('}'));
        let (Some(name), Some((list, _))) = (name, list) else { continue };
        let symbols = list.split(',').filter_map(|word| word.trim().strip_prefix("features."));
        let symbols: Vec<String> = symbols.map(str::to_owned).collect();
        if symbols.iter().any(|symbol| symbol == "SupportGateway") {
            found.push((name.to_owned(), symbols));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_a_feature_are_read_from_go() {
        let features = "const (\n\t// It does.\n\tSupportGateway FeatureName = \"Gateway\"\n\tSupportX FeatureName = \"X\"\n\
                        \tSupportY = \"Y\"\n)";
        let names = names(features);
        assert_eq!(names.get("SupportX").map(String::as_str), Some("X"));
        assert_eq!(names.get("SupportY").map(String::as_str), Some("Y"));
        let source = "var A = confsuite.ConformanceTest{\n\tShortName: \"A\",\n\tFeatures: []features.FeatureName{\n\
                      \t\tfeatures.SupportGateway,\n\t\tfeatures.SupportX,\n\t},\n}\n\
                      var B = confsuite.ConformanceTest{\n\tShortName: \"B\",\n\tFeatures: []features.FeatureName{\n\
                      \t\tfeatures.SupportMesh,\n\t},\n}\n";
        let expected = vec![("A".to_owned(), vec!["SupportGateway".to_owned(), "SupportX".to_owned()])];
        assert_eq!(needs(source), expected);
    }
}

//! The suite's events (`go tool test2json`) to one outcome per test. What an outcome is worth is decided elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Lines kept of one test; the last count.
const LINES: usize = 4000;

/// The test around all tests.
const TOP: &str = "TestConformance/";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    elapsed: f64,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// It began and never ended.
    #[default]
    Unfinished,
}

/// One test with everything below it.
#[derive(Debug, Default)]
pub(super) struct Test {
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    lines: Vec<String>,
}

/// What a run is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Subject {
    #[default]
    Gateways,
    Mesh,
}

/// All tests of a run.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) tests: BTreeMap<String, Test>,
    pub(super) subject: Subject,
    /// What was said outside of any test.
    pub(super) outside: Vec<String>,
    /// Whether the suite itself ended well.
    pub(super) succeeded: bool,
    /// What passed only when it was tried again.
    pub(super) second: Vec<String>,
}

impl Results {
    /// Reads one line; returns what a person may want to see at once.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<String> {
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            self.outside.push(String::from_utf8_lossy(line).into_owned());
            return None;
        };
        let Some(path) = event.test.strip_prefix(TOP) else {
            self.outside.push(event.output.trim_end().to_owned());
            return None;
        };
        let (name, below) = path.split_once('/').map_or((path, None), |(name, below)| (name, Some(below)));
        let test = self.tests.entry(name.to_owned()).or_default();
        if event.action == "output" {
            if test.lines.len() < LINES {
                test.lines.push(event.output.trim_end().to_owned());
            }
            return None;
        }
        if below.is_some() {
            let below = below.unwrap_or_default();
            return (event.action == "fail").then(|| format!("fail {name}/{below}"));
        }
        let outcome = match event.action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "run" => return Some(format!("run  {name}")),
            _ => return None,
        };
        test.outcome = outcome;
        test.seconds = event.elapsed;
        match outcome {
            Outcome::Skipped => None,
            Outcome::Passed => Some(format!("pass {name} ({:.0} s)", event.elapsed)),
            _ => Some(format!("FAIL {name} ({:.0} s)", event.elapsed)),
        }
    }

    /// The tests that the run is about: those of a mesh begin with that word.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&str, &Test)> {
        let mesh = self.subject == Subject::Mesh;
        let tests = self.tests.iter().map(|(name, test)| (name.as_str(), test));
        tests.filter(move |(name, _)| name.starts_with("Mesh") == mesh)
    }

    /// The names of those that failed or never ended.
    pub(super) fn failed(&self) -> Vec<&str> {
        let bad = |test: &Test| matches!(test.outcome, Outcome::Failed | Outcome::Unfinished);
        self.asked().filter(|(_, test)| bad(test)).map(|(name, _)| name).collect()
    }

    /// Takes over what passed in a second run of these tests.
    pub(super) fn take(&mut self, second: &Self, tried: &[String]) {
        for name in tried.iter().filter(|name| second.passed(name)) {
            if let Some(test) = self.tests.get_mut(name) {
                test.outcome = Outcome::Passed;
                self.second.push(name.clone());
            }
        }
    }

    /// Passed, failed, skipped.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: Outcome| self.asked().filter(|(_, test)| test.outcome == wanted).count();
        (count(Outcome::Passed), self.failed().len(), count(Outcome::Skipped))
    }

    /// Whether a test of this name passed.
    pub(super) fn passed(&self, name: &str) -> bool {
        self.tests.get(name).is_some_and(|test| test.outcome == Outcome::Passed)
    }

    /// As cargo's test runner closes, so that totals can be added up. A known failure is counted nowhere.
    pub(super) fn closing_line(&self, known: impl Fn(&str) -> bool) -> String {
        let (passed, _, skipped) = self.counts();
        let failed = self.failed().iter().filter(|name| !known(name)).count();
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
        )
    }
}

impl Test {
    /// The first failed check with the lines before it, or else the last lines.
    pub(super) fn why(&self) -> &[String] {
        let lines = self.lines.as_slice();
        let Some(first) = lines.iter().position(|line| line.contains("Error Trace:")) else {
            return lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
        };
        let end = (first + 20).min(lines.len());
        lines.get(first.saturating_sub(6)..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Results};

    const LINES: &str = r#"
{"Action":"run","Test":"TestConformance"}
{"Action":"run","Test":"TestConformance/A"}
{"Action":"output","Test":"TestConformance/A/part","Output":"early\n"}
{"Action":"output","Test":"TestConformance/A/part","Output":"  Error Trace: here\n"}
{"Action":"fail","Test":"TestConformance/A/part","Elapsed":1}
{"Action":"fail","Test":"TestConformance/A","Elapsed":2.5}
{"Action":"skip","Test":"TestConformance/MeshB"}
{"Action":"skip","Test":"TestConformance/C"}
{"Action":"pass","Test":"TestConformance/D"}
{"Action":"pass","Test":"TestConformance/D/part"}
{"Action":"run","Test":"TestConformance/E"}
panic: not an event"#;

    fn results() -> Results {
        let mut results = Results::default();
        for line in LINES.trim().lines() {
            results.read(line.as_bytes());
        }
        results
    }

    #[test]
    fn a_test_that_never_ended_has_failed() {
        assert_eq!(results().failed(), ["A", "E"]);
        assert_eq!(results().counts(), (1, 2, 1));
        let line = |known: &[&'static str]| results().closing_line(|name| known.contains(&name));
        assert!(line(&["A"]).starts_with("test result: FAILED. 1 passed; 1 failed; 1 ignored;"));
        assert!(line(&["A", "E"]).starts_with("test result: ok. 1 passed; 0 failed; 1 ignored;"));
    }

    #[test]
    fn a_second_try_counts_only_for_what_was_tried_and_passed() {
        let mut first = results();
        let mut second = Results::default();
        second.read(br#"{"Action":"pass","Test":"TestConformance/A"}"#);
        second.read(br#"{"Action":"fail","Test":"TestConformance/E"}"#);
        second.read(br#"{"Action":"pass","Test":"TestConformance/C"}"#);
        first.take(&second, &["A".to_owned(), "E".to_owned()]);
        assert_eq!(first.second, ["A"]);
        assert_eq!(first.failed(), ["E"]);
        assert_eq!(first.counts(), (2, 1, 1));
    }

    #[test]
    fn why_begins_before_the_first_failed_check() {
        let results = results();
        let (_, test) = results.asked().find(|(name, _)| *name == "A").unwrap();
        assert_eq!(test.outcome, Outcome::Failed);
        assert_eq!(test.why(), ["early", "  Error Trace: here"]);
        assert_eq!(results.outside.last().unwrap(), "panic: not an event");
    }
}

//! Rules about words: what no comment, string or page may say, and the first line every Rust file has.

use std::sync::LazyLock;

use regex::Regex;

use super::Violation;
use super::lexer::{self, Kind, Piece};
use super::shape::{self, Shape};
use super::tree::File;

/// A word that stands for unfinished work, and the issue number that makes it allowed.
static UNFINISHED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&[r"\b(", "TO", "DO|FIX", "ME|X", "XX|HA", r"CK)\b(.?#\d+)?"]));

/// A number of a promise or decision, with what stands before it.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern(&[r"(?:^|[^A-Za-z0-9_-])([PD]\d{1,3})\b"]));

/// Curves, which look like the number of a promise.
const CURVES: &[&str] = &["P256", "P384", "P521"];

/// Hosts of package registries and folders of one machine.
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&[
        r"\b(?:index\.|static\.)?",
        "crates",
        r"\.io\b|\b",
        "pypi",
        r"\.org\b|\b",
        "pythonhosted",
        r"\.org\b|\b",
        "proxy",
        r"\.golang\.org\b|\bregistry\.",
        "npmjs",
        r"\.org\b|\b",
        "deb",
        r"\.debian\.org\b|\brepo[0-9]*\.",
        "maven",
        r"|/(?:work|root)/[A-Za-z.]|/home/[a-z]",
    ])
});

/// What the conformance suite calls its namespaces, workloads, hosts and headers: code that knows one of
/// these could answer the test instead of doing the work.
static SUITE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&[
        r"(?i)(?:^|[^a-z0-9-])(",
        r"gateway-conformance[a-z-]*|conformance\.gateway[a-z.-]*",
        r"|(?:grpc-)?infra-backend[a-z0-9-]*|(?:web|app)-backend|echo-v[12]|echo-(?:basic|advanced)",
        r"|udp-echo|tcp-backend|tls-backend(?:-2)?|tls-checks[a-z-]*|backend-namespaces|btls",
        r"|(?:same|all)-namespaces?|unmanaged-gateway|stale-?(?:controller|condition)|x-header-(?:set|add|remove)[a-z0-9-]*",
        r"|x-test-case|(?:[a-z0-9*-]+\.)*(?:example|second-example|unknown-example)\.(?:com|org|net)",
        r"|(?:[a-z0-9*-]+\.)*(?:foo|bar)\.com|(?:very|non)\.[a-z.]*specific\.com|rewrite\.example",
        r"|no\.matching\.host|gw-dual\.com|ls-dual\.com",
        r")(?:$|[^a-z0-9-])",
    ])
});

fn pattern(parts: &[&str]) -> Regex {
    Regex::new(&parts.concat()).expect("the pattern is a constant")
}

pub(super) fn check(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if file.is_rust() {
        found.extend(first_line(file));
        rust(file, &mut found);
    } else {
        for (nth, line) in file.text.lines().enumerate() {
            prose(file, nth + 1, line, &mut found);
        }
    }
    for (nth, line) in file.text.lines().enumerate() {
        if let Some(word) = PLACE.find(line) {
            let message = format!("{:?} is a registry's host or a folder of one machine", word.as_str());
            found.push(violation(file, nth + 1, "place", word.as_str(), message));
        }
    }
    found
}

/// Every Rust file begins by saying what lives in it; the name of its file says something, too.
fn first_line(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.text.starts_with("//! ") {
        let message = "begins without `//! `: what lives here, what may not".to_owned();
        found.push(violation(file, 1, "file-doc", "", message));
    }
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if name == "mod.rs" {
        found.push(violation(file, 1, "mod-rs", "", "`foo.rs` + `foo/` instead of `foo/mod.rs`".to_owned()));
    }
    let stem = name.trim_end_matches(".rs");
    if let Some(word) = shape::banned(stem) {
        found.push(violation(file, 1, "banned-name", stem, format!("a file called {word:?} holds anything")));
    }
    found
}

fn rust(file: &File, found: &mut Vec<Violation>) {
    let shape = Shape::of(file);
    for piece in lexer::pieces(&file.text) {
        if piece.kind == Kind::Comment {
            prose(file, piece.line, piece.text, found);
        } else if file.is_product() && !shape.in_tests(piece.line) {
            found.extend(suite_word(file, &piece));
        }
    }
}

fn suite_word(file: &File, piece: &Piece<'_>) -> Option<Violation> {
    let captures = SUITE.captures(piece.text)?;
    let word = captures.get(1)?.as_str();
    let message = format!("{word:?} is a word of the conformance suite: product code must not know it");
    Some(violation(file, piece.line, "conformance-word", word, message))
}

/// Rules for what people read: comments and pages.
fn prose(file: &File, line: usize, text: &str, found: &mut Vec<Violation>) {
    if let Some(captures) = UNFINISHED.captures(text)
        && captures.get(2).is_none()
    {
        let message = format!("{:?} without an issue number", &captures[1]);
        found.push(violation(file, line, "unfinished", &captures[1], message));
    }
    if !(file.is_rust() || file.path.ends_with(".md")) {
        return;
    }
    for captures in REFERENCE.captures_iter(text) {
        let number = &captures[1];
        let defines = text.starts_with(&format!("| {number} |"));
        if !defines && !CURVES.contains(&number) {
            let message = format!("{number} without its kind: `promise-`, `bench-`, `incident-` or `adr-`");
            found.push(violation(file, line, "reference-kind", number, message));
        }
    }
}

fn violation(file: &File, line: usize, rule: &'static str, item: &str, message: String) -> Violation {
    Violation { path: file.path.clone(), line, rule, item: item.to_owned(), message }
}

//! Each rule is shown the smallest text that breaks it, and one beside it that does not.

use std::fmt::Write as _;

use super::allow::AllowList;
use super::tree::Tree;
use super::{lexer, violations};

/// The rules that a file of this path and text breaks, in order, without the rules about the whole workspace.
fn broken(path: &str, text: &str) -> Vec<&'static str> {
    let whole = ["architecture", "crate-files"];
    let found = violations(&Tree::of(&[(path, text)]));
    found.iter().map(|violation| violation.rule).filter(|rule| !whole.contains(rule)).collect()
}

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    assert_eq!(broken(path, text), expected, "{path}:\n{text:.200}");
}

/// A product file with this body.
#[track_caller]
fn check_product(body: &str, expected: &[&str]) {
    check("mesh-ca/src/issue.rs", &format!("//! What it does.\n{body}\n"), expected);
}

fn lines(count: usize, line: &str) -> String {
    format!("{line}\n").repeat(count)
}

#[test]
fn the_workspace_is_tidy() {
    let complaints = super::complaints(&crate::config::workspace_root()).expect("the workspace is readable");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_function_has_at_most_60_lines() {
    check_product(&format!("fn f() {{\n{}}}", lines(58, "    g();")), &[]);
    check_product(&format!("fn f() {{\n{}}}", lines(59, "    g();")), &["function-lines"]);
    let method = format!("impl A {{\nfn f() {{\n{}}}\n}}", lines(59, "    g();"));
    check_product(&method, &["function-lines"]);
    let test = format!("#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}", lines(100, "    g();"));
    check_product(&test, &[]);
}

#[test]
fn braces_in_strings_and_comments_do_not_count() {
    check_product("fn f() { let a = \"{{{\"; let b = '{'; /* { */ } // {", &[]);
}

#[test]
fn a_file_has_at_most_400_lines_without_tests() {
    check_product(&lines(398, "use a::b;"), &[]);
    check_product(&lines(399, "use a::b;"), &["file-lines"]);
    let tests = format!("use a::b;\n#[cfg(test)]\nmod tests {{\n{}}}", lines(600, "use a::b;"));
    check_product(&tests, &[]);
    check("mesh-ca/tests/long.rs", &format!("//! Tests.\n{}", lines(600, "use a::b;")), &[]);
}

#[test]
fn no_list_lifts_the_limit_of_500_lines() {
    let text = format!("//! What it does.\n{}", lines(501, "use a::b;"));
    let found = violations(&Tree::of(&[("xtask/src/long.rs", &text)]));
    let list = AllowList::parse("# why\nfile-lines-hard xtask/src/long.rs").unwrap();
    assert!(list.judge(found).iter().any(|line| line.contains("file-lines-hard")));
}

#[test]
fn a_function_takes_at_most_5_parameters() {
    check_product("fn f(a: u8, b: u8, c: u8, d: u8, e: BTreeMap<u8, (u8, u8)>) {}", &[]);
    check_product("fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}", &["parameters"]);
    check_product("impl A { fn f(&self, b: u8, c: u8, d: u8, e: u8, f: u8) {} }", &["parameters"]);
    check_product("impl T for A { fn f(&self, b: u8, c: u8, d: u8, e: u8, f: u8) {} }", &[]);
}

#[test]
fn branches_nest_at_most_4_deep() {
    check_product("fn f() { loop { for a in b { if c { match d { _ => {} } } } } }", &[]);
    check_product("fn f() { loop { for a in b { if c { match d { _ => if e { g(); } } } } } }", &["nesting"]);
    check_product("fn f() { if a {} else if b {} else if c {} else if d {} else if e {} else {} }", &[]);
    check_product("fn f() { while a { b.map(|c| { if d { if e { if f {} } } }); } }", &["nesting"]);
}

#[test]
fn a_crate_has_at_most_12000_lines() {
    let text = format!("//! What it does.\n{}", lines(399, "use a::b;"));
    let mut paths = Vec::new();
    for nth in 0..31 {
        paths.push(format!("mesh-ca/src/f{nth}.rs"));
    }
    let files: Vec<_> = paths.iter().map(|path| (path.as_str(), text.as_str())).collect();
    let rules = |files| violations(&Tree::of(files)).iter().any(|violation| violation.rule == "crate-lines");
    assert!(!rules(&files[..30]));
    assert!(rules(&files));
}

#[test]
fn every_file_says_what_lives_in_it() {
    check("mesh-ca/src/issue.rs", "fn f() {}", &["file-doc"]);
    check("mesh-ca/tests/issue.rs", "// not a doc comment", &["file-doc"]);
}

#[test]
fn a_folder_has_no_mod_rs() {
    check("mesh-ca/src/store/mod.rs", "//! The store.\n", &["mod-rs"]);
}

#[test]
fn names_say_something() {
    for name in [
        "struct PoolManager;",
        "fn parse_helper() {}",
        "mod util {}",
        "type Info = ();",
        "const DATA: u8 = 1;",
    ] {
        check_product(name, &["banned-name"]);
    }
    for name in
        ["enum Base64 {}", "fn metadata() {}", "struct CertHandler;", "impl Body for A { fn poll_data() {} }"]
    {
        check_product(name, &[]);
    }
    check_product("trait Handler {}", &["banned-name"]);
    check("mesh-ca/src/utils.rs", "//! Things.\n", &["banned-name"]);
}

#[test]
fn the_environment_is_read_in_config_rs_only() {
    check_product("fn f() { std::env::var(\"A\"); }", &["environment"]);
    check_product("fn f() { let a = env::vars_os(); }", &["environment"]);
    check_product("use std::env::{self, var_os};", &["environment"]);
    check_product("struct A { #[arg(long, env = \"A\")] a: u8 }", &["environment"]);
    check_product("fn f() { std::env::args(); env!(\"A\"); }", &[]);
    check_product("#[cfg(test)]\nmod tests { fn f() { std::env::var(\"A\"); } }", &[]);
    check("mesh-ca/src/config.rs", "//! Settings.\nfn f() { std::env::var(\"A\"); }", &[]);
}

#[test]
fn unfinished_work_has_an_issue() {
    let mark = concat!("TO", "DO");
    check_product(&format!("// {mark}: later"), &["unfinished"]);
    check_product(&format!("// {mark}(#12): later"), &[]);
    check_product(&format!("fn f() {{ g(\"{mark}\"); }}"), &[]);
    check("Makefile", &format!("# {}\n", concat!("FIX", "ME")), &["unfinished"]);
}

#[test]
fn product_code_knows_no_word_of_the_conformance_suite() {
    let words = [
        "gateway-conformance-infra",
        "infra-backend-v1",
        "abc.example.com",
        "second-example.org",
        "X-Header-Set",
        "same-namespace",
        "echo-v1",
        "very.specific.com",
        "unmanaged-gateway",
        "*.bar.com",
    ];
    for word in words {
        let line = format!("const A: &str = \"{word}\";");
        check_product(&line, &["conformance-word"]);
        check_product(&format!("/// {word}\n#[cfg(test)]\nmod tests {{ {line} }}"), &[]);
        check("mesh-ca/tests/a.rs", &format!("//! Tests.\n{line}"), &[]);
    }
    check_product("const A: &str = \"reviews.default.svc.cluster.local\";", &[]);
}

#[test]
fn references_carry_their_kind() {
    check_product("// see P45", &["reference-kind"]);
    check_product("// see promise-P45 and adr-D6, on P-256 or P256", &[]);
    check("ARCHITECTURE.md", "because of D6\n", &["reference-kind"]);
    check("ARCHITECTURE.md", "| D6 | rustls | because |\n", &[]);
}

#[test]
fn no_host_of_a_registry_and_no_folder_of_a_machine() {
    let places = [
        concat!("static.crat", "es.io"),
        concat!("py", "pi.org"),
        concat!("proxy.gol", "ang.org"),
        concat!("/ho", "me/alice/clone"),
        concat!("/ro", "ot/.cargo"),
    ];
    for place in places {
        check("README.md", &format!("from {place}\n"), &["place"]);
        check_product(&format!("const A: &str = \"{place}\";"), &["place"]);
    }
}

#[test]
fn dependencies_point_downwards() {
    let manifest = |name: &str, body: &str| {
        let path = format!("{name}/Cargo.toml");
        broken(&path, &format!("[package]\nname = \"{name}\"\n{body}"))
    };
    assert_eq!(manifest("mesh-xds", "[dependencies]\nmesh-ca.workspace = true"), ["direction"]);
    assert_eq!(manifest("mesh-xds", "[dependencies]\nmesh-model = { path = \"../mesh-model\" }"), [""; 0]);
    assert_eq!(manifest("mesh-rt", "[dependencies.meshctl]\npath = \"../meshctl\""), ["direction"]);
    assert_eq!(manifest("mesh-ca", "[dependencies]\ntestkit.workspace = true"), ["direction"]);
    assert_eq!(manifest("mesh-ca", "[dev-dependencies]\ntestkit.workspace = true"), [""; 0]);
    assert_eq!(manifest("mesh-model", "[dependencies]\ntokio = \"1\""), ["direction"]);
    assert_eq!(manifest("mesh-proxy", "[target.'cfg(unix)'.dependencies]\nkube = \"4\""), ["direction"]);
}

#[test]
fn the_architecture_names_every_crate_and_module() {
    let rules = |page: &str| {
        let files = [
            ("ARCHITECTURE.md", page),
            ("mesh-ca/src/lib.rs", "//! Docs.\npub mod issue;\n#[cfg(test)]\nmod t;"),
        ];
        violations(&Tree::of(&files)).iter().map(|v| v.item.clone()).collect::<Vec<_>>()
    };
    let mut page = String::new();
    for (name, _) in super::PRODUCT {
        writeln!(page, "`{name}`").unwrap();
    }
    assert_eq!(rules(&page), ["issue"]);
    assert_eq!(rules(&format!("{page} `issue`")), [""; 0]);
    assert!(rules("`issue`").contains(&"mesh-ca".to_owned()));
}

#[test]
fn a_published_crate_has_its_pages() {
    let files = [("mesh-ca/Cargo.toml", ""), ("mesh-ca/README.md", "")];
    let found = violations(&Tree::of(&files));
    assert!(found.iter().any(|v| v.rule == "crate-files" && v.item == "CHANGELOG.md"));
    assert!(!found.iter().any(|v| v.rule == "crate-files" && v.item == "README.md"));
}

#[test]
fn an_entry_of_the_allow_list_that_is_not_needed_is_a_complaint() {
    let list = AllowList::parse("# why\nmod-rs a/mod.rs").unwrap();
    assert!(list.judge(vec![])[0].contains("no longer needed"));
    assert!(AllowList::parse("mod-rs a/mod.rs").is_err(), "an entry needs a reason");
}

#[test]
fn the_lexer_tells_code_literals_and_comments_apart() {
    let text = "a('x', '\\'', b'\"', r#\"//\"\"#) // \"c\"\n/* \"d /* e */\n */ &'f str";
    let of = |kind| {
        let pieces = lexer::pieces(text).into_iter().filter(move |piece| piece.kind == kind);
        pieces.map(|piece| (piece.line, piece.text)).collect::<Vec<_>>()
    };
    let literals = [(1, "'x'"), (1, "'\\''"), (1, "b'\"'"), (1, "r#\"//\"\"#")];
    assert_eq!(of(lexer::Kind::Literal), literals);
    assert_eq!(of(lexer::Kind::Comment), [(1, "// \"c\""), (2, "/* \"d /* e */"), (3, " */")]);
    let code: String = of(lexer::Kind::Code).iter().map(|(_, text)| *text).collect();
    assert_eq!(code, "a(, , , )  &'f str");
}

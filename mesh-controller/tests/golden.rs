//! Golden tests of the translation: `golden/<case>/in.yaml` to `out.yaml`. With `UPDATE_GOLDEN=1` in the
//! environment the outputs are written anew, to be reviewed as a difference.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mesh_controller::local::Replica;
use mesh_controller::objects::Process;
use mesh_controller::source::{FileSource, Snapshot};
use mesh_controller::store::ObjectStore;
use mesh_controller::translate::{
    Changes, Settings, Translation, Translator, locate, refused_policies, refused_tls_policies,
};
use regex::{Captures, Regex};

/// A moment within the validity of all certificates but one: 2027-01-01.
const NOW: u64 = 1_798_761_600;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Every process runs its replicas, each at an address made from its place.
fn changes(snapshot: &Snapshot) -> Changes {
    let store = &snapshot.store;
    let mut changes = Changes::between(&ObjectStore::default(), store);
    changes.refused_policies = Some(refused_policies(snapshot));
    changes.refused_tls_policies = Some(refused_tls_policies(snapshot));
    changes.time = Some(NOW);
    for (n, (stored, process)) in store.all::<Process>().enumerate() {
        let address = |ordinal: u32| {
            IpAddr::V4(Ipv4Addr::new(10, 0, u8::try_from(n).unwrap(), u8::try_from(ordinal + 1).unwrap()))
        };
        let replicas =
            (0..process.spec.replicas).map(|ordinal| Replica::new(ordinal, address(ordinal), true));
        changes.replicas.push((stored.name().clone(), replicas.collect()));
    }
    changes
}

fn translated(text: &str) -> (Translation, Snapshot) {
    let snapshot = FileSource::from_text("in.yaml", text.as_bytes()).snapshot();
    let mut translator = Translator::new(Settings::default());
    translator.update(changes(&snapshot));
    (translator.translation(), snapshot)
}

/// Certificates as the number of their bytes.
fn shortened(line: &str) -> String {
    static BYTES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[\d+(,\d+)+\]").unwrap());
    let count = |found: &Captures<'_>| match found[0].split(',').count() {
        n if n > 100 => format!("\"{n} bytes\""),
        _ => found[0].to_owned(),
    };
    BYTES.replace_all(line, count).into_owned()
}

/// Resources and statuses one per line, findings as people see them.
fn printed(text: &str) -> String {
    let (mut translation, snapshot) = translated(text);
    locate(&mut translation.findings, &snapshot.store);
    let mut out = String::from("resources:\n");
    for resource in translation.resources.values() {
        writeln!(out, "- {}", shortened(&serde_json::to_string(resource).unwrap())).unwrap();
    }
    out.push_str("statuses:\n");
    for status in &translation.statuses {
        writeln!(out, "- {}", serde_json::to_string(status).unwrap()).unwrap();
    }
    out.push_str("findings:\n");
    for finding in snapshot.findings.iter().chain(&translation.findings) {
        writeln!(out, "- {}", serde_json::to_string(&finding.to_string()).unwrap()).unwrap();
    }
    out
}

#[test]
fn every_case_gives_its_output() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| v == "1");
    let mut wrong = Vec::new();
    for case in cases() {
        let out = printed(&std::fs::read_to_string(case.join("in.yaml")).unwrap());
        let expected = case.join("out.yaml");
        if update {
            std::fs::write(&expected, &out).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != out {
            wrong.push(format!("{}:\n{out}", case.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "run again with UPDATE_GOLDEN=1 and review the difference\n{}",
        wrong.join("\n")
    );
}

//! Every input of every corpus, as an ordinary test: what once broke a parser stays fixed without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mesh_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(of: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(of).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_input_of_every_corpus_passes() {
    for (name, target) in TARGETS {
        let corpus = folder("corpus").join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&corpus).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 1, "{name} has no corpus");
    }
}

#[test]
fn inputs_that_are_cut_short_or_have_a_bit_turned_pass_too() {
    for (name, target) in TARGETS {
        for entry in fs::read_dir(folder("corpus").join(name)).unwrap() {
            let input = fs::read(entry.unwrap().path()).unwrap();
            let step = (input.len() / 64).max(1);
            for at in (0..input.len()).step_by(step) {
                target(&input[..at]);
                let mut turned = input.clone();
                turned[at] ^= 1 << (at % 8);
                target(&turned);
            }
        }
    }
}

#[test]
fn every_target_has_its_entry_and_its_corpus() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder("fuzz_targets")), listed);
    assert_eq!(names(&folder("corpus")), listed);
}

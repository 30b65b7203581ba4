//! Tests of folders and files: which count, and what stays in force.

use super::*;
use mesh_model::ObjectName;

use crate::store::ObjectKey;
use mesh_objects::{Namespace, ObjectKind};

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

fn names(source: &mut FileSource) -> Vec<String> {
    source.snapshot().store.all::<Namespace>().map(|(stored, _)| stored.name().name.to_string()).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
    std::fs::write(path, text).expect("a file to write");
}

#[test]
fn manifests_of_all_folders_count_and_copies_of_editors_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b.yaml", "a.yml", "sub/c.json", "sub/deep/d.yaml"] {
        let object = name.rsplit('/').next().and_then(|n| n.split('.').next()).expect("a name");
        write(folder.path(), name, &namespace(object));
    }
    for name in
        [".hidden.yaml", ".git/e.yaml", "f.yaml~", "#g.yaml#", ".#h.yaml", "i.yaml.swp", "j.txt", "README.md"]
    {
        write(folder.path(), name, &namespace("wrong"));
    }
    std::os::unix::fs::symlink(folder.path().join("j.txt"), folder.path().join("link.yaml")).expect("a link");
    std::fs::write(folder.path().join("j.txt"), namespace("linked")).expect("a file to write");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).expect("a link");
    let mut source = FileSource::open(folder.path()).expect("a folder that is there");
    assert_eq!(names(&mut source), ["a", "b", "c", "d", "linked"]);
    assert!(source.snapshot().findings.is_empty());
    let mut one = FileSource::open(&folder.path().join("b.yaml")).expect("a file that is there");
    assert_eq!(names(&mut one), ["b"]);
    assert!(FileSource::open(&folder.path().join("gone")).is_err());
}

#[test]
fn an_object_that_breaks_stays_as_it_was_and_the_others_change() {
    let mut source = FileSource::from_text("a.yaml", "".as_bytes());
    let mut take = |text: &str| {
        source.files.get_mut(Path::new("a.yaml")).expect("the file").take(text.as_bytes());
        (names(&mut source), source.snapshot().findings.len())
    };
    let (one, two) = (namespace("one"), namespace("two"));
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(take(&format!("{one}---\n{two}")), (list(&["one", "two"]), 0));
    // `two` is named and wrong: its last version stays. `three` is new.
    let broken = two.replace("metadata:", "metadta: {}\nmetadata:");
    assert_eq!(
        take(&format!("{one}---\n{broken}---\n{}", namespace("three"))),
        (list(&["one", "three", "two"]), 1)
    );
    // Nothing is known of the second document, so nothing goes.
    assert_eq!(take(&format!("{one}---\nkind: [")), (list(&["one", "three", "two"]), 1));
    // All documents are read: what is not there any more goes.
    assert_eq!(take(&one), (list(&["one"]), 0));
    assert_eq!(take(""), (list(&[]), 0));
}

#[test]
fn equal_objects_of_two_files_count_once_and_the_second_one_comes_when_the_first_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.yaml", &namespace("same"));
    write(
        folder.path(),
        "b.yaml",
        &namespace("same").replace("name: same", "name: same\n  labels: {from: b}"),
    );
    let mut source = FileSource::open(folder.path()).expect("a folder that is there");
    let snapshot = source.snapshot();
    let label = |snapshot: &Snapshot| {
        let key = ObjectKey::new(ObjectKind::Namespace, ObjectName::new("", "same"));
        let stored = snapshot.store.find(&key).expect("the object");
        stored.object().metadata().labels.get("from").cloned()
    };
    assert_eq!(label(&snapshot), None);
    let finding = snapshot.findings[0].to_string();
    assert!(finding.contains("b.yaml:4:9") && finding.contains("a.yaml:1"), "{finding}");
    std::fs::remove_file(folder.path().join("a.yaml")).expect("the file");
    source.rescan();
    let snapshot = source.snapshot();
    assert_eq!((label(&snapshot).as_deref(), snapshot.findings.len()), (Some("b"), 0));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_its_objects_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.yaml", &namespace("a"));
    let path = folder.path().join("a.yaml");
    let mut source = FileSource::open(folder.path()).expect("a folder that is there");
    std::fs::remove_file(&path).expect("the file");
    std::fs::create_dir(&path).expect("a folder in its place");
    source.reread([path.as_path()]);
    assert_eq!(names(&mut source), ["a"]);
    let finding = source.snapshot().findings[0].to_string();
    assert!(finding.starts_with("error[MESH0108]") && finding.contains("a.yaml: "), "{finding}");
}

#[test]
fn a_file_above_the_limit_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.yaml", &namespace("a"));
    std::fs::File::create(folder.path().join("b.yaml"))
        .and_then(|f| f.set_len(1 << 40))
        .expect("a sparse file");
    let mut source = FileSource::open(folder.path()).expect("a folder that is there");
    assert_eq!(names(&mut source), ["a"]);
    assert!(source.snapshot().findings[0].message.contains("bytes are more than"));
}

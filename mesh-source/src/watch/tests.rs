//! Tests of the watch: every way in which editors write files.

use std::io::Write;
use std::time::Duration;

use super::*;
use mesh_objects::Namespace;

fn namespace(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{l: \"{label}\"}}\n")
}

/// Names with their label, such as `a=1`.
fn seen(snapshot: &Snapshot) -> Vec<String> {
    let label = |namespace: &Namespace| namespace.metadata.labels.get("l").cloned().unwrap_or_default();
    snapshot
        .store
        .all::<Namespace>()
        .map(|(stored, n)| format!("{}={}", stored.name().name, label(n)))
        .collect()
}

/// Waits until the snapshot shows this; says what it shows when that does not happen.
async fn until(changes: &mut channel::Receiver<Snapshot>, expected: &[&str]) {
    let arrived = changes.wait_for(|snapshot| seen(snapshot) == expected);
    let arrived = tokio::time::timeout(Duration::from_secs(10), arrived).await.map(|outcome| outcome.is_ok());
    assert_eq!(arrived, Ok(true), "wanted {expected:?}, have {:?}", seen(&changes.borrow()));
}

fn run_on_two_threads(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn every_way_of_writing_a_file_is_seen() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, namespace("a", "1")).expect("a file");
        let mut changes = watch(folder.path()).expect("a watch");
        assert_eq!(seen(&changes.borrow()), ["a=1"]);

        // Truncated and written.
        std::fs::write(&path, namespace("a", "2")).expect("a file");
        until(&mut changes, &["a=2"]).await;
        // Written beside and renamed over it.
        std::fs::write(folder.path().join(".a.tmp"), namespace("a", "3")).expect("a file");
        std::fs::rename(folder.path().join(".a.tmp"), &path).expect("a rename");
        until(&mut changes, &["a=3"]).await;
        // Moved away as a backup, then written anew.
        std::fs::rename(&path, folder.path().join("a.yaml~")).expect("a rename");
        std::fs::write(&path, namespace("a", "4")).expect("a file");
        until(&mut changes, &["a=4"]).await;
        // Another file, also in a new folder, whole folders moved, and all gone again.
        std::fs::create_dir_all(folder.path().join("sub/deep")).expect("a folder");
        std::fs::write(folder.path().join("sub/deep/b.yaml"), namespace("b", "1")).expect("a file");
        until(&mut changes, &["a=4", "b=1"]).await;
        std::fs::write(folder.path().join("sub/deep/b.yaml"), namespace("b", "2")).expect("a file");
        until(&mut changes, &["a=4", "b=2"]).await;
        std::fs::rename(folder.path().join("sub"), folder.path().join(".sub")).expect("a rename");
        until(&mut changes, &["a=4"]).await;
        std::fs::rename(folder.path().join(".sub"), folder.path().join("sub")).expect("a rename");
        until(&mut changes, &["a=4", "b=2"]).await;
        std::fs::remove_dir_all(folder.path().join("sub")).expect("a folder");
        std::fs::remove_file(&path).expect("a file");
        until(&mut changes, &[]).await;
    });
}

#[test]
fn half_of_a_write_is_not_taken_for_the_whole() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        let text = format!("{}---\n{}", namespace("a", "1"), namespace("b", "1"));
        std::fs::write(&path, &text).expect("a file");
        let mut changes = watch(folder.path()).expect("a watch");
        changes.mark_unchanged();

        let new = text.replace("l: \"1\"", "l: \"2\"");
        let mut file = std::fs::File::create(&path).expect("a file");
        let (half, rest) = new.split_at(new.find("---").expect("a marker"));
        file.write_all(half.as_bytes()).expect("half a file");
        // Another file proves that events of the first half have arrived by now.
        std::fs::write(folder.path().join("c.yaml"), namespace("c", "1")).expect("a file");
        until(&mut changes, &["a=1", "b=1", "c=1"]).await;
        // Nor does reading everything, which a new folder brings.
        std::fs::create_dir(folder.path().join("sub")).expect("a folder");
        std::fs::write(folder.path().join("sub/d.yaml"), namespace("d", "1")).expect("a file");
        until(&mut changes, &["a=1", "b=1", "c=1", "d=1"]).await;
        file.write_all(rest.as_bytes()).expect("the other half");
        drop(file);
        until(&mut changes, &["a=2", "b=2", "c=1", "d=1"]).await;
    });
}

#[test]
fn a_file_that_its_writer_keeps_open_is_read_after_a_silence() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut changes = watch(folder.path()).expect("a watch");
        let mut file = std::fs::File::create(folder.path().join("a.yaml")).expect("a file");
        file.write_all(namespace("a", "1").as_bytes()).expect("a write");
        until(&mut changes, &["a=1"]).await;
        drop(file);
    });
}

#[test]
fn a_single_file_is_followed_through_its_replacements() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, namespace("a", "1")).expect("a file");
        std::fs::write(folder.path().join("other.yaml"), namespace("other", "1")).expect("a file");
        let mut changes = watch(&path).expect("a watch");
        assert_eq!(seen(&changes.borrow()), ["a=1"]);
        std::fs::write(folder.path().join("b.tmp"), namespace("a", "2")).expect("a file");
        std::fs::rename(folder.path().join("b.tmp"), &path).expect("a rename");
        until(&mut changes, &["a=2"]).await;
        std::fs::write(&path, namespace("a", "3")).expect("a file");
        until(&mut changes, &["a=3"]).await;
    });
}

#[test]
fn the_swap_of_a_mounted_config_map_is_seen() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let version = |number: &str| {
            let target = folder.path().join(format!("..{number}"));
            std::fs::create_dir(&target).expect("a folder");
            std::fs::write(target.join("a.yaml"), namespace("a", number)).expect("a file");
            std::os::unix::fs::symlink(format!("..{number}"), folder.path().join("..new")).expect("a link");
            std::fs::rename(folder.path().join("..new"), folder.path().join("..data")).expect("a rename");
        };
        version("1");
        std::os::unix::fs::symlink("..data/a.yaml", folder.path().join("a.yaml")).expect("a link");
        let mut changes = watch(folder.path()).expect("a watch");
        assert_eq!(seen(&changes.borrow()), ["a=1"]);
        version("2");
        until(&mut changes, &["a=2"]).await;
    });
}

#[test]
fn an_error_is_reported_while_the_last_good_object_stays() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, namespace("a", "1")).expect("a file");
        let mut changes = watch(folder.path()).expect("a watch");
        std::fs::write(&path, "kind: [").expect("a file");
        let broken = changes.wait_for(|snapshot| !snapshot.findings.is_empty());
        let broken = tokio::time::timeout(Duration::from_secs(10), broken)
            .await
            .expect("in time")
            .expect("open")
            .clone();
        assert_eq!(seen(&broken), ["a=1"]);
        std::fs::write(&path, namespace("a", "2")).expect("a file");
        until(&mut changes, &["a=2"]).await;
        assert!(changes.borrow().findings.is_empty());
    });
}

#[test]
fn a_path_relative_to_the_working_folder_is_watched_too() {
    run_on_two_threads(async {
        let folder = tempfile::tempdir_in(".").expect("a folder");
        let relative = PathBuf::from(".").join(folder.path().file_name().expect("a name"));
        std::fs::write(relative.join("a.yaml"), namespace("a", "1")).expect("a file");
        let mut changes = watch(&relative).expect("a watch");
        std::fs::write(relative.join("a.yaml"), namespace("a", "2")).expect("a file");
        until(&mut changes, &["a=2"]).await;
        let file = changes.borrow().store.iter().next().and_then(|s| s.place().map(|p| p.file.to_string()));
        assert_eq!(file, Some(relative.join("a.yaml").display().to_string()));
    });
}

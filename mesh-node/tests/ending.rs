//! The binary is told to end in its first moments.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

#[test]
fn sigterm_before_the_configuration_is_read_is_not_lost() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("only root may make a namespace of processes");
    }
    let config = r#"{
        "name": "node.n1", "node": "n1", "admin": "127.0.0.1:0", "metrics": "127.0.0.1:0",
        "controller": {
            "address": "127.0.0.1:1", "identity": "spiffe://cluster.local/ns/s/sa/c", "roots": "ROOTS", "token": "TOKEN"
        }
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_mesh-node");
    let limit = Duration::from_secs(20);
    let status = testkit::container::told_to_end_at_its_start(program, config, folder.path(), limit).unwrap();
    assert!(status.success(), "{status}");
}

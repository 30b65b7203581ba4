//! The Rust messages of `mesh.v1` are what the `.proto` files say.

#[path = "../../examples/generate/print.rs"]
mod print;

#[test]
fn the_generated_messages_are_current() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let current = std::fs::read_to_string(root.join("src/generated/mesh_v1.rs")).expect("the generated file");
    let fresh = print::messages(&root.join("proto/mesh/v1"));
    assert!(fresh == current, "run `cargo run -p mesh-xds --example generate`");
}

//! Writes `src/generated/mesh_v1.rs` from `proto/mesh/v1/*.proto`: `cargo run -p mesh-xds --example generate`.

mod print;

fn main() -> std::io::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::write(root.join("src/generated/mesh_v1.rs"), print::messages(&root.join("proto/mesh/v1")))
}

//! Code made from `.proto` files. Nothing here is written by hand.

/// The messages of `mesh.v1`.
#[rustfmt::skip]
pub mod mesh_v1;

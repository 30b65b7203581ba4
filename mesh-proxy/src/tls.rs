//! TLS on both sides of the proxy: looking at a ClientHello, ending TLS at gateways, mutual TLS of the mesh,
//! and TLS towards backends. Which of them a connection needs is decided by the roles.

mod backend;
mod clock;
mod hello;
mod listener;
mod mesh;
mod peers;

pub use backend::{BackendTlsError, SystemRoots, backend_config};
pub use hello::{FirstBytes, Hello, HelloError, look, read_first};
pub use listener::{ListenerTlsError, Terminations};
pub use mesh::{MESH_H1, MESH_H2, MESH_TCP, MeshTls};
pub use peers::{Distrusted, Peers, Trusted};

//! SPIFFE identities for a service mesh: who a workload is, proven by a short-lived certificate.
//!
//! An [`Authority`] issues [`Svid`]s and rotates its roots and issuers; [`tls`] makes rustls configurations
//! that present the SVID of the moment and verify the peer's on both sides.
//!
//! ```
//! use mesh_ca::tls::{self, ClientAuth, PeerTls};
//! use mesh_ca::{Authority, SvidSource};
//! use mesh_rt::SystemClock;
//!
//! let authority = Authority::in_memory("cluster.local".parse()?, SystemClock::shared())?;
//! let cart = "spiffe://cluster.local/ns/shop/sa/cart".parse()?;
//! let svid = authority.issue_svid(&cart)?;
//! assert_eq!(svid.id(), &cart);
//!
//! let source = SvidSource::new(svid, SystemClock::shared());
//! let identity = PeerTls::new(source, authority.trust());
//! let server = tls::server_config(&identity, ClientAuth::Required, &[b"mesh-h2/1"])?;
//! let client = tls::client_config(&identity, vec![cart], &[b"mesh-h2/1"])?;
//! # drop((server, client));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![doc = include_str!("../README.md")]

pub mod attest;
pub mod authority;
pub mod csr;
pub mod grpc;
pub mod jwt;
pub mod key;
pub mod profile;
pub mod rotate;
mod source;
pub mod store;
pub mod svid;
mod text;
pub mod tls;
mod trust;
pub mod workload_api;

pub use authority::{Authority, AuthorityError, Policy};
pub use key::{PrivateKey, PublicKey};
pub use mesh_rt::{SharedClock, SystemClock};
pub use rotate::Rotation;
pub use source::SvidSource;
pub use svid::{Svid, TrustBundle, TrustBundles};
pub use trust::TrustSource;

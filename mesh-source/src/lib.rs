//! Where objects come from: documents in files, and changes of these files. No translation.
#![doc = include_str!("../README.md")]

pub mod aim;
pub mod document;
pub mod files;
pub mod load;
pub mod store;
pub mod watch;

pub use aim::{Aim, Aims, of_targets};
pub use files::{FileSource, Snapshot, SourceError};
pub use load::{Loaded, load};
pub use watch::watch;

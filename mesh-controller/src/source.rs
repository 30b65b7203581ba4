//! Where objects come from: documents in files, and changes of these files. No translation.

pub mod document;
pub mod files;
pub mod load;
pub mod watch;

pub use files::{FileSource, Snapshot, SourceError};
pub use load::{Loaded, load};
pub use watch::watch;

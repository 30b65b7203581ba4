//! One file per command. A command reads its arguments, calls the crates, and prints; logic lives in the crates.

pub(crate) mod completion;
pub(crate) mod explain;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod why;

//! One file per command. A command reads its arguments, calls the crates, and prints; logic lives in the crates.

#[cfg(feature = "cluster")]
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod explain;
#[cfg(feature = "cluster")]
pub(crate) mod inject;
#[cfg(feature = "cluster")]
pub(crate) mod install;
pub(crate) mod status;
#[cfg(feature = "cluster")]
pub(crate) mod uninstall;
pub(crate) mod up;
pub(crate) mod why;

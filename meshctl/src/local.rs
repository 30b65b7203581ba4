//! The whole mesh in one process: reading its files, and assembling controller, authority, proxies and processes.

pub(crate) mod addresses;
pub(crate) mod control;
pub(crate) mod gateways;
pub(crate) mod ground;
pub(crate) mod identity;
pub(crate) mod leftovers;
pub(crate) mod load;
pub(crate) mod member;
pub(crate) mod mesh;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod place;
pub(crate) mod program;
pub(crate) mod replica;
pub(crate) mod report;
pub(crate) mod socket;
pub(crate) mod supervisor;

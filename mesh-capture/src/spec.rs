//! What a workload is, as far as starting it is concerned.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// A program to be run, with nothing inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program, searched in `PATH` of `env` when it has no slash, and its arguments.
    pub argv: Vec<OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<OsString, OsString>,
}

/// A workload to be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Folders of the machine that are empty inside the workload; those that do not exist are left out.
    pub hidden: Vec<PathBuf>,
    /// Which names mean which address inside the workload.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// How many listeners share the port of captured connections: one for each worker. 0 counts as 1.
    pub listeners: usize,
    /// The workload's name, for errors and logs.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// Folders below hidden ones that are there for this workload all the same, to be read. They must exist.
    pub shown: Vec<PathBuf>,
}

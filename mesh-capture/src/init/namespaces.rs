//! Leaving the machine's namespaces for the workload's own.

use nix::sched::{CloneFlags, unshare};
use rustix::thread::CapabilitySet;

use super::Refusal;

/// Enters new network, mount and process namespaces; the last holds from the next child on. A user namespace comes
/// first for who has no rights of its own; the workload keeps its user and group numbers in it.
pub(super) fn enter() -> Result<(), Refusal> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let rights = rustix::thread::capabilities(None).map_err(Refusal::of("read our capabilities"))?;
    if rights.effective.contains(needed) {
        return unshare(own).map_err(Refusal::of("create the namespaces"));
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER).map_err(Refusal::of("create a user namespace"))?;
    let step = "map our user into the user namespace";
    // The kernel wants the right to drop groups given up before an unprivileged process may map one.
    std::fs::write("/proc/self/setgroups", "deny").map_err(Refusal::of(step))?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).map_err(Refusal::of(step))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).map_err(Refusal::of(step))?;
    unshare(own).map_err(Refusal::of("create the namespaces"))
}

//! Which capabilities go where: to the supervisor what it needs for its first step, to the application what a pod's
//! container has and never the rights to undo the capture.

use rustix::io;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What the supervisor needs: to mount `/proc`, and to narrow the bounding set.
const LENT: [CapabilitySet; 2] = [CapabilitySet::SETPCAP, CapabilitySet::SYS_ADMIN];

/// What an application run by root keeps: what a pod under the restricted profile may have. Everything else acts
/// on files, processes or users of the machine, which is not the workload's: a root without a user namespace of its
/// own is the machine's root.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Lets the next program that this process starts keep [`LENT`]: without it a user other than root would lose all.
pub(super) fn lend_to_supervisor() -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    for lent in LENT.into_iter().filter(|lent| sets.permitted.contains(*lent)).collect::<Vec<_>>() {
        sets.inheritable |= lent;
        rustix::thread::set_capabilities(None, sets)?;
        rustix::thread::configure_capability_in_ambient_set(lent, true)?;
    }
    Ok(())
}

/// Narrows what this process and all it starts can ever have to [`KEPT`], for good.
pub(super) fn give_up() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) if !KEPT.contains(one) => rustix::thread::remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // The kernel knows no capability of this number, nor of a higher one.
            Err(io::Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    let sets = rustix::thread::capabilities(None)?;
    let left = sets.permitted & KEPT;
    let empty = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: left, permitted: left, inheritable: empty },
    )?;
    rustix::thread::set_no_new_privs(true)
}

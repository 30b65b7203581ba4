//! The files that a workload sees instead of the machine's: hosts and resolver.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::Refusal;

/// A resolver that is not there, or the proxy's: a name that the hosts file lacks fails at once instead of waiting
/// for a server that this namespace cannot reach.
const RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// Puts both files in place and gives the hosts file, empty and open for writing. They live in a file system of memory that is
/// mounted nowhere afterwards, so that nothing needs to be cleaned up.
pub(super) fn bind() -> Result<OwnedFd, Refusal> {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(Refusal::of("take the mounts out of propagation"))?;
    let staging = stage().map_err(Refusal::of("mount a file system of memory"))?;
    let hosts = place(&staging.join("hosts"), "", Path::new("/etc/hosts"));
    let resolver = place(&staging.join("resolv.conf"), RESOLVER, Path::new("/etc/resolv.conf"));
    let gone = rustix::mount::unmount(staging, UnmountFlags::DETACH);
    let hosts = hosts.map_err(Refusal::of("replace /etc/hosts"))?;
    match resolver {
        // Without the file the C library asks 127.0.0.1, which is what ours says.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => {
            other.map_err(Refusal::of("replace /etc/resolv.conf"))?;
        }
    }
    gone.map_err(Refusal::of("unmount the file system of memory"))?;
    Ok(hosts)
}

/// Puts an empty folder in the place of each of these. The workload has no right to take it away again.
pub(super) fn hide(folders: &[PathBuf]) -> Result<(), Refusal> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        rustix::mount::mount("tmpfs", folder, "tmpfs", flags, c"size=4k,mode=755")
            .map_err(Refusal::of("hide a folder"))?;
    }
    Ok(())
}

/// Mounts over the first folder that exists; only this process sees it, and only until the end of [`bind`].
fn stage() -> io::Result<&'static Path> {
    let folders = ["/tmp", "/run", "/mnt"].map(Path::new);
    let folder = folders.into_iter().find(|folder| folder.is_dir()).ok_or(io::ErrorKind::NotFound)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", folder, "tmpfs", flags, c"size=16m,mode=755")?;
    Ok(folder)
}

fn place(source: &Path, text: &str, target: &Path) -> io::Result<OwnedFd> {
    let mut file = OpenOptions::new().create_new(true).read(true).write(true).open(source)?;
    file.write_all(text.as_bytes())?;
    rustix::mount::mount_bind(source, target)?;
    // The application reads it only; we write through the descriptor.
    let flags =
        MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount_remount(target, flags, c"")?;
    Ok(file.into())
}

/// Shows the workload its own processes in `/proc`.
///
/// # Errors
/// The machine hides parts of its own `/proc`, as containers do; then ours may not be complete either.
pub(super) fn own_processes() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None)?)
}

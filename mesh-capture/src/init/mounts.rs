//! The files that a workload sees instead of the machine's: hosts and resolver.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::Refusal;

/// A resolver that is not there, or the proxy's: a name that the hosts file lacks fails at once instead of waiting
/// for a server that this namespace cannot reach.
const RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// Of what is mounted, nothing is run and no device works.
const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

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

/// Puts a folder in the place of each of these in which there is nothing but what is to be shown. The workload has no
/// right to take it away again.
pub(super) fn hide(folders: &[PathBuf], shown: &[PathBuf]) -> Result<(), Refusal> {
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let below = shown.iter().filter(|path| path.starts_with(folder) && *path != folder);
        // Taken while it can still be seen.
        let taken = below.map(|path| Ok((path, take(path)?))).collect::<io::Result<Vec<_>>>();
        let taken = taken.map_err(Refusal::of("take a folder that is to be shown"))?;
        rustix::mount::mount("tmpfs", folder, "tmpfs", QUIET, c"size=4k,mode=755")
            .map_err(Refusal::of("hide a folder"))?;
        for (path, tree) in taken {
            show(path, tree).map_err(Refusal::of("show a folder"))?;
        }
        seal(folder).map_err(Refusal::of("seal what hides a folder"))?;
    }
    Ok(())
}

/// A mount of a folder that is nowhere yet.
fn take(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

fn show(path: &Path, tree: OwnedFd) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, path, from_descriptor)?;
    seal(path)
}

/// Lets nothing be written in a mount.
fn seal(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | QUIET, c"")?)
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

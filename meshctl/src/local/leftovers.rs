//! What meshes that were killed left in the folder of sockets. Nothing of one that runs is touched.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Removes what belongs to processes that are gone: their sockets and the folders of their workloads. What cannot be
/// removed stays; it harms nobody.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(pid) = name.strip_suffix(".sock").and_then(pid)
            && is_gone(folder, pid)
        {
            let _ = std::fs::remove_file(&path);
        }
        if let Some(pid) = name.strip_prefix("workloads-").and_then(pid)
            && is_gone(folder, pid)
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn pid(text: &str) -> Option<i32> {
    text.parse().ok().filter(|pid| *pid > 0)
}

/// No such process, and nobody at its socket: one whose processes are counted otherwise may share the folder.
fn is_gone(folder: &Path, pid: i32) -> bool {
    let served = UnixStream::connect(folder.join(format!("{pid}.sock")));
    let unserved =
        served.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound));
    unserved && kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_killed_meshes_left_is_removed() {
        let folder = std::env::temp_dir().join(format!("meshctl-leftovers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let (gone, own) = (ended.id(), std::process::id());
        // Nobody has this number; somebody of another system of numbers answers for it.
        let elsewhere = i32::MAX;
        let _served = UnixListener::bind(folder.join(format!("{elsewhere}.sock"))).unwrap();
        drop(UnixListener::bind(folder.join(format!("{gone}.sock"))).unwrap());
        for name in [gone, own, elsewhere.unsigned_abs()].map(|pid| format!("workloads-{pid}")) {
            std::fs::create_dir_all(folder.join(name).join("web-0")).unwrap();
        }
        std::fs::write(folder.join("notes.txt"), "").unwrap();
        sweep(&folder);
        let mut left: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = [
            format!("{elsewhere}.sock"),
            "notes.txt".to_owned(),
            format!("workloads-{elsewhere}"),
            format!("workloads-{own}"),
        ];
        expected.sort();
        assert_eq!(left, expected);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

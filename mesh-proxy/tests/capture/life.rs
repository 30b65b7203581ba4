//! Starting, restarting, ending; and that nothing is left.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use mesh_proxy::capture::{Exit, LaunchError, Launcher};
use tokio::io::AsyncBufReadExt;

use crate::Case;
use crate::stage::{accept, launch, output, run, workload};

pub(crate) const CASES: &[Case] = &[
    ("the_machine_of_the_test_allows_namespaces", supported),
    ("the_application_cannot_leave_the_capture", confined),
    ("the_application_has_the_rights_of_a_restricted_pod_and_no_more", rights),
    ("a_hidden_folder_is_empty_for_the_application_only", hidden),
    ("what_is_shown_of_a_hidden_folder_can_be_read_and_not_changed", shown),
    ("an_exit_code_is_reported_and_a_restart_keeps_the_listener", restart),
    ("a_program_that_does_not_exist_is_named", not_started),
    ("stop_asks_first_and_leaves_no_process", stop),
    ("stop_does_not_wait_for_ever", stubborn),
    ("a_killed_launcher_leaves_no_process_and_no_mount", killed),
    ("a_dropped_workload_ends", dropped),
    ("a_killed_broker_takes_the_workload_along", lost),
    ("what_the_application_leaves_behind_ends_with_it", leftovers),
    ("a_large_environment_and_many_names_arrive", large),
    ("an_interrupt_from_the_terminal_does_not_reach_the_workload", own_group),
    ("a_machine_without_namespaces_says_so_in_one_line", refused),
];

fn supported() {
    run(async { Launcher::new().is_supported().await.unwrap() });
}

fn confined() {
    run(async {
        let mut launched = launch(&["confined"], &[]).await;
        let text = output(&mut launched).await;
        assert_eq!(text, "tried\n");
        assert_eq!(launched.process.wait().await, Exit::Code(0));
    });
}

fn rights() {
    run(async {
        let mut spec = workload(&[], &[]);
        spec.program.argv = ["/bin/sh", "-c", "grep -E 'Cap(Bnd|Eff|Prm)|NoNewPrivs' /proc/self/status"]
            .map(Into::into)
            .into();
        let mut launched = Launcher::new().spawn(spec).await.unwrap();
        let text = output(&mut launched).await;
        let of = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_owned();
        // The only right left is to listen on ports below 1024.
        let bind = format!("{:016x}", 1 << 10);
        assert_eq!((of("CapBnd:"), of("NoNewPrivs:")), (bind.clone(), "1".to_owned()), "{text}");
        assert!([bind, "0".repeat(16)].contains(&of("CapEff:")), "{text}");
        assert_eq!(of("CapEff:"), of("CapPrm:"));
    });
}

fn hidden() {
    run(async {
        let folder = std::env::temp_dir().join(format!("mesh-hidden-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("secret"), "x").unwrap();
        let mut spec = workload(&[], &[]);
        spec.hidden = vec![folder.clone(), "/no/such/folder".into()];
        let script = format!("umount {0} 2>/dev/null; ls -A {0}; echo done", folder.display());
        spec.program.argv = ["/bin/sh".into(), "-c".into(), script.into()].into();
        let mut launched = Launcher::new().spawn(spec).await.unwrap();
        let text = output(&mut launched).await;
        let outside = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((text.as_str(), outside), ("done\n", 1));
    });
}

fn shown() {
    run(async {
        let folder = std::env::temp_dir().join(format!("mesh-shown-{}", std::process::id()));
        let (own, other) = (folder.join("a/own"), folder.join("a/other"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(own.join("mine"), "text\n").unwrap();
        let mut spec = workload(&[], &[]);
        spec.hidden = vec![folder.clone()];
        spec.shown = vec![own.clone(), "/elsewhere".into()];
        let script = "umount $0/a/own 2>/dev/null; ls -A $0/a; cat $0/a/own/mine
            (echo x > $0/a/own/new || mkdir $0/a/other) 2>/dev/null && echo changed; echo done";
        spec.program.argv = ["/bin/sh".into(), "-c".into(), script.into(), folder.clone().into()].into();
        let mut launched = Launcher::new().spawn(spec.clone()).await.unwrap();
        let text = output(&mut launched).await;
        // What is written outside is seen inside.
        std::fs::write(own.join("mine"), "more\n").unwrap();
        launched.process.restart().await.unwrap();
        let again = output(&mut launched).await;
        spec.shown = vec![folder.join("a/none")];
        let error = Launcher::new().spawn(spec).await.unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((text.as_str(), again.as_str()), ("own\ntext\ndone\n", "own\nmore\ndone\n"));
        assert!(error.to_string().contains("take a folder that is to be shown"), "{error}");
    });
}

fn restart() {
    run(async {
        let mut launched = launch(&["exit", "7"], &[]).await;
        assert_eq!(launched.process.wait().await, Exit::Code(7));
        assert_eq!(launched.process.wait().await, Exit::Code(7), "the answer stays");
        assert_eq!(launched.process.pid(), None);
        launched.process.restart().await.unwrap();
        assert_eq!(launched.process.wait().await, Exit::Code(7));
        let mut launched = launch(&["connect", "240.0.0.1:1"], &[]).await;
        let (_held, _) = accept(&launched).await;
        let first = launched.process.pid().unwrap();
        launched.process.restart().await.unwrap();
        let (_held, found) = accept(&launched).await;
        assert_eq!(found.unwrap(), "240.0.0.1:1".parse().unwrap());
        assert_ne!(launched.process.pid().unwrap(), first);
        assert!(!runs(first), "the one before was killed");
    });
}

fn not_started() {
    run(async {
        let mut spec = workload(&[], &[]);
        spec.program.argv = vec!["/no/such/program".into()];
        let error = Launcher::new().spawn(spec).await.unwrap_err();
        assert!(matches!(&error, LaunchError::NotStarted { program, .. } if program == "/no/such/program"));
        assert!(error.to_string().contains("No such file"), "{error}");
        let mut spec = workload(&[], &[]);
        spec.program.cwd = "/no/such/folder".into();
        Launcher::new().spawn(spec).await.unwrap_err();
    });
}

fn stop() {
    run(async {
        let launched = launch(&["daemon"], &[]).await;
        let mut lines = tokio::io::BufReader::new(launched.stdout).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started true"));
        let before = descendants(std::process::id());
        assert!(before.len() >= 4, "broker, supervisor, application, daemon: {before:?}");
        assert_eq!(launched.process.stop(Duration::from_secs(5)).await, Exit::Signal(15));
        assert_eq!(descendants(std::process::id()), BTreeSet::new(), "reaped too");
        assert!(before.into_iter().all(|pid| !runs(pid)));
    });
}

fn stubborn() {
    run(async {
        let launched = launch(&["stubborn"], &[]).await;
        let mut lines = tokio::io::BufReader::new(launched.stdout).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("deaf"));
        assert_eq!(launched.process.stop(Duration::from_millis(50)).await, Exit::Signal(9));
        assert_eq!(descendants(std::process::id()), BTreeSet::new());
    });
}

fn dropped() {
    run(async {
        let launched = launch(&["daemon"], &[]).await;
        let all = descendants(std::process::id());
        assert!(all.len() >= 3);
        drop(launched);
        while all.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// Launches a workload, says so, and waits to be killed.
pub(crate) fn hold() -> ExitCode {
    run(async {
        let launched = launch(&["daemon"], &[]).await;
        let mut lines = tokio::io::BufReader::new(launched.stdout).lines();
        lines.next_line().await.unwrap();
        println!("held");
        std::future::pending::<()>().await;
        drop((launched.process, launched.broker));
    });
    ExitCode::FAILURE
}

fn killed() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = std::env::current_exe().unwrap();
    let mut holder = Command::new(own).arg("hold").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts,
        "nothing is mounted outside"
    );
    let all = descendants(holder.id());
    assert!(all.len() >= 4, "broker, supervisor, application, daemon: {all:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    run(async {
        while all.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// Whether a process runs; one that nobody has reaped yet does not.
fn runs(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    let mut words = rest.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    descendants(parent)
        .into_iter()
        .filter(|pid| state_and_parent(*pid).is_some_and(|(_, p)| p == parent))
        .collect()
}

/// All processes below one.
fn descendants(root: u32) -> BTreeSet<u32> {
    let all: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let parents: Vec<(u32, u32)> =
        all.into_iter().filter_map(|pid| Some((pid, state_and_parent(pid)?.1))).collect();
    let mut found = BTreeSet::new();
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| (*parent == root || found.contains(parent)) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn lost() {
    run(async {
        let mut launched = launch(&["daemon"], &[]).await;
        let all = descendants(std::process::id());
        let broker = children(std::process::id());
        assert_eq!(broker.len(), 1);
        let broker = rustix::process::Pid::from_raw(broker[0].try_into().unwrap()).unwrap();
        rustix::process::kill_process(broker, rustix::process::Signal::KILL).unwrap();
        assert_eq!(launched.process.wait().await, Exit::Lost);
        let again = launched.process.restart().await.unwrap_err();
        assert!(matches!(again, LaunchError::Lost), "{again}");
        while all.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

fn leftovers() {
    run(async {
        let mut launched = launch(&["leave-daemon"], &[]).await;
        assert_eq!(output(&mut launched).await, "left\n");
        assert_eq!(descendants(std::process::id()).len(), 2, "broker and supervisor");
    });
}

fn large() {
    run(async {
        let mut spec = workload(&["environment", "NAME", "name-29999"], &[]);
        spec.program.env.insert("NAME".into(), "x".repeat(100_000).into());
        spec.hosts =
            (0..30_000).map(|at: u32| (at.to_be_bytes().into(), vec![format!("name-{at}")])).collect();
        let mut launched = Launcher::new().spawn(spec).await.unwrap();
        assert_eq!(output(&mut launched).await, "100000 0.0.117.47\n");
    });
}

fn own_group() {
    run(async {
        let launched = launch(&["daemon"], &[]).await;
        let own = rustix::process::getpgrp();
        for pid in descendants(std::process::id()) {
            let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
            assert_ne!(rustix::process::getpgid(Some(pid)).unwrap(), own);
        }
        launched.process.stop(Duration::from_secs(5)).await;
    });
}

fn refused() {
    // In a user namespace of its own, a process may take rights from itself that the machine would have to take.
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).unwrap();
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).unwrap();
    for limit in ["user", "net"] {
        std::fs::write(format!("/proc/sys/user/max_{limit}_namespaces"), "0").unwrap();
    }
    run(async {
        let error = Launcher::new().is_supported().await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot create "), "{text}");
        assert!(text.ends_with(" (user.max_user_namespaces is 0)"), "{text}");
        assert_eq!(text.lines().count(), 1);
        let spawned = Launcher::new().spawn(workload(&["exit", "0"], &[])).await.unwrap_err();
        assert_eq!(spawned.to_string(), text);
    });
}

//! `xtask release`: our programs for other machines, optimised and linked statically; and, where there is a profile of
//! what they do most, compiled by it, with the functions that are called beside each other. The profile is a build's own
//! count of its branches under `bench train`; what else a proxy calls, callgrind sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::{order, say, setup, step};

/// The programs that are built when none is named.
const PROGRAMS: &[&str] = &["mesh-node", "mesh-proxy", "meshctl", "service-mesh-controller"];
/// The one that counts: all that the others do is in it.
const COUNTS: &str = "meshctl";
/// A controller, and the proxy whose calls under it are watched: there is one for each workload, and most are idle.
const WATCHED: [&str; 2] = ["service-mesh-controller", "mesh-proxy"];
/// The triple that a static program is built for.
const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
/// One file that runs in an empty image.
const STATIC: &str = "-Ctarget-feature=+crt-static";
/// What puts counts together, and the Debian package that brings it. Its format is older than the compiler's, which
/// reads it all the same.
const MERGE: (&str, &str) = ("llvm-profdata-19", "llvm-19");
/// What sees calls, and its package.
const WATCH: (&str, &str) = ("valgrind", "valgrind");
const EXTENSION: &str = "profdata";
/// The order of functions, beside the profile.
const ORDER: &str = "order";
/// Whether the linker of the target can order functions: rustc brings LLVM's for this one.
const ORDERS: bool = cfg!(target_arch = "x86_64");

/// Builds these programs, or all; with `--profile` after a new profile was made.
///
/// # Errors
/// When a program cannot be built, or the profile cannot be made.
pub(crate) fn run(config: &Config, arguments: &[String]) -> anyhow::Result<()> {
    let (options, programs): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|word| word.starts_with("--"));
    let anew = match options[..] {
        [] => false,
        ["--profile"] => true,
        _ => bail!("{} is not known here; there is --profile", options.join(" ")),
    };
    if anew {
        profile(config)?;
    }
    let programs = if programs.is_empty() { PROGRAMS } else { &programs };
    let mut flags = vec![STATIC.to_owned()];
    let found = found(&folder(config));
    let order = found.as_ref().map(|profile| profile.with_extension(ORDER)).filter(|order| order.exists());
    match &found {
        Some(profile) => {
            say(&format!("compiled by the profile {}", profile.display()));
            flags.push(format!("-Cprofile-use={}", profile.display()));
        }
        None => say("compiled without a profile; --profile makes one"),
    }
    if let Some(order) = &order {
        flags.push(format!("-Clink-arg=-Wl,--symbol-ordering-file={}", order.display()));
        // No program has all functions of the list.
        flags.push("-Clink-arg=-Wl,--no-warn-symbol-ordering".to_owned());
    }
    step::succeed(build(config, programs, &flags))?;
    match order {
        Some(order) if anew && WATCHED.iter().all(|program| programs.contains(program)) => {
            watch(config, &order)?;
            step::succeed(build(config, programs, &flags))
        }
        _ => Ok(()),
    }
}

/// A call of cargo. The whole workspace is selected, though only these programs are built, so that dependencies have
/// the same features, and so the same names in a profile, whichever programs are built.
fn build(config: &Config, programs: &[&str], flags: &[String]) -> Command {
    let mut call =
        step::cargo(config, &["build", "--locked", "--release", "--workspace", "--target", TARGET]);
    for program in programs {
        call.args(["--bin", program]);
    }
    call.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    call
}

fn folder(config: &Config) -> PathBuf {
    config.root.join("target/profile")
}

/// The profile that was made last.
fn found(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
}

/// Makes a profile in place of the one before. Its name changes with what is in it, because cargo compiles anew when
/// flags change, not when a file does.
fn profile(config: &Config) -> anyhow::Result<()> {
    setup::debian(&[MERGE, WATCH])?;
    let (folder, counting) = (folder(config), config.root.join("target/counting"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let raw = folder.join("raw");
    let mut call =
        build(config, &[COUNTS], &[STATIC.to_owned(), format!("-Cprofile-generate={}", raw.display())]);
    call.arg("--target-dir").arg(&counting);
    step::succeed(call)?;
    let program = counting.join(TARGET).join("release").join(COUNTS);
    step::succeed(bench(config, "train", &[program]))?;
    let merged = folder.join("merged");
    let mut merge = Command::new(MERGE.0);
    merge.args(["merge", "--sparse", "--output"]).arg(&merged).arg(&raw);
    step::succeed(merge)?;
    let text = fs::read(&merged).with_context(|| merged.display().to_string())?;
    let name = setup::key(&String::from_utf8_lossy(&text));
    let profile = folder.join(name).with_extension(EXTENSION);
    if ORDERS {
        fs::write(profile.with_extension(ORDER), order::of("", &counts(&merged)?))?;
    }
    fs::rename(&merged, profile)?;
    Ok(())
}

/// What a profile counted, as text.
fn counts(profile: &Path) -> anyhow::Result<String> {
    let mut show = Command::new(MERGE.0);
    show.args(["show", "--all-functions", "--counts"]).arg(profile);
    step::output(show)
}

/// Orders functions anew by what the proxy that was just built calls, that in C included, and lets it be linked again. Its
/// names are not those of the program that counted.
fn watch(config: &Config, order: &Path) -> anyhow::Result<()> {
    let file = order.with_file_name("called");
    let built = |program| config.root.join("target").join(TARGET).join("release").join(program);
    let [controller, proxy] = WATCHED.map(built);
    step::succeed(bench(config, "called", &[controller, proxy, file.clone()]))?;
    let counts = counts(&order.with_extension(EXTENSION))?;
    fs::write(order, order::of(&fs::read_to_string(&file)?, &counts))?;
    // The flags are as before; what cargo compiles anew is a file that was written since.
    let main = config.root.join(WATCHED[1]).join("src/main.rs");
    fs::write(&main, fs::read(&main)?)?;
    Ok(())
}

/// A task of our benchmarks, about these files.
fn bench(config: &Config, task: &str, files: &[PathBuf]) -> Command {
    let mut call = step::cargo(config, &["run", "--locked", "--quiet", "--package", "bench", "--", task]);
    call.args(files);
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_selects_the_workspace_and_carries_each_flag_whole() {
        let config = Config { root: PathBuf::from("/w"), ..Config::read() };
        let call = build(&config, &["a", "b"], &["-Cone=x y".to_owned(), "-Ctwo".to_owned()]);
        let words: Vec<_> = call.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert!(
            words.join(" ").ends_with(&format!("--workspace --target {TARGET} --bin a --bin b")),
            "{words:?}"
        );
        let flags =
            call.get_envs().find_map(|(name, value)| (name == "CARGO_ENCODED_RUSTFLAGS").then_some(value?));
        assert_eq!(flags, Some("-Cone=x y\u{1f}-Ctwo".as_ref()));
    }

    #[test]
    fn only_a_finished_profile_is_found() {
        let folder = std::env::temp_dir().join(format!("xtask-release-{}", std::process::id()));
        assert_eq!(found(&folder), None);
        fs::create_dir_all(folder.join("raw")).expect("a folder");
        fs::write(folder.join("merged"), "").expect("a file");
        assert_eq!(found(&folder), None);
        fs::write(folder.join("0123.profdata"), "").expect("a file");
        assert_eq!(found(&folder), Some(folder.join("0123.profdata")));
        fs::remove_dir_all(&folder).expect("removed");
    }
}

//! Packages that must not be in the tree at all, or only once. deny.toml says the same for cargo-deny; this
//! needs no other tool and runs with the tests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;

use crate::config::Config;
use crate::step;

/// Second TLS stacks, and clients that bring one.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "reqwest", "ring"];

/// Two versions of one of these would be two incompatible sets of types.
const ONCE: &[&str] = &["h2", "http", "hyper", "prost", "rustls", "tokio", "tonic"];

/// # Errors
/// Names the packages that should not be there.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--all-features",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
    ];
    let wrong = wrong(&step::output(step::cargo(config, &arguments))?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(())
}

/// What is wrong with a list of `name vVERSION …` lines.
fn wrong(tree: &str) -> Vec<String> {
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let banned = BANNED.iter().filter(|name| versions.contains_key(*name));
    let mut wrong: Vec<String> = banned.map(|name| format!("{name} must not be in the tree")).collect();
    for name in ONCE {
        if versions.get(name).is_some_and(|versions| versions.len() > 1) {
            wrong.push(format!("{name} is there in several versions: {:?}", versions[name]));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn a_banned_package_and_a_second_version_are_named() {
        assert_eq!(
            wrong("rustls v0.23.46\nrustls v0.23.46 (*)\nsyn v2.0.1\nsyn v3.0.1\nrustls v0.23.46 (*)"),
            [""; 0]
        );
        assert!(wrong("ring v0.17.14")[0].contains("ring"));
        assert!(wrong("http v1.5.0\nhttp v0.2.12")[0].contains("several"));
    }
}

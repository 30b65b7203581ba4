//! Names of what is made for an object: at most 63 characters, one rule for all.

use aws_lc_rs::digest;

/// The most characters that a label value or service name may have (RFC 1123).
const MAX: usize = 63;
/// What stays of a name that is too long.
const KEPT: usize = 52;

/// The name itself when it fits, else its first 52 characters, a dash and ten hexadecimal digits of its
/// SHA-256.
///
/// ```
/// assert_eq!(mesh_provision::names::bounded("edge-mesh"), "edge-mesh");
/// assert_eq!(mesh_provision::names::bounded(&"a".repeat(64)).len(), 63);
/// ```
pub fn bounded(name: &str) -> String {
    if name.len() <= MAX { name.to_owned() } else { hashed(name) }
}

/// As [`bounded`], for names that must be a DNS label (RFC 1035): no dots, and a letter first.
///
/// ```
/// assert_eq!(mesh_provision::names::dns_label("edge-mesh"), "edge-mesh");
/// assert!(mesh_provision::names::dns_label("1.edge").starts_with("g-1-edge-"));
/// ```
pub fn dns_label(name: &str) -> String {
    let letter_first = name.starts_with(|first: char| first.is_ascii_lowercase());
    if letter_first && !name.contains('.') {
        return bounded(name);
    }
    let prefix = if letter_first { "" } else { "g-" };
    // The hash of the name as written keeps names apart that differ in a dot only.
    let mark = hashed(name);
    let digits = mark.rsplit('-').next().unwrap_or_default();
    let kept: String = format!("{prefix}{}", name.replace('.', "-")).chars().take(KEPT).collect();
    format!("{kept}-{digits}")
}

fn hashed(name: &str) -> String {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hex: String = hash.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(KEPT).collect();
    format!("{kept}-{hex}")
}

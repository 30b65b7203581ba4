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
/// assert_eq!(mesh_controller::names::bounded("edge-mesh"), "edge-mesh");
/// assert_eq!(mesh_controller::names::bounded(&"a".repeat(64)).len(), 63);
/// ```
pub fn bounded(name: &str) -> String {
    if name.len() <= MAX {
        return name.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hex: String = hash.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(KEPT).collect();
    format!("{kept}-{hex}")
}

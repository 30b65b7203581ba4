//! What each fuzz target checks, as plain functions of bytes: libFuzzer calls them, and so does the test that
//! runs the corpora. No target knows how it is called.
//!
//! With the feature `planted` each target has a bug behind the parser that it is for. `cargo xtask extra` shows
//! that every target finds its own within a minute: a target that cannot is blind.

pub mod controller;
pub mod http1;
pub mod model;
pub mod peers;
pub mod wire;

/// A target.
pub type Target = fn(&[u8]);

/// Every target by name, in the order of the names. Each has a file of that name in `fuzz_targets/` and a folder
/// in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("authority", model::authority),
    ("certificate", peers::certificate),
    ("certificate_request", peers::certificate_request),
    ("client_hello", peers::client_hello),
    ("dns_answer", peers::dns_answer),
    ("dns_query", peers::dns_query),
    ("duration", model::duration),
    ("host_pattern", model::host_pattern),
    ("http1", http1::http1),
    ("http_head", wire::http_head),
    ("identity", model::identity),
    ("jwt_svid", peers::jwt_svid),
    ("last_good", wire::last_good),
    ("native", wire::native),
    ("objects", controller::objects),
    ("path", model::path),
    ("resource_key", model::resource_key),
    ("sealed_store", peers::sealed_store),
    ("session", wire::session),
    ("trace_context", peers::trace_context),
    ("xds_request", peers::xds_request),
    ("yaml", controller::yaml),
];

/// The planted bug: reached when the input got through the parser and is of a kind that no seed is of.
pub(crate) fn planted(reached: bool) {
    if cfg!(feature = "planted") {
        assert!(!reached, "the planted bug");
    }
}

/// The bytes as text, if they are UTF-8: most parsers take nothing else.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

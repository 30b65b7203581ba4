//! What the commands take from their environment; nothing else reads it.
#![allow(clippy::disallowed_methods, reason = "the one file of this crate that reads the environment")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The folder of the sockets of running meshes: below `XDG_RUNTIME_DIR`, else below the temporary folder.
pub(crate) fn runtime_folder() -> PathBuf {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    own.unwrap_or_else(env::temp_dir).join(format!("service-mesh-{}", nix::unistd::getuid()))
}

/// The variables that started processes get: what a login shell would need, and nothing that may be a secret.
pub(crate) fn passed_on() -> BTreeMap<OsString, OsString> {
    const NAMES: [&str; 6] = ["HOME", "LANG", "LC_ALL", "PATH", "TERM", "TZ"];
    NAMES.iter().filter_map(|name| Some((OsString::from(name), env::var_os(name)?))).collect()
}

/// The kubeconfig files: those of `KUBECONFIG`, else the one in the home folder.
#[cfg(feature = "cluster")]
pub(crate) fn kubeconfig_files() -> Vec<PathBuf> {
    match env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => env::split_paths(&list).collect(),
        None => {
            env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")).into_iter().collect()
        }
    }
}

/// What is logged: `MESH_LOG`, in the form of `tracing`, or warnings.
pub(crate) fn log_filter() -> String {
    env::var("MESH_LOG").unwrap_or_else(|_| "warn".to_owned())
}

/// Where a service is, by the variables that Kubernetes sets for every service of the namespace. A service port
/// of its own (`REVIEWS_PORT_9080_TCP_ADDR`, `REVIEWS_PORT_9080_TCP_PORT`) comes before the service's first port
/// (`REVIEWS_SERVICE_HOST`, `REVIEWS_SERVICE_PORT`). `None` where they are not set: then names resolve.
pub(crate) fn service_address(host: &str, port: u16) -> Option<(String, u16)> {
    address_among(host, port, |variable| env::var(variable).ok())
}

fn address_among(host: &str, port: u16, read: impl Fn(&str) -> Option<String>) -> Option<(String, u16)> {
    let service = host.split('.').next().unwrap_or(host).to_uppercase().replace('-', "_");
    let pair = |host: &str, port: &str| Some((read(host)?, read(port)?.parse().ok()?));
    let link = format!("{service}_PORT_{port}_TCP");
    pair(&format!("{link}_ADDR"), &format!("{link}_PORT"))
        .or_else(|| pair(&format!("{service}_SERVICE_HOST"), &format!("{service}_SERVICE_PORT")))
}

#[cfg(test)]
mod tests {
    use super::address_among;

    fn read(variable: &str) -> Option<String> {
        let value = match variable {
            "REVIEWS_V2_SERVICE_HOST" => "127.0.0.1",
            "REVIEWS_V2_SERVICE_PORT" => "4000",
            "REVIEWS_V2_PORT_9443_TCP_ADDR" => "127.0.0.2",
            "REVIEWS_V2_PORT_9443_TCP_PORT" => "5000",
            "RATINGS_SERVICE_HOST" => "127.0.0.1",
            "RATINGS_SERVICE_PORT" => "none",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn a_service_is_found_by_its_variables_and_a_port_of_its_own_first() {
        let found = |host, port| address_among(host, port, read);
        assert_eq!(found("reviews-v2", 9080), Some(("127.0.0.1".to_owned(), 4000)));
        assert_eq!(found("reviews-v2.default.svc", 9443), Some(("127.0.0.2".to_owned(), 5000)));
        assert_eq!(found("details", 9080), None);
        assert_eq!(found("ratings", 9080), None, "a port that is no number is no address");
    }
}

//! From kubeconfig files to one connection. Reads files and runs the credential plugin that a user names there;
//! which files there are is the caller's to say.

use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_objects::scalar::base64_decode;
use serde_json::Value as Json;

/// Where the API server is, and who we are to it.
#[derive(Clone)]
pub struct Connection {
    pub(super) server: String,
    /// Certificates in PEM.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
    pub(super) token: Option<String>,
    /// Certificate chain and key in PEM.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.server)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// No file.
    #[error("there is no kubeconfig; set KUBECONFIG or give --kubeconfig (looked at: {0})")]
    Absent(String),
    /// A file that cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The plugin gave no credentials.
    #[error("the credential plugin {command}: {problem}")]
    Plugin {
        /// Its program.
        command: String,
        /// What went wrong.
        problem: String,
    },
    /// Something is named that is not there.
    #[error("the kubeconfig has no {what} {name:?}")]
    Unknown {
        /// What kind of entry.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A setting that is not followed.
    #[error("the kubeconfig sets {0}")]
    Unsupported(&'static str),
}

/// An entry with the folder that its relative paths are meant from.
struct Entry {
    folder: PathBuf,
    value: Json,
}

impl Connection {
    /// The connection of a context, or of the current one, from files of which the first that names something
    /// wins.
    ///
    /// # Errors
    /// When no file is there, one cannot be read, or what it sets is not there or not supported.
    pub fn load(paths: &[PathBuf], context: Option<&str>) -> Result<Self, KubeconfigError> {
        let mut files = Vec::new();
        for path in paths.iter().filter(|path| path.is_file()) {
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            files.push(Entry { folder, value: read(path)? });
        }
        if files.is_empty() {
            let looked: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(KubeconfigError::Absent(looked.join(", ")));
        }
        let current = files.iter().find_map(|file| text(&file.value["current-context"]));
        let context = context.map(str::to_owned).or(current).unwrap_or_default();
        let context = named(&files, "contexts", "context", &context)?.value;
        let cluster = named(&files, "clusters", "cluster", &text(&context["cluster"]).unwrap_or_default())?;
        let user = match text(&context["user"]) {
            Some(name) => named(&files, "users", "user", &name)?,
            None => Entry { folder: PathBuf::new(), value: Json::Null },
        };
        connection(&cluster, &user)
    }
}

fn connection(cluster: &Entry, user: &Entry) -> Result<Connection, KubeconfigError> {
    let unsupported = [
        (
            &cluster.value,
            "insecure-skip-tls-verify",
            "insecure-skip-tls-verify, which is not followed: give certificate-authority",
        ),
        (&cluster.value, "proxy-url", "proxy-url, which is not followed"),
        (&user.value, "auth-provider", "auth-provider, which Kubernetes has removed: use exec"),
        (&user.value, "username", "username, which Kubernetes has removed: use a token or a certificate"),
    ];
    let set = |value: &Json| !value.is_null() && *value != Json::Bool(false);
    if let Some((.., text)) = unsupported.iter().find(|(entry, key, _)| set(&entry[key])) {
        return Err(KubeconfigError::Unsupported(text));
    }
    let certificate = bytes(user, "client-certificate")?;
    let key = bytes(user, "client-key")?;
    let token = match text(&user.value["tokenFile"]) {
        Some(path) => {
            Some(slurp(&user.folder.join(path))?).map(|t| String::from_utf8_lossy(&t).trim().to_owned())
        }
        None => text(&user.value["token"]),
    };
    let mut connection = Connection {
        server: text(&cluster.value["server"]).unwrap_or_default(),
        authorities: bytes(cluster, "certificate-authority")?,
        server_name: text(&cluster.value["tls-server-name"]),
        token,
        identity: certificate.zip(key),
    };
    if user.value["exec"].is_object() {
        plugin(&user.value["exec"], &mut connection)?;
    }
    Ok(connection)
}

/// Runs the user's credential plugin (`client.authentication.k8s.io`), which may ask at the terminal.
fn plugin(exec: &Json, connection: &mut Connection) -> Result<(), KubeconfigError> {
    let program = text(&exec["command"]).unwrap_or_default();
    let failed = |problem: String| KubeconfigError::Plugin { command: program.clone(), problem };
    let mut command = Command::new(&program);
    command.args(exec["args"].as_array().into_iter().flatten().filter_map(Json::as_str));
    for pair in exec["env"].as_array().into_iter().flatten() {
        command.env(text(&pair["name"]).unwrap_or_default(), text(&pair["value"]).unwrap_or_default());
    }
    let asked = serde_json::json!({
        "apiVersion": exec["apiVersion"],
        "kind": "ExecCredential",
        "spec": {"interactive": false},
    });
    command.env("KUBERNETES_EXEC_INFO", asked.to_string()).stderr(std::process::Stdio::inherit());
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("{}", output.status)));
    }
    let answer: Json = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let status = &answer["status"];
    connection.token = text(&status["token"]).or(connection.token.take());
    let pem = |name: &str| text(&status[name]).map(String::into_bytes);
    connection.identity =
        pem("clientCertificateData").zip(pem("clientKeyData")).or(connection.identity.take());
    Ok(())
}

fn named(files: &[Entry], list: &str, field: &'static str, name: &str) -> Result<Entry, KubeconfigError> {
    let entries = |file: &Entry| {
        let found = file.value[list].as_array().into_iter().flatten().find(|entry| entry["name"] == name);
        found.map(|entry| Entry { folder: file.folder.clone(), value: entry[field].clone() })
    };
    let found = files.iter().find_map(entries);
    found.ok_or_else(|| KubeconfigError::Unknown { what: field, name: name.to_owned() })
}

/// What `<name>-data` holds in base64, or the file that `<name>` names.
fn bytes(entry: &Entry, name: &str) -> Result<Option<Vec<u8>>, KubeconfigError> {
    if let Some(encoded) = text(&entry.value[format!("{name}-data")]) {
        let problem = || KubeconfigError::File {
            path: entry.folder.clone(),
            problem: format!("{name}-data is not base64"),
        };
        return base64_decode(encoded.as_bytes()).ok_or_else(problem).map(Some);
    }
    text(&entry.value[name]).map(|path| slurp(&entry.folder.join(path))).transpose()
}

fn read(path: &Path) -> Result<Json, KubeconfigError> {
    let document = mesh_yaml::read(&slurp(path)?).into_iter().next();
    let root = document.map(|document| document.root).transpose();
    let failed = |problem: String| KubeconfigError::File { path: path.to_path_buf(), problem };
    Ok(root.map_err(|error| failed(error.to_string()))?.map_or(Json::Null, |root| root.to_json()))
}

fn slurp(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    let failed = |error: std::io::Error| KubeconfigError::File {
        path: path.to_path_buf(),
        problem: error.to_string(),
    };
    std::fs::read(path).map_err(failed)
}

fn text(value: &Json) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[&str], context: Option<&str>) -> Result<Connection, KubeconfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "authority").unwrap();
        let mut paths = Vec::new();
        for (nth, text) in files.iter().enumerate() {
            paths.push(folder.path().join(nth.to_string()));
            std::fs::write(&paths[nth], text).unwrap();
        }
        Connection::load(&paths, context)
    }

    const CLUSTER: &str = "clusters: [{name: c, cluster: {server: 'https://c.test:6443', certificate-authority: ca.pem}}]\n\
                           contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: d, user: u}}]\n\
                           current-context: a\n";

    #[test]
    fn files_add_to_each_other_and_paths_are_meant_from_their_file() {
        let found = load(&[CLUSTER, "users: [{name: u, user: {token: t}}]"], None).unwrap();
        assert_eq!(found.server, "https://c.test:6443");
        assert_eq!(found.authorities.as_deref(), Some(&b"authority"[..]));
        assert_eq!(found.token.as_deref(), Some("t"));
    }

    #[test]
    fn a_plugin_gives_the_token() {
        let answer = r#"{"status": {"token": "fresh"}}"#;
        let user = format!("users: [{{name: u, user: {{exec: {{command: echo, args: ['{answer}']}}}}}}]");
        assert_eq!(load(&[CLUSTER, &user], None).unwrap().token.as_deref(), Some("fresh"));
        let broken = "users: [{name: u, user: {exec: {command: 'false'}}}]";
        let error = load(&[CLUSTER, broken], None).unwrap_err().to_string();
        assert_eq!(error, "the credential plugin false: exit status: 1");
    }

    #[test]
    fn what_is_missing_or_not_followed_is_named() {
        let user = "users: [{name: u, user: {}}]";
        let error = |files: &[&str], context| load(files, context).unwrap_err().to_string();
        assert_eq!(error(&[CLUSTER, user], Some("b")), "the kubeconfig has no cluster \"d\"");
        assert_eq!(error(&[CLUSTER, user], Some("z")), "the kubeconfig has no context \"z\"");
        let insecure = "clusters: [{name: d, cluster: {server: x, insecure-skip-tls-verify: true}}]";
        assert_eq!(
            error(&[CLUSTER, user, insecure], Some("b")),
            "the kubeconfig sets insecure-skip-tls-verify, which is not followed: give certificate-authority"
        );
        assert!(error(&[], None).starts_with("there is no kubeconfig"));
    }
}

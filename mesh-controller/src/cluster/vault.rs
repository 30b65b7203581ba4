//! The authority's sealed state in a Secret that all replicas share, and the key that seals it.
//!
//! A save replaces the state only when the stored generation is the one that the new state was made from, and
//! names the version of the Secret that it looked at: of two replicas one wins, and the other one is told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use mesh_ca::store::{KeyFile, SealingKey, Store, StoreError, generation};
use serde_json::{Value, json};

use super::client::{Api, CallError, Fault};
use crate::objects::scalar::{base64_decode, base64_encode};

/// The Secret of the sealed state.
const STATE: &str = "mesh-ca";
/// The Secret of the key, where no key file is named.
const KEY: &str = "mesh-ca-key";
/// The entry of either Secret.
const ENTRY: &str = "content";

/// What the thread is asked to do.
enum Order {
    Load,
    Save(Vec<u8>),
}

type Answer = Result<Option<Vec<u8>>, CallError>;

/// The sealed state in a Secret. The authority waits for its store where it cannot await, so the calls are
/// made by a thread with a runtime and connections of its own.
pub(super) struct Vault {
    orders: mpsc::Sender<(Order, mpsc::Sender<Answer>)>,
    name: String,
}

impl Vault {
    /// Starts the thread, which ends with the store.
    pub(super) fn start<F>(namespace: &str, connect: impl FnOnce() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = Result<Api, CallError>>,
    {
        let (orders, receiver) = mpsc::channel::<(Order, mpsc::Sender<Answer>)>();
        let path = secrets(namespace);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            let api = runtime.block_on(connect());
            while let Ok((order, reply)) = receiver.recv() {
                let answer = match &api {
                    Ok(api) => runtime.block_on(carry_out(api, &path, order)),
                    Err(error) => Err(error.clone()),
                };
                let _ = reply.send(answer);
            }
        };
        std::thread::Builder::new().name("mesh-ca-store".to_owned()).spawn(work)?;
        Ok(Self { orders, name: format!("secret {namespace}/{STATE}") })
    }

    fn ask(&self, order: Order, operation: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |text: String| StoreError::Io {
            path: PathBuf::from(&self.name),
            operation,
            source: io::Error::other(text),
        };
        let (reply, answer) = mpsc::channel();
        let gone = "the thread of the store has ended";
        self.orders.send((order, reply)).map_err(|_| failed(gone.to_owned()))?;
        let answer = answer.recv().map_err(|_| failed(gone.to_owned()))?;
        answer.map_err(|error| failed(error.to_string()))
    }
}

impl Store for Vault {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(Order::Load, "read")
    }

    fn save(&self, sealed: &[u8]) -> Result<(), StoreError> {
        self.ask(Order::Save(sealed.to_vec()), "write").map(drop)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

async fn carry_out(api: &Api, secrets: &str, order: Order) -> Answer {
    let path = format!("{secrets}/{STATE}");
    let held = found(api.get(&path).await)?;
    let held = held.map(|secret| content(&secret).map(|bytes| (secret, bytes))).transpose()?;
    match (order, held) {
        (Order::Load, held) => Ok(held.map(|(_, bytes)| bytes)),
        (Order::Save(sealed), None) => {
            api.create(secrets, &secret(STATE, &sealed)).await?;
            Ok(None)
        }
        (Order::Save(sealed), Some((mut held, before))) => {
            let follows = generation(&before).map(|before| before + 1) == generation(&sealed);
            if !follows {
                let text = "another replica has saved a change first";
                return Err(CallError::new(path, Fault::Conflict, text));
            }
            held["data"] = json!({ENTRY: base64_encode(&sealed)});
            api.replace(&path, &held).await?;
            Ok(None)
        }
    }
}

/// The key that seals the state: that of a file, or one that the first replica puts into a Secret.
pub(super) async fn sealing_key(
    api: &Api,
    namespace: &str,
    file: Option<&Path>,
) -> Result<SealingKey, SealingError> {
    if let Some(file) = file {
        return Ok(KeyFile::load(file)?);
    }
    let (all, path) = (secrets(namespace), format!("{}/{KEY}", secrets(namespace)));
    let held = match found(api.get(&path).await)? {
        Some(held) => held,
        None => {
            let fresh = SealingKey::generate();
            match api.create(&all, &secret(KEY, fresh.to_hex().as_bytes())).await {
                Ok(made) => made,
                Err(error) if error.fault() == Fault::Conflict => api.get(&path).await?,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let text = zeroize::Zeroizing::new(content(&held)?);
    let refused = |_| SealingError::Form(format!("{namespace}/{KEY}"));
    let text = std::str::from_utf8(&text).map_err(|_| SealingError::Form(format!("{namespace}/{KEY}")))?;
    SealingKey::from_hex(text).map_err(refused)
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealingError {
    /// The Secret cannot be read or made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] StoreError),
    /// The Secret holds no key.
    #[error("secret {0} holds no sealing key: 64 hexadecimal digits are expected")]
    Form(String),
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn secret(name: &str, content: &[u8]) -> Value {
    let data = json!({ENTRY: base64_encode(content)});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data})
}

fn content(secret: &Value) -> Result<Vec<u8>, CallError> {
    let text = secret.pointer(&format!("/data/{ENTRY}")).and_then(Value::as_str).unwrap_or_default();
    let name = secret.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let damaged = || CallError::new(format!("secret {name}"), Fault::Refused, "its content is no base64");
    base64_decode(text.as_bytes()).ok_or_else(damaged)
}

/// A missing object is no error.
fn found(answer: Result<Value, CallError>) -> Result<Option<Value>, CallError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.fault() == Fault::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;

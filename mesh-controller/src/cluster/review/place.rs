//! Where the pod of a token is, by the API server, so that a token that was copied elsewhere proves nothing.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::client::{Api, Fault};

/// How often it is looked whether a pod has an address, and the pause after each look.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// From where a token may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// From any address: nobody compares, or the pod has its node's network and all addresses of that.
    Anywhere,
    /// From an address of its pod.
    Pod { name: String, addresses: Vec<IpAddr> },
}

impl Pod {
    /// Where the pod is, or why its token proves nothing. The error is a server that does not know yet. A proxy asks
    /// within milliseconds of its pod's start, and nodes tell a pod's address up to a second later; so this waits.
    pub(super) async fn place(&self, api: &Api) -> Result<Result<Place, String>, String> {
        for _ in 0..LOOKS {
            if let Ok(place) = self.look(api).await {
                return Ok(place);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.look(api).await
    }

    async fn look(&self, api: &Api) -> Result<Result<Place, String>, String> {
        let Self { namespace, name, uid } = self;
        match api.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await {
            Ok(pod) if pod.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid) => {
                self.read(&pod).map(Ok)
            }
            Ok(_) => Ok(Err(format!("the token is that of an earlier pod {namespace}/{name}"))),
            Err(error) if error.fault() == Fault::NotFound => {
                Ok(Err(format!("pod {namespace}/{name}, whose token this is, is gone")))
            }
            Err(error) => Err(format!("where pod {namespace}/{name} is cannot be read: {error}")),
        }
    }

    fn read(&self, pod: &Value) -> Result<Place, String> {
        if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
            return Ok(Place::Anywhere);
        }
        let listed = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
        let addresses: Vec<IpAddr> =
            listed.filter_map(|entry| entry.get("ip")?.as_str()?.parse().ok()).collect();
        let name = format!("{}/{}", self.namespace, self.name);
        match addresses.is_empty() {
            true => Err(format!("pod {name} has no address yet")),
            false => Ok(Place::Pod { name, addresses }),
        }
    }
}

impl Place {
    /// Refuses a request that comes from elsewhere, with the reason.
    pub(super) fn holds(&self, from: Option<IpAddr>) -> Result<(), String> {
        let Self::Pod { name, addresses } = self else { return Ok(()) };
        match from {
            Some(from) if addresses.contains(&from) => Ok(()),
            Some(from) => Err(format!("the token of pod {name} came from {from}, which is no address of it")),
            None => Err(format!("it is not known whether the token of pod {name} came from there")),
        }
    }
}

#[cfg(test)]
mod tests;

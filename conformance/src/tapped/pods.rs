//! Which pods are met with mutual TLS, at which addresses and since when: asked of the API server again and again while
//! something runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::clock;
use crate::cluster::{Place, kubectl};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// How long clients may take to learn that a pod is met with mutual TLS, in seconds.
pub(super) const LEARN: f64 = 3.0;
/// The name of a sidecar's container.
const SIDECAR: &str = "mesh-proxy";

/// For how long a pod was seen to be met with mutual TLS.
#[derive(Debug, Clone, PartialEq)]
struct Stay {
    name: String,
    first: f64,
    last: f64,
}

/// Who was where.
#[derive(Debug, Default)]
pub(super) struct Pods(BTreeMap<IpAddr, Vec<Stay>>);

impl Pods {
    /// The pod that was met with mutual TLS at an address at a time, and had been long enough for all to know.
    pub(super) fn name(&self, address: IpAddr, at: f64) -> Option<String> {
        let there = |stay: &&Stay| stay.first + LEARN <= at && at <= stay.last;
        self.0.get(&address)?.iter().find(there).map(|stay| stay.name.clone())
    }

    /// Adds what was seen at a time.
    fn see(&mut self, seen: &[(IpAddr, String)], at: f64) {
        for (address, name) in seen {
            let stays = self.0.entry(*address).or_default();
            match stays.last_mut() {
                Some(stay) if stay.name == *name => stay.last = at,
                _ => stays.push(Stay { name: name.clone(), first: at, last: at }),
            }
        }
    }
}

/// The list while it is kept.
pub(super) struct Roll {
    ended: Arc<AtomicBool>,
    pods: Arc<Mutex<Pods>>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Roll {
    pub(super) fn start(place: &Place) -> Self {
        let (ended, pods) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Pods>>::default());
        let (place, end, list) = (place.clone(), Arc::clone(&ended), Arc::clone(&pods));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Acquire) {
                let seen = look(&place)?;
                let at = clock::since_1970();
                list.lock().unwrap_or_else(PoisonError::into_inner).see(&seen, at);
                clock::pause(PAUSE);
            }
            Ok(())
        });
        Self { ended, pods, thread }
    }

    /// # Errors
    /// What kept the list from being whole.
    pub(super) fn end(self) -> anyhow::Result<Pods> {
        self.ended.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread that asks for pods ended badly"))??;
        Ok(std::mem::take(&mut *self.pods.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn look(place: &Place) -> anyhow::Result<Vec<(IpAddr, String)>> {
    let list = |words: &[&str]| -> anyhow::Result<Value> {
        serde_json::from_str(&kubectl(place, words)?).context("a list in JSON")
    };
    let pods = list(&["get", "pods", "-A", "-o", "json"])?;
    let served = list(&["get", "configmaps", "-n", "service-mesh-system", "-o", "json"])?;
    Ok(met(&pods, &served))
}

/// The addresses of pods whose sidecar is ready, and of those that the node's proxy says it serves.
fn met(pods: &Value, served: &Value) -> Vec<(IpAddr, String)> {
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let entries: Vec<Value> = items(served)
        .iter()
        .filter_map(|map| serde_json::from_str(map["data"]["pods"].as_str()?).ok())
        .collect();
    let mut met = Vec::new();
    for pod in items(pods) {
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let name = format!("{}/{}", text("namespace"), text("name"));
        let listed = status["podIPs"].as_array().into_iter().flatten().map(|entry| &entry["ip"]);
        let own: Vec<&str> = listed.chain([&status["podIP"]]).filter_map(Value::as_str).collect();
        let containers = status["initContainerStatuses"].as_array().cloned().unwrap_or_default();
        let ready = |container: &Value| container["name"] == SIDECAR && container["ready"] == true;
        let is_here = |list: &Value| {
            let addresses = list[&name].as_array().cloned().unwrap_or_default();
            addresses.iter().any(|entry| entry.as_str().is_some_and(|entry| own.contains(&entry)))
        };
        if containers.iter().any(ready) || entries.iter().any(is_here) {
            let mut addresses: Vec<IpAddr> = own.iter().filter_map(|text| text.parse().ok()).collect();
            addresses.dedup();
            met.extend(addresses.into_iter().map(|address| (address, name.clone())));
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_with_a_ready_sidecar_and_those_that_a_node_serves_are_met_with_tls() {
        let pod = |name: &str, address: &str, ready: bool| {
            json!({"metadata": {"namespace": "a", "name": name}, "status": {"podIP": address,
                "initContainerStatuses": [{"name": SIDECAR, "ready": ready}]}})
        };
        let (sidecar, starting) = (pod("x", "10.0.0.1", true), pod("y", "10.0.0.2", false));
        let pods =
            json!({"items": [sidecar, starting, pod("n", "10.0.0.3", false), pod("n", "10.0.0.4", false)]});
        let served =
            json!({"items": [{"data": {"pods": "{\"a/n\":[\"10.0.0.3\"]}"}}, {"data": {"other": "x"}}]});
        let expected = [("10.0.0.1", "a/x"), ("10.0.0.3", "a/n")];
        let expected = expected.map(|(address, name)| (address.parse().unwrap(), name.to_owned()));
        assert_eq!(met(&pods, &served), expected);
    }

    #[test]
    fn an_address_is_a_pods_only_while_it_has_it() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mut pods = Pods::default();
        for at in [10.0, 11.0, 20.0] {
            pods.see(&[(address, "a/x".to_owned())], at);
        }
        pods.see(&[(address, "a/y".to_owned())], 30.0);
        pods.see(&[(address, "a/y".to_owned())], 40.0);
        let name = |at| pods.name(address, at);
        assert_eq!([name(10.5), name(15.0), name(25.0)], [None, Some("a/x".to_owned()), None]);
        assert_eq!([name(31.0), name(35.0)], [None, Some("a/y".to_owned())]);
    }
}

//! Tells the control plane which pods are served, so that clients reach them with mutual TLS. It is told again until it
//! has been noted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mesh_model::ObjectName;
use mesh_proxy::control::Connector;
use mesh_xds::nodes::{Served, ServedPod, tell};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The pods that are served, with their addresses.
pub type Pods = BTreeMap<ObjectName, Vec<IpAddr>>;

/// Pause after a failure, and time that the control plane has to act on what it noted.
const AGAIN: Duration = Duration::from_secs(1);
/// See [`AGAIN`].
const PATIENCE: Duration = Duration::from_secs(5);
/// How long telling may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What was told, and what is being told.
pub struct Report {
    connector: Connector,
    token: PathBuf,
    told: Option<Pods>,
    under_way: Option<(Pods, JoinHandle<Result<(), String>>)>,
    not_before: Instant,
    failing: bool,
}

impl Report {
    /// Tells this controller, with the token in the file as proof.
    pub fn new(connector: Connector, token: PathBuf) -> Self {
        Self { connector, token, told: None, under_way: None, not_before: Instant::now(), failing: false }
    }

    /// Tells it when it differs from what was told, or is `doubted`: the control plane does not act on it. Never waits.
    pub async fn keep(&mut self, pods: &Pods, doubted: bool) {
        if let Some((told, task)) = self.under_way.take_if(|(_, task)| task.is_finished()) {
            self.note(told, task.await.unwrap_or_else(|error| Err(error.to_string())));
        }
        let is_news = doubted || self.told.as_ref() != Some(pods);
        if is_news && self.under_way.is_none() && Instant::now() >= self.not_before {
            let telling = said(self.connector.clone(), self.token.clone(), pods.clone());
            self.under_way = Some((pods.clone(), tokio::spawn(telling)));
        }
    }

    fn note(&mut self, told: Pods, outcome: Result<(), String>) {
        let pause = if outcome.is_ok() { PATIENCE } else { AGAIN };
        self.not_before = Instant::now() + pause;
        match outcome {
            Ok(()) => (self.told, self.failing) = (Some(told), false),
            Err(problem) => {
                self.told = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        problem,
                        "the control plane does not know which pods are served; telling it again"
                    );
                }
            }
        }
    }

    /// Says that no pod is served any more, and waits until that is noted or the time is over.
    pub async fn end(self) {
        if let Some((_, task)) = self.under_way {
            task.abort();
        }
        if let Err(problem) = said(self.connector, self.token, Pods::new()).await {
            tracing::warn!(problem, "the control plane does not know that no pod is served any more");
        }
    }
}

async fn said(connector: Connector, token: PathBuf, pods: Pods) -> Result<(), String> {
    let say = async {
        let token = std::fs::read_to_string(&token).map_err(|error| format!("the token: {error}"))?;
        let pod = |(name, addresses): (&ObjectName, &Vec<IpAddr>)| ServedPod {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let served = Served { token: token.trim().to_owned(), pods: pods.iter().map(pod).collect() };
        let connection = connector.connect().await.map_err(|error| error.to_string())?;
        tell(connection, served).await.map_err(|status| status.message().to_owned())
    };
    tokio::time::timeout(LIMIT, say).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

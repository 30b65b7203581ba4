//! Who asks for a first certificate: projected tokens of service accounts, judged by the API server
//! (`TokenReview`). A server that does not answer means no certificate; those who have one renew it without. A token
//! counts only where its pod is: who copies it elsewhere gets nothing. The proxy of a node asks for its pods with its own
//! token, each time: it says on which node it is.

mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use mesh_ca::attest::{AttestError, Attesting, Attestor, Evidence};
use mesh_model::{SpiffeId, TrustDomain, Workload};
use mesh_rt::SharedClock;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Api, Fault};
use crate::controller::View;
use place::{Place, Pod};

/// Whom a token must be meant for.
const AUDIENCE: &str = "mesh-ca";
/// How long a judgement holds: long enough for a client that tries again, short enough for a deleted pod.
const MEMORY: Duration = Duration::from_secs(10);
/// Most judgements that are remembered.
const REMEMBERED: usize = 1024;
/// Longest token that is looked at, in bytes.
const LONGEST: usize = 8192;
/// Reviews per second, and how many may come at once.
const RATE: (f64, f64) = (50.0, 100.0);

/// What a token proves: the account, and where its pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Proven {
    id: SpiffeId,
    node: String,
    place: Place,
}

type Judgement = Result<Proven, String>;

/// Judges tokens by asking the API server.
pub(super) struct TokenReviewer {
    api: Api,
    trust_domain: TrustDomain,
    clock: SharedClock,
    nodes: Nodes,
    anywhere: bool,
    state: Mutex<State>,
}

/// Which pods the proxies of nodes may stand for.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    /// The identity of these proxies.
    pub(super) proxy: SpiffeId,
    /// What the controller holds.
    pub(super) view: watch::Receiver<View>,
}

struct State {
    known: BTreeMap<[u8; 32], (Instant, Judgement)>,
    allowance: f64,
    counted: Instant,
}

impl TokenReviewer {
    pub(super) fn new(api: Api, trust_domain: TrustDomain, clock: SharedClock, nodes: Nodes) -> Self {
        let state = State { known: BTreeMap::new(), allowance: RATE.1, counted: clock.monotonic() };
        Self { api, trust_domain, clock, nodes, anywhere: false, state: Mutex::new(state) }
    }

    /// Whether tokens count wherever they come from, for networks that change the source addresses of pods.
    pub(super) fn anywhere(self, anywhere: bool) -> Self {
        Self { anywhere, ..self }
    }

    async fn judge(&self, token: &str) -> Result<Proven, AttestError> {
        if token.len() > LONGEST {
            return Err(AttestError::Refused("the token is too long".to_owned()));
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let remembered = self.lock().recall(&mark, self.clock.monotonic())?;
        if let Some(judgement) = remembered {
            return judgement.map_err(AttestError::Refused);
        }
        let spec = json!({"token": token, "audiences": [AUDIENCE]});
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let answer = self.api.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        let judgement = match answer {
            Ok(answer) => self.located(verdict(&answer, &self.trust_domain)).await?,
            Err(error) if error.fault() == Fault::Refused => Err("the token cannot be read".to_owned()),
            Err(error) => {
                return Err(AttestError::Unavailable(format!("the token cannot be judged: {error}")));
            }
        };
        self.lock().remember(mark, self.clock.monotonic(), judgement.clone());
        judgement.map_err(AttestError::Refused)
    }

    /// What a token proves that came from this address.
    async fn prove(&self, token: &str, from: Option<IpAddr>) -> Result<Proven, AttestError> {
        let proven = self.judge(token).await?;
        proven.place.holds(from).map_err(AttestError::Refused)?;
        Ok(proven)
    }

    /// Finds out where the pod of a token is.
    async fn located(
        &self,
        verdict: Result<(Proven, Option<Pod>), String>,
    ) -> Result<Judgement, AttestError> {
        match verdict {
            Ok((proven, _)) if self.anywhere => Ok(Ok(proven)),
            Ok((proven, Some(pod))) => {
                let place = pod.place(&self.api).await.map_err(AttestError::Unavailable)?;
                Ok(place.map(|place| Proven { place, ..proven }))
            }
            Ok((Proven { id, .. }, None)) => Ok(Err(format!("the token of {id} is not that of a pod"))),
            Err(why) => Ok(Err(why)),
        }
    }

    /// The node whose proxy shows this token.
    pub(super) async fn node_of(&self, token: &str, from: Option<IpAddr>) -> Result<String, AttestError> {
        let Proven { id, node, .. } = self.prove(token, from).await?;
        match id == self.nodes.proxy && !node.is_empty() {
            true => Ok(node),
            false => {
                Err(AttestError::Refused(format!("the token of {id} does not say that it is a node's proxy")))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was judged before; none when the server may be asked.
    fn recall(&mut self, mark: &[u8; 32], now: Instant) -> Result<Option<Judgement>, AttestError> {
        let fresh = |(at, _): &&(Instant, Judgement)| now.saturating_duration_since(*at) < MEMORY;
        if let Some((_, judgement)) = self.known.get(mark).filter(fresh) {
            return Ok(Some(judgement.clone()));
        }
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.allowance = (self.allowance + passed * RATE.0).min(RATE.1);
        self.counted = now;
        if self.allowance < 1.0 {
            return Err(AttestError::Unavailable("too many tokens at once, try again later".to_owned()));
        }
        self.allowance -= 1.0;
        Ok(None)
    }

    fn remember(&mut self, mark: [u8; 32], now: Instant, judgement: Judgement) {
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, (at, _)| now.saturating_duration_since(*at) < MEMORY);
        }
        if self.known.len() < REMEMBERED {
            self.known.insert(mark, (now, judgement));
        }
    }
}

/// The identity that a review proves, and its pod; or why it proves none.
fn verdict(answer: &Value, trust_domain: &TrustDomain) -> Result<(Proven, Option<Pod>), String> {
    let status = answer.get("status").unwrap_or(&Value::Null);
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        let error = status.get("error").and_then(Value::as_str).unwrap_or("it is not valid");
        return Err(format!("the token is refused: {error}"));
    }
    let audiences = status.get("audiences").and_then(Value::as_array);
    if !audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE)) {
        return Err(format!("the token is not meant for {AUDIENCE}"));
    }
    let name = status.pointer("/user/username").and_then(Value::as_str).unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, account)) = account else {
        return Err(format!("{name:?} is no service account"));
    };
    let extra = |field: &str| {
        let values = status.pointer("/user/extra").and_then(|extra| extra.get(field));
        values.and_then(|values| values.get(0)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let [node, name, uid] = ["node-name", "pod-name", "pod-uid"]
        .map(|field| extra(&format!("authentication.kubernetes.io/{field}")));
    tracing::info!(target: "mesh_ca::audit", namespace, account, node, pod = name, uid, "token accepted");
    let id = SpiffeId::for_service_account(trust_domain, namespace, account);
    let pod = (!name.is_empty()).then(|| Pod { namespace: namespace.to_owned(), name, uid });
    Ok((Proven { id: id.map_err(|error| error.to_string())?, node, place: Place::Anywhere }, pod))
}

impl Nodes {
    /// Whose certificate is given to whom proved this: his own, or that of a pod that his node's proxy serves.
    fn grant(&self, proven: Proven, asked: Option<&SpiffeId>) -> Result<SpiffeId, String> {
        let Some(asked) = asked.filter(|asked| **asked != proven.id) else { return Ok(proven.id) };
        let Proven { id, node, .. } = proven;
        if id != self.proxy {
            return Err(format!("{id} may not ask for {asked}: only the proxies of nodes ask for others"));
        }
        if node.is_empty() {
            return Err("the token does not say on which node its pod runs".to_owned());
        }
        let view = self.view.borrow();
        let served =
            |w: &Workload| w.identity == *asked && w.on_node.as_ref().is_some_and(|n| *n.node == *node);
        match view.mesh.all_workloads().any(|workload| served(workload)) {
            true => Ok(asked.clone()),
            false => Err(format!("no pod that the proxy of node {node} serves has the identity {asked}")),
        }
    }
}

impl Attestor for TokenReviewer {
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a> {
        Box::pin(async move {
            match evidence.token {
                Some(token) => {
                    let proven = self.prove(token, evidence.from).await?;
                    self.nodes.grant(proven, evidence.asked).map_err(AttestError::Refused)
                }
                None => Err(AttestError::NoEvidence),
            }
        })
    }
}

impl fmt::Debug for TokenReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReviewer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

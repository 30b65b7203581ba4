//! Keeps the pods of a node served as the control plane wants them. It looks at the snapshot and at the namespaces
//! whenever one of them may have changed, and does what the plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mesh_capture::NamespaceId;
use mesh_model::ObjectName;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::handover::Handover;
use crate::places::Places;
use crate::plan::{Found, Leaving, Plan, Seat, Wanted, is_reached, plan, wanted};
use crate::pod::{EnterError, Pod, Shared, Sockets, clean};
use crate::report::Report;

/// Pause between two looks while a pod is awaited, and how long it is awaited so eagerly.
const SOON: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));
/// Pause between two looks otherwise: namespaces go without a word.
const LATER: Duration = Duration::from_secs(2);

/// How long clients have to learn that a pod is met with mutual TLS, before plain text is refused there. A pod that nothing
/// has led to so far has no such clients.
const LEARN: Duration = Duration::from_secs(10);
/// How long clients have to learn the opposite when nobody takes this process's place.
const FORGET: Duration = Duration::from_secs(2);

/// The pods of a node.
pub struct Node {
    name: String,
    shared: Shared,
    places: Places,
    accounts: Accounts,
    report: Report,
    handover: Handover,
    served: BTreeMap<ObjectName, Pod>,
    /// Pods that let plain text in although clients begin to know better, and until when.
    known: BTreeMap<ObjectName, Instant>,
    /// What is being left, by namespace: until it is, nothing enters there.
    leaving: BTreeMap<NamespaceId, JoinHandle<()>>,
    /// What was said last about a pod, or (under an empty name) about all of them.
    said: BTreeMap<ObjectName, String>,
    is_clean: bool,
    settled: watch::Sender<bool>,
}

impl Node {
    /// The pods of the node with this name.
    pub fn new(name: impl Into<String>, shared: Shared, places: Places, asking: (Accounts, Report)) -> Self {
        let (accounts, report) = asking;
        Self {
            name: name.into(),
            shared,
            places,
            accounts,
            report,
            handover: Handover::none(),
            known: BTreeMap::new(),
            served: BTreeMap::new(),
            leaving: BTreeMap::new(),
            said: BTreeMap::new(),
            is_clean: false,
            settled: watch::Sender::new(false),
        }
    }

    /// The same, which takes sockets over from an earlier process and hands them on to a later one.
    #[must_use]
    pub fn with_handover(mut self, handover: Handover) -> Self {
        self.handover = handover;
        self
    }

    /// Turns true when every pod that was wanted is served for the first time, or was awaited in vain.
    pub fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// The pods that are served now.
    pub fn served(&self) -> impl Iterator<Item = &Pod> {
        self.served.values()
    }

    /// Serves until `shutdown` resolves, and then until the last connection has ended or the drain's deadline is over.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut changes = self.shared.mesh.changes();
        let mut shutdown = std::pin::pin!(shutdown);
        let mut eager = Instant::now() + SOON.1;
        loop {
            let complete = self.pass().await;
            self.tell().await;
            let is_all = complete || Instant::now() > eager && self.shared.mesh.current().version() > 0;
            if is_all && !*self.settled.borrow() {
                self.handover.settle().await;
                self.settled.send_replace(true);
            }
            let pause = if complete || Instant::now() > eager { LATER } else { SOON.0 };
            tokio::select! {
                _ = changes.changed() => eager = Instant::now() + SOON.1,
                () = tokio::time::sleep(pause) => {}
                () = &mut shutdown => break,
            }
        }
        self.end().await;
    }

    /// One look at everything, and what follows from it. Returns whether nothing is left to be done.
    pub async fn pass(&mut self) -> bool {
        let mesh = self.shared.mesh.current();
        if mesh.version() == 0 {
            return false;
        }
        let wanted = wanted(&mesh, &self.name);
        let seats: BTreeMap<_, _> =
            self.served.iter().map(|(name, pod)| (name.clone(), pod.seat.clone())).collect();
        let settled = seats.values().map(|seat| seat.namespace).collect();
        let everybody = ObjectName::new("", "");
        let found = match self.places.look(&settled) {
            Ok(found) => found,
            Err(unread) => {
                self.say(&everybody, &format!("no pod can be entered or left: {unread}"));
                return false;
            }
        };
        self.said.remove(&everybody);
        let plan = plan(&wanted, &seats, &found);
        self.clean(&wanted, &found);
        self.accounts.keep(&wanted.values().map(|workload| workload.identity.clone()).collect());
        self.leave(&plan);
        let entered = self.enter(&wanted, &plan).await;
        for (name, why) in &plan.unclear {
            self.say(name, &format!("it is not clear which network namespace is the pod's: {why}"));
        }
        let known = |name: &ObjectName| wanted.contains_key(name) || *name == everybody;
        self.said.retain(|name, _| known(name));
        entered && plan.missing.is_empty() && plan.unclear.is_empty()
    }

    /// Lets clients know what is served, and plain text in no more where they do.
    async fn tell(&mut self) {
        let mesh = self.shared.mesh.current();
        if mesh.version() == 0 {
            return;
        }
        let pods = self.served.iter().map(|(name, pod)| (name.clone(), pod.seat.workload.addresses.clone()));
        let is_met =
            |name: &ObjectName| mesh.workload(name).is_some_and(|workload| workload.is_met_with_tls());
        let doubted = self.served.keys().any(|name| !is_met(name));
        // What an earlier process said holds until its pods are taken over, or clients would send plain text meanwhile.
        let is_left = |name: &ObjectName| is_met(name) && !self.served.contains_key(name);
        let takes_over = wanted(&mesh, &self.name).keys().any(is_left);
        // Two that say different things would be heard in turn.
        let is_replaced = self.handover.is_replaced();
        if !is_replaced && (*self.settled.borrow() || !takes_over) {
            self.report.keep(&pods.collect(), doubted).await;
        }
        let now = Instant::now();
        self.known.retain(|name, _| is_met(name));
        for (name, pod) in self.served.iter_mut().filter(|(name, pod)| pod.is_open() && is_met(name)) {
            let until = *self
                .known
                .entry(name.clone())
                .or_insert_with(|| if is_reached(&mesh, &pod.seat.workload) { now + LEARN } else { now });
            if now < until {
                continue;
            }
            pod.close_plaintext();
            tracing::info!(pod = %name, "plain text enters no more");
        }
    }

    /// An earlier process that was killed may have left rules in pods that nobody serves now.
    fn clean(&mut self, wanted: &Wanted, found: &Found) {
        if std::mem::replace(&mut self.is_clean, true) {
            return;
        }
        let is_wanted =
            |there: &BTreeSet<_>| wanted.values().any(|w| w.addresses.iter().any(|a| there.contains(a)));
        for (id, _) in found.iter().filter(|(_, there)| !is_wanted(there)) {
            match self.places.open(*id).map(|namespace| namespace.map(|namespace| clean(&namespace))) {
                Ok(None | Some(Ok(()))) => {}
                Ok(Some(Err(error))) => {
                    tracing::warn!(%error, "rules of an earlier proxy may be left in a pod")
                }
                Err(error) => tracing::warn!(%error, "rules of an earlier proxy may be left in a pod"),
            }
        }
    }

    fn leave(&mut self, plan: &Plan) {
        self.leaving.retain(|_, task| !task.is_finished());
        for (name, why) in &plan.leave {
            let Some(pod) = self.served.remove(name) else { continue };
            tracing::info!(pod = %name, ?why, "the pod is served no more");
            let namespace = pod.seat.namespace;
            let is_anothers = self.handover.is_served(namespace);
            self.handover.left(namespace);
            let task = match why {
                Leaving::Gone => {
                    pod.stop();
                    continue;
                }
                Leaving::Released if is_anothers => tokio::spawn(async move { pod.leave_to_others().await }),
                Leaving::Released => tokio::spawn(pod.release()),
            };
            self.leaving.insert(namespace, task);
        }
    }

    /// Returns whether all of them were entered.
    async fn enter(&mut self, wanted: &Wanted, plan: &Plan) -> bool {
        let mut all = true;
        // What is claimed, the process that takes this one's place is about to serve.
        let ours: Vec<_> =
            plan.enter.iter().filter(|(_, place)| !self.handover.is_claimed(**place)).collect();
        for (name, place) in ours {
            let Some(workload) = wanted.get(name) else { continue };
            let seat = Seat { namespace: *place, workload: Arc::clone(workload) };
            match self.one(seat).await {
                Ok(Some(pod)) => {
                    self.said.remove(name);
                    tracing::info!(pod = %name, identity = %workload.identity, "the pod is served");
                    self.served.insert(name.clone(), pod);
                }
                Ok(None) => all = false,
                Err(problem) => {
                    self.say(name, &problem);
                    all = false;
                }
            }
        }
        all
    }

    /// Enters one; `None` when it cannot be done yet.
    async fn one(&mut self, seat: Seat) -> Result<Option<Pod>, String> {
        // Before there is an identity every connection would fail.
        let Some(tls) = self.accounts.ready(&seat.workload.identity) else { return Ok(None) };
        if self.leaving.contains_key(&seat.namespace) {
            return Ok(None);
        }
        let place = seat.namespace;
        let namespace = self.places.open(place).map_err(|error| error.to_string())?;
        let Some(namespace) = namespace else { return Ok(None) };
        let taken = self.handover.take(&namespace).await;
        let enter = || -> Result<_, EnterError> {
            let sockets = taken.map_or_else(|| Sockets::open(&namespace), Ok)?;
            let offered = sockets.try_clone()?;
            Ok((Pod::enter(&self.shared, seat, (namespace, sockets), tls)?, offered))
        };
        let (pod, offered) = enter().map_err(|error| error.to_string())?;
        self.handover.entered(place, offered).await;
        Ok(Some(pod))
    }

    /// Says what keeps a pod from being served, once.
    fn say(&mut self, name: &ObjectName, problem: &str) {
        if self.said.get(name).is_none_or(|said| said != problem) {
            tracing::warn!(pod = %name, problem, "the pod is not served");
            self.said.insert(name.clone(), problem.to_owned());
        }
    }

    /// Leaves every pod: to the process that takes this one's place where it is there, and to itself otherwise.
    pub async fn end(mut self) {
        let goes_back = self.handover.goes_back().await;
        if !goes_back {
            let places: Vec<_> = self.served.values().map(|pod| pod.seat.namespace).collect();
            self.handover.awaits_successor(&places).await;
        }
        let is_anothers =
            |pod: &Pod| goes_back || self.handover.is_served(pod.seat.namespace) || pod.has_successor();
        let (left, released): (Vec<_>, Vec<_>) = self.served.into_values().partition(is_anothers);
        if left.is_empty() && !released.is_empty() {
            self.report.end().await;
            tokio::time::sleep(FORGET).await;
        }
        let mut tasks = JoinSet::new();
        for pod in left {
            self.handover.left(pod.seat.namespace);
            tasks.spawn(async move { pod.leave_to_others().await });
        }
        for pod in released {
            self.handover.left(pod.seat.namespace);
            tasks.spawn(pod.release());
        }
        for task in self.leaving.into_values() {
            tasks.spawn(async move { drop(task.await) });
        }
        while tasks.join_next().await.is_some() {}
    }
}

//! A local mesh as a whole: follows the files, keeps replicas and gateways as they say, and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use mesh_controller::controller::View;
use mesh_controller::local as controller_local;
use mesh_controller::objects::Process;
use mesh_model::{
    Finding, Listener, ListenerTls, Mesh as Snapshot, ObjectName, Resource, SpiffeId, Transport,
};
use mesh_proxy::telemetry::Telemetry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::addresses::Addresses;
use super::control::ControlPlane;
use super::gateways::{self, RunningGateway};
use super::ground::{Capture, label};
use super::replica::{Order, Replica, Shared};
use super::report::{self, Report};
use super::supervisor::State;

/// How a mesh is started.
pub(crate) struct Options {
    /// The files.
    pub(crate) path: PathBuf,
    /// How traffic is captured, and what to say about it.
    pub(crate) capture: (Capture, String),
    /// What its proxies tell.
    pub(crate) telemetry: Telemetry,
}

/// A mesh that runs.
pub(crate) struct Mesh {
    shared: Rc<Shared>,
    options: Options,
    addresses: Addresses,
    replicas: BTreeMap<(ObjectName, u32), Replica>,
    gateways: BTreeMap<ObjectName, RunningGateway>,
    problems: Vec<String>,
    report: watch::Sender<Report>,
}

impl Mesh {
    /// Runs a mesh until the token is cancelled, and leaves nothing behind.
    pub(crate) async fn run(
        options: Options,
        report: watch::Sender<Report>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let ending = CancellationToken::new();
        let control = ControlPlane::start(&options.path, ending.clone()).await?;
        let folder = if options.path.is_dir() { options.path.clone() } else { PathBuf::from(".") };
        let shared = Shared {
            control,
            capture: options.capture.0,
            folder,
            sockets: super::identity::folders(),
            telemetry: options.telemetry.clone(),
            changed: Notify::new(),
        };
        let mut mesh = Self {
            shared: Rc::new(shared),
            options,
            addresses: Addresses::claim()?,
            replicas: BTreeMap::new(),
            gateways: BTreeMap::new(),
            problems: Vec::new(),
            report,
        };
        mesh.follow(&stop).await;
        mesh.end().await;
        ending.cancel();
        Ok(())
    }

    async fn follow(&mut self, stop: &CancellationToken) {
        let shared = Rc::clone(&self.shared);
        let mut view = shared.control.view.clone();
        // Listeners and snapshots of proxies change without telling; the report looks at them until it is ready.
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let current = view.borrow_and_update().clone();
            self.reconcile(&current).await;
            self.tell_replicas();
            let report = self.describe(&current);
            let ready = report.ready;
            self.report.send_if_modified(|old| {
                let changed = *old != report;
                *old = report;
                changed
            });
            tokio::select! {
                _ = view.changed() => {}
                () = shared.changed.notified() => {}
                _ = look.tick(), if !ready => {}
                () = tokio::time::sleep(std::time::Duration::from_secs(1)), if ready => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Starts what the files ask for and stops what they do not ask for any more.
    async fn reconcile(&mut self, view: &View) {
        self.problems.clear();
        let mut wanted = BTreeMap::new();
        for (stored, process) in view.store.all::<Process>() {
            let Some(workload) = view.mesh.workload(stored.name()) else { continue };
            for ordinal in 0..process.spec.replicas {
                let key = (stored.name().clone(), ordinal);
                let order = self.order(&key, process, workload.identity.clone());
                order.into_iter().for_each(|order| drop(wanted.insert(key.clone(), order)));
            }
        }
        let outdated = |key: &(ObjectName, u32), replica: &Replica| wanted.get(key) != Some(&replica.order);
        let gone: Vec<_> =
            self.replicas.iter().filter(|(k, r)| outdated(k, r)).map(|(k, _)| k.clone()).collect();
        for replica in gone.iter().filter_map(|key| self.replicas.remove(key)) {
            // Its address and ports are free only when it has ended.
            replica.stop().await;
        }
        for (key, order) in wanted {
            if self.replicas.contains_key(&key) {
                continue;
            }
            match Replica::start(&self.shared, order) {
                Ok(replica) => drop(self.replicas.insert(key, replica)),
                Err(error) => self.problems.push(format!("process {} replica {}: {error:#}", key.0, key.1)),
            }
        }
        let kept: BTreeSet<_> = self.replicas.keys().map(|(name, n)| format!("{name}-{n}")).collect();
        gone.iter()
            .map(|(name, n)| format!("{name}-{n}"))
            .filter(|name| !kept.contains(name))
            .for_each(|name| self.addresses.release(&name));
        if let Err(error) = gateways::reconcile(&self.shared, &view.mesh, &mut self.gateways) {
            self.problems.push(format!("a gateway cannot be started: {error:#}"));
        }
    }

    fn order(&mut self, key: &(ObjectName, u32), process: &Process, identity: SpiffeId) -> Option<Order> {
        let address = self.addresses.of(&format!("{}-{}", key.0, key.1))?;
        Some(Order { process: key.0.clone(), object: process.clone(), ordinal: key.1, identity, address })
    }

    /// Tells the control plane which replicas there are.
    fn tell_replicas(&self) {
        let mut all: BTreeMap<ObjectName, Vec<controller_local::Replica>> = BTreeMap::new();
        for ((process, ordinal), replica) in &self.replicas {
            let now = replica.now.borrow();
            let mut told =
                controller_local::Replica::new(*ordinal, IpAddr::V4(replica.order.address), now.ready);
            told.ports = now.ports.clone();
            all.entry(process.clone()).or_default().push(told);
        }
        let known = self
            .shared
            .control
            .view
            .borrow()
            .store
            .all::<Process>()
            .map(|(s, _)| s.name().clone())
            .collect::<Vec<_>>();
        for name in known {
            all.entry(name).or_default();
        }
        all.into_iter().for_each(|(process, replicas)| self.shared.control.report(process, replicas));
    }

    fn describe(&self, view: &View) -> Report {
        let findings = view.findings.iter().cloned().chain(self.open_findings());
        let mut findings: Vec<String> = findings.map(|finding: Finding| finding.to_string()).collect();
        findings.extend(self.problems.iter().cloned());
        findings.extend(self.replicas.values().filter_map(died));
        Report {
            ready: self.is_ready(view),
            path: self.options.path.display().to_string(),
            capture: self.options.capture.1.clone(),
            gateways: view.mesh.all_listeners().map(|listener| self.gateway(listener)).collect(),
            services: view.mesh.all_services().map(|service| describe_service(&view.mesh, service)).collect(),
            workloads: self.replicas.values().map(describe_replica).collect(),
            findings,
        }
    }

    fn open_findings(&self) -> Vec<Finding> {
        let gateways = self.gateways.values().flat_map(RunningGateway::findings);
        let replicas = self.replicas.values().flat_map(|replica| replica.now.borrow().findings.clone());
        gateways.chain(replicas).collect()
    }

    fn gateway(&self, listener: &Listener) -> report::Gateway {
        let running = self.gateways.get(&listener.gateway);
        let address = running.and_then(|gateway| gateway.address(listener));
        report::Gateway {
            name: listener.gateway.to_string(),
            listener: listener.name.to_string(),
            url: address.map_or_else(|| "not open".to_owned(), |address| gateways::url(listener, address)),
            identity: running.map(|gateway| gateway.member.id.to_string()).unwrap_or_default(),
        }
    }

    /// Everything runs or says why not, and every proxy decides with what the control plane holds.
    fn is_ready(&self, view: &View) -> bool {
        let settled = |replica: &Replica| {
            let now = replica.now.borrow();
            now.ready || matches!(now.state, State::Backoff { .. })
        };
        let told = |listener: &Listener| {
            let running = self.gateways.get(&listener.gateway);
            running.is_some_and(|g| g.address(listener).is_some() || !g.findings().is_empty())
        };
        let sidecars = self.replicas.values().map(|replica| (&replica.member, None));
        let gateways = self.gateways.iter().map(|(name, gateway)| (&gateway.member, Some(name)));
        self.replicas.values().all(settled)
            && view.mesh.all_listeners().all(|listener| told(listener))
            && sidecars
                .chain(gateways)
                .all(|(member, gateway)| told_to(&view.mesh, gateway).eq(member.mesh.current().resources()))
            && self.replicas.values().all(|replica| in_force(view, replica))
    }

    async fn end(&mut self) {
        let gateways =
            std::mem::take(&mut self.gateways).into_values().map(|g| tokio::task::spawn_local(g.stop()));
        let replicas =
            std::mem::take(&mut self.replicas).into_values().map(|r| tokio::task::spawn_local(r.stop()));
        for ending in gateways.chain(replicas).collect::<Vec<_>>() {
            // Each stops by itself within its own limits.
            let _ = ending.await;
        }
    }
}

/// What a proxy is told: everything, but certificates with their keys only to the gateway that serves them.
fn told_to<'m>(mesh: &'m Snapshot, gateway: Option<&ObjectName>) -> impl Iterator<Item = &'m Resource> {
    let own = mesh.all_listeners().filter(|listener| Some(&listener.gateway) == gateway);
    let own: BTreeSet<_> = own
        .filter_map(|listener| match &listener.tls {
            Some(ListenerTls::Terminate { certificates, .. }) => Some(certificates),
            Some(ListenerTls::Passthrough) | None => None,
        })
        .flatten()
        .collect();
    let told = move |resource: &&Resource| match resource {
        Resource::Certificate(certificate) => own.contains(&certificate.key),
        _ => true,
    };
    mesh.resources().filter(told)
}

/// Whether the control plane has heard that a replica is ready.
fn in_force(view: &View, replica: &Replica) -> bool {
    let ready = replica.now.borrow().ready;
    let workload = view.mesh.workload(&replica.order.process);
    !ready || workload.is_some_and(|w| w.addresses.contains(&IpAddr::V4(replica.order.address)))
}

fn died(replica: &Replica) -> Option<String> {
    match &replica.now.borrow().state {
        State::Backoff { because, starts } => Some(format!(
            "warning[MESH0301] process {}: {because}; it is started again (start {starts})",
            replica.order.name()
        )),
        State::Running { .. } | State::Starting | State::Stopped => None,
    }
}

fn describe_service(mesh: &Snapshot, service: &mesh_model::Service) -> report::Service {
    let port = |port: &mesh_model::ServicePort| {
        format!(
            "{}/{}",
            port.port,
            if port.transport == Transport::Udp { "udp" } else { label(port.protocol) }
        )
    };
    let sets =
        service.ports.iter().filter_map(|port| mesh.endpoints(&service.name, port.transport, port.port));
    let (ready, all) = sets.map(|set| (set.ready().len(), set.all().count())).max().unwrap_or((0, 0));
    report::Service {
        name: service.name.to_string(),
        addresses: service.addresses.iter().map(ToString::to_string).collect(),
        ports: service.ports.iter().map(port).collect(),
        ready: format!("{ready}/{all}"),
    }
}

fn describe_replica(replica: &Replica) -> report::Workload {
    let now = replica.now.borrow();
    report::Workload {
        name: format!("{}/{}", replica.order.process.namespace, replica.order.name()),
        address: replica.order.address.to_string(),
        identity: replica.order.identity.to_string(),
        state: if now.ready { format!("{}, ready", now.state) } else { now.state.to_string() },
    }
}

//! Files to a mesh without running anything: every process is taken as running and ready.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;
use mesh_controller::controller::{Controller, View};
use mesh_controller::local::Replica;
use mesh_controller::objects::Process;
use mesh_controller::source::FileSource;
use mesh_controller::translate::Settings;
use mesh_model::TrustDomain;
use mesh_rt::SystemClock;

/// What the files hold.
pub(crate) struct Loaded {
    /// Objects, mesh and findings.
    pub(crate) view: View,
    /// The trust domain of its identities.
    pub(crate) trust_domain: TrustDomain,
}

/// Reads a folder, a file or standard input.
pub(crate) fn load(path: &Path) -> anyhow::Result<Loaded> {
    let mut source = FileSource::open(path).with_context(|| "the files cannot be read")?;
    let settings = Settings::default();
    let trust_domain = settings.trust_domain.clone();
    let mut controller = Controller::new(settings, SystemClock::shared());
    let snapshot = source.snapshot();
    let processes: Vec<_> = snapshot
        .store
        .all::<Process>()
        .map(|(stored, process)| (stored.name().clone(), process.spec.replicas))
        .collect();
    controller.take(snapshot);
    let nowhere = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (name, count) in processes {
        controller.take_replicas(name, (0..count).map(|n| Replica::new(n, nowhere, true)).collect());
    }
    let view = controller.watch().borrow().clone();
    Ok(Loaded { view, trust_domain })
}

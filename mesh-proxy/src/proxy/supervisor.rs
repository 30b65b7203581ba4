//! The thread beside the workers: follows the snapshot, ends closed listeners, frees old snapshots, drains.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::ports::Ports;
use crate::drain::{Drain, DrainTimes};
use crate::snapshot::SharedMesh;

/// How often listeners that could not be opened are tried again, and old snapshots freed after a change.
const AGAIN: Duration = Duration::from_secs(2);

pub(super) struct Supervisor {
    pub(super) mesh: SharedMesh,
    pub(super) ports: Arc<Ports>,
    pub(super) drain: Arc<Drain>,
    pub(super) times: DrainTimes,
    pub(super) stop: watch::Receiver<Option<DrainTimes>>,
    pub(super) retired: mpsc::UnboundedReceiver<Drain>,
    pub(super) stopped: watch::Sender<bool>,
}

impl Supervisor {
    pub(super) fn start(self, name: &str) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = move || LocalSet::new().block_on(&runtime, self.run());
        std::thread::Builder::new().name(format!("{name}-main")).spawn(work).map(drop)
    }

    async fn run(mut self) {
        let mut changes = self.mesh.changes();
        // A change between the first look and here is not missed.
        let mut again = self.ports.reconcile(&self.mesh.current());
        let times = loop {
            tokio::select! {
                changed = changes.changed() => {
                    changed.expect("the snapshot is held by this thread too");
                    self.ports.reconcile(&self.mesh.current());
                    again = true;
                }
                () = tokio::time::sleep(AGAIN), if again => {
                    self.mesh.sweep();
                    again = self.ports.reconcile(&self.mesh.current());
                }
                Some(drain) = self.retired.recv() => {
                    let times = DrainTimes { lame_duck: Duration::ZERO, ..self.times };
                    tokio::task::spawn_local(async move { drain.run(times).await });
                }
                stop = self.stop.wait_for(Option::is_some) => match stop {
                    Ok(times) => break *times,
                    Err(_last_handle_dropped) => break None,
                },
            }
        };
        match times {
            Some(times) => self.drain.run(times).await,
            None => self.drain.stop(),
        }
        for worker in self.ports.workers() {
            worker.ended();
        }
        let _ = self.stopped.send(true);
    }
}

//! A proxy that refuses: it has a gateway's identity, takes what it is sent, and says no to whatever has a word in its
//! name. A program of a trial, started in the network of the gateway's pod.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::body::Bytes;
use mesh_proxy::control::{Connector, Control, ControlOptions, ControllerAddress};
use mesh_proxy::telemetry::Telemetry;
use mesh_rt::SystemClock;
use mesh_xds::client::{Client, ClientConfig, Consumer, Update};
use mesh_xds::key::TypeUrl;
use mesh_xds::native::FEATURES;
use mesh_xds::proto::Node;

use crate::arguments::Arguments;
use crate::say;

pub(crate) const OPTIONS: &[&str] = &["controller", "identity", "roots", "token", "word"];

/// What is printed when everything there was has been taken.
pub(crate) const READY: &str = "ready";
/// What is printed when something is refused.
pub(crate) const REFUSED: &str = "refused";
/// The reason that the controller is given.
pub(crate) const REASON: &str = "there is no room for it";
/// How long the first certificate may take.
const SOON: Duration = Duration::from_secs(30);
const CONTROLLER: &str = "spiffe://cluster.local/ns/service-mesh-system/sa/service-mesh-controller";

/// Follows the controller until it is ended.
///
/// # Errors
/// When an option is missing or there is no certificate.
pub(crate) fn run(given: &Arguments) -> anyhow::Result<()> {
    let text = |name: &str| given.get(name).with_context(|| format!("--{name} is needed"));
    let controller = ControllerAddress {
        address: text("controller")?.to_owned(),
        identity: CONTROLLER.parse()?,
        roots: PathBuf::from(text("roots")?),
        token: Some(PathBuf::from(text("token")?)),
    };
    let word = text("word")?.to_owned();
    let options = ControlOptions {
        name: "steady".to_owned(),
        trust_domain: "cluster.local".parse()?,
        controller: controller.clone(),
        expected: Some(text("identity")?.parse()?),
        state: None,
        sealing_key: None,
        clock: SystemClock::shared(),
        telemetry: Telemetry::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = Control::start(options)?;
        ensure!(control.ready(SOON).await, "there is no certificate or no configuration after {SOON:?}");
        let connector = Connector::new(&controller, &control.identity)?;
        let connect = move || {
            let connector = connector.clone();
            async move { connector.connect().await }
        };
        let config = ClientConfig::new(Node::with_features("refusing", "local", FEATURES));
        let (client, _state) = Client::new(config, connect, Refuses { word, is_ready: false });
        client.run(pending()).await;
        Ok(())
    })
}

struct Refuses {
    word: String,
    is_ready: bool,
}

impl Consumer for Refuses {
    type Item = ();

    fn decode(&mut self, _: &TypeUrl, name: &str, _: &Bytes) -> Result<(), String> {
        if name.contains(&self.word) {
            say(REFUSED);
            return Err(REASON.to_owned());
        }
        Ok(())
    }

    fn apply(&mut self, update: Update<()>) {
        if update.complete && !std::mem::replace(&mut self.is_ready, true) {
            say(READY);
        }
    }
}

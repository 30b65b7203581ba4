//! Installing into a real cluster, with everything that may be there or missing, and removing it again. What is
//! installed is decided by the crates; here is only what a user would do and see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::cluster::{self, Channel, Families, Place, apply, inside, kubectl};
use crate::config::Config;
use crate::images::{self, Profile};
use crate::step::{captured, wait_for};
use crate::{golang, say};

mod helm;

const NAMESPACE: &str = "service-mesh-system";
/// How long the controller may take to say something about an object.
const HEARD: Duration = Duration::from_secs(30);

/// A gateway and what it needs, in the fields that every release of the Gateway API has.
const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  gatewayClassName: mesh
  listeners: [{name: http, protocol: HTTP, port: 80}]
";

/// A pod that the restricted standard refuses.
const PRIVILEGED: &[&str] = &[
    "--namespace=service-mesh-system",
    "run",
    "intruder",
    "--image=conformance.invalid/pause:1",
    "--privileged",
    "--dry-run=server",
];

/// The steps share these.
struct Scene<'c> {
    config: &'c Config,
    place: &'c Place,
}

/// One thing that is tried.
type Step = fn(&Scene<'_>) -> anyhow::Result<()>;

/// All of it in a running cluster without the Gateway API and without our controller.
///
/// # Errors
/// At the first step that does not go as it should.
pub(crate) fn run(config: &Config, place: &Place) -> anyhow::Result<()> {
    images::ours(config, place, Profile::Debug)?;
    let scene = Scene { config, place };
    let steps: [(&str, Step); 7] = [
        ("a dry run changes nothing", |scene| scene.dry_run()),
        ("installed without the Gateway API, twice", |scene| scene.without_gateway_api()),
        ("upgraded and back", |scene| scene.upgrade()),
        ("restricted", |scene| scene.restricted()),
        ("definitions of an older release, then of this one", |scene| scene.older_definitions()),
        ("removed without a trace", |scene| scene.removed()),
        ("Helm", helm::run),
    ];
    let before = scene.names()?;
    for (title, step) in steps {
        step(&scene).with_context(|| title.to_owned())?;
        say(&format!("install: {title}: ok"));
    }
    let left: Vec<String> = scene.names()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left behind: {}", left.join(" "));
    Ok(())
}

/// A cluster from nothing to nothing, for these steps alone.
///
/// # Errors
/// When a step does not go as it should.
pub(crate) fn once(config: &Config) -> anyhow::Result<()> {
    let place = Place::new(config, &format!("install-{}", std::process::id()));
    let outcome =
        cluster::up(config, &place, (Channel::None, Families::Both)).and_then(|()| run(config, &place));
    let ended = cluster::down(&place);
    outcome?;
    ended
}

impl Scene<'_> {
    /// What meshctl says, and whether it succeeds.
    fn meshctl(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let mut call = inside(self.place)?;
        call.arg(self.config.target.join("debug/meshctl")).args(words);
        call.env("KUBECONFIG", self.place.kubeconfig());
        captured(call)
    }

    /// Runs meshctl, which must succeed or fail as expected and say this.
    fn expect(&self, words: &[&str], succeeds: bool, says: &str) -> anyhow::Result<String> {
        let (succeeded, said) = self.meshctl(words)?;
        let line = words.join(" ");
        ensure!(
            succeeded == succeeds && said.contains(says),
            "meshctl {line}: {succeeded}, wanted {says:?}:\n{said}"
        );
        Ok(said)
    }

    /// Asks `meshctl check` until it succeeds and says this: after a restart another controller leads in seconds.
    fn settles(&self, says: &str) -> anyhow::Result<()> {
        wait_for(says, HEARD, || self.expect(&["check"], true, says)).map(drop)
    }

    /// What an installation could leave: names of everything outside of namespaces, and the namespaces.
    fn names(&self) -> anyhow::Result<BTreeSet<String>> {
        let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,\
                     mutatingwebhookconfigurations,validatingwebhookconfigurations";
        let all = kubectl(self.place, &["get", kinds, "--output=name"])?;
        Ok(all
            .lines()
            .filter(|name| !name.contains(".gateway.networking.k8s.io"))
            .map(str::to_owned)
            .collect())
    }

    fn definitions(&self) -> anyhow::Result<String> {
        kubectl(self.place, &["get", "customresourcedefinitions", "--output=name"])
    }

    fn dry_run(&self) -> anyhow::Result<()> {
        self.expect(&["check"], true, "warning  gateway-api")?;
        self.expect(&["check", "--stage=after"], false, "FAILED   controller")?;
        let before = self.names()?;
        for profile in ["default", "demo", "production"] {
            let text = self.expect(
                &["install", "--dry-run", "--set", &format!("profile={profile}")],
                true,
                "kind: Deployment",
            )?;
            let documents = text.matches("\nkind: ").count();
            ensure!(documents >= 9, "{profile}: {documents} objects");
        }
        self.expect(&["install", "--set", "replica=2"], false, "there is no value \"replica\"")?;
        ensure!(self.names()? == before, "something was made");
        Ok(())
    }

    fn without_gateway_api(&self) -> anyhow::Result<()> {
        let said = self.expect(&["install"], true, "this cluster has no Gateway API")?;
        ensure!(!said.contains("unchanged"), "{said}");
        ensure!(!self.definitions()?.contains("gateway.networking"), "it brought the Gateway API unasked");
        let said = self.expect(&["install"], true, "is ready")?;
        ensure!(
            !said.contains("created") && !said.contains("configured"),
            "the second time changed something:\n{said}"
        );
        self.settles("warning  accepted")?;
        Ok(())
    }

    fn upgrade(&self) -> anyhow::Result<()> {
        let said = self.expect(
            &["install", "--set", "replicas=2"],
            true,
            "Deployment service-mesh-controller configured",
        )?;
        ensure!(said.matches("configured").count() == 1, "{said}");
        let available = "-o=jsonpath={.status.availableReplicas}";
        let available = self.kubectl(&["get", "deployment/service-mesh-controller", available])?;
        ensure!(available == "2", "{available} replicas");
        self.expect(&["install"], true, "Deployment service-mesh-controller configured")?;
        self.expect(
            &["install", "--timeout=2", "--set", "image.controller=r.invalid/none:1"],
            false,
            "not ready",
        )?;
        self.expect(&["check"], false, "FAILED   controller")?;
        let closed = "AuthorizationPolicy default-deny created";
        self.expect(&["install", "--set", "profile=production"], true, closed)?;
        self.expect(
            &["install", "--set", "profile=production"],
            true,
            "AuthorizationPolicy default-deny unchanged",
        )?;
        // Nothing is opened by omission.
        self.expect(&["install"], true, "default-deny of an earlier installation stays")?;
        self.settles("ok       controller")?;
        Ok(())
    }

    fn restricted(&self) -> anyhow::Result<()> {
        let Err(error) = kubectl(self.place, PRIVILEGED) else {
            bail!("a privileged pod may run beside the controller")
        };
        ensure!(format!("{error:#}").contains("PodSecurity \"restricted"), "{error:#}");
        Ok(())
    }

    fn older_definitions(&self) -> anyhow::Result<()> {
        let older = golang::module(self.config, "older", "sigs.k8s.io/gateway-api")?;
        self.bring(&older)?;
        self.expect(&["install"], true, "GatewayClass mesh created")?;
        self.settles("warning  gateway-api  Gateway API v1.4")?;
        apply(self.place, GATEWAY)?;
        self.settles("ok       gateways")?;
        let newer = golang::module(self.config, "suite", "sigs.k8s.io/gateway-api")?;
        self.bring(&newer)?;
        self.settles("ok       gateway-api")?;
        self.settles("ok       gateways")?;
        Ok(())
    }

    fn bring(&self, module: &Path) -> anyhow::Result<()> {
        cluster::definitions(self.place, &module.join(Channel::Standard.crds()))
    }

    fn removed(&self) -> anyhow::Result<()> {
        self.expect(&["uninstall"], false, "default/front")?;
        self.left_alone()?;
        self.front_ends()?;
        self.expect(&["uninstall", "--crds"], true, "Deployment service-mesh-controller deleted")?;
        self.expect(&["uninstall"], true, "")?;
        self.gone()
    }

    /// Deletes the gateway, and waits until nothing is left of it.
    fn front_ends(&self) -> anyhow::Result<()> {
        kubectl(self.place, &["delete", "--namespace=default", "gateway/front", "--timeout=30s"])?;
        wait_for("the end of the gateway's pods", HEARD, || {
            let left = kubectl(
                self.place,
                &["get", "--namespace=default", "deployments,services", "--output=name"],
            )?;
            ensure!(!left.contains("front"), "{left}");
            Ok(())
        })
    }

    /// A gateway outlived its controller with its proxies, and no class waits for it.
    fn front_stays(&self) -> anyhow::Result<()> {
        let classes = kubectl(self.place, &["get", "gatewayclasses", "--output=name"])?;
        ensure!(classes.is_empty(), "a class waits for its gateways: {classes}");
        kubectl(self.place, &["get", "--namespace=default", "deployment/front-mesh"]).map(drop)
    }

    /// Removes the controller from under a gateway, whose proxies stay, and brings it back.
    fn left_alone(&self) -> anyhow::Result<()> {
        self.expect(&["uninstall", "--leave-gateways"], true, "GatewayClass mesh deleted")?;
        self.gone()?;
        self.front_stays()?;
        self.expect(&["install"], true, "is ready").map(drop)
    }

    /// Waits until the namespace is gone.
    fn gone(&self) -> anyhow::Result<()> {
        wait_for("the end of the namespace", Duration::from_secs(60), || {
            let left = kubectl(self.place, &["get", "namespaces", "--output=name"])?;
            ensure!(!left.contains(NAMESPACE), "{left}");
            Ok(())
        })
    }

    /// kubectl in the controller's namespace.
    fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        let namespace = format!("--namespace={NAMESPACE}");
        kubectl(self.place, &[&[namespace.as_str()], words].concat())
    }

    fn chart(&self) -> PathBuf {
        self.config.root.join("helm/service-mesh")
    }
}

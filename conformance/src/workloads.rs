//! Kinds of workloads that meshes are known to break: pods of a StatefulSet behind a headless service, servers that
//! speak first, clients without an identity where they may come in, rollouts under load. Each check is one question to
//! real pods; who may call whom by policy is `meshed`'s.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::arguments::Arguments;
use crate::cluster::{Place, apply, kubectl, kubectl_call, remove_namespaces};
use crate::config::Config;
use crate::step::{self, Check, captured, in_url, wait_for};
use crate::{controller, images, tapped};

pub(crate) const OPTIONS: &[&str] = &["name", "mode", "rollouts", "rate"];

const NAMESPACE: &str = "--namespace=workloads";
/// How long a change may take until it holds.
const SOON: Duration = Duration::from_secs(60);
/// Requests each second while pods are replaced, unless said, and for how many seconds at each rollout.
const RATE: usize = 100;
const SECONDS: usize = 15;

/// A StatefulSet behind a headless service, the same pods behind a usual one, and a Deployment. The port `greeting` says
/// nothing of its protocol, and its server speaks first.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: workloads, labels: {mesh.io/mode: MODE}}
---
apiVersion: v1
kind: Service
metadata: {name: member, namespace: workloads}
spec:
  clusterIP: None
  selector: {app: member}
  ports: [{name: http, port: 8080, appProtocol: http}, {name: greeting, port: 9091}]
---
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: workloads}
spec:
  selector: {app: member}
  ports: [{name: greeting, port: 9091}, {name: tcp, port: 9090, appProtocol: tcp}]
---
apiVersion: v1
kind: Service
metadata: {name: sixth, namespace: workloads}
spec:
  ipFamilies: [IPv6]
  selector: {app: member}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}, {name: greeting, port: 9091}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: member, namespace: workloads}
spec:
  serviceName: member
  replicas: 2
  selector: {matchLabels: {app: member}}
  template:
    metadata: {labels: {app: member}}
    spec: &pod
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0
        args: [--port=8080, --tcp=9090, --tcp=9091, --server-first=9091]
        readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: rolled, namespace: workloads}
spec:
  selector: {app: rolled}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rolled, namespace: workloads}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: rolled}}
  template:
    metadata: {labels: {app: rolled}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0
        args: [--port=8080]
        readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: inside, namespace: workloads}
spec:
  containers: [{name: echo, image: "registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0", args: [--port=8080]}]
---
apiVersion: v1
kind: Pod
metadata: {name: outside, namespace: workloads, labels: {mesh.io/mode: none}}
spec:
  containers: [{name: echo, image: "registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0", args: [--port=8080]}]
"#;

/// A pod that its proxy has in charge for a while before it is ready.
const SLOW: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: slow, namespace: workloads}
spec:
  selector: {app: slow}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: slow, namespace: workloads, labels: {app: slow}}
spec:
  containers:
  - name: echo
    image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0
    args: [--port=8080]
    readinessProbe: {httpGet: {port: 8080, path: /}, initialDelaySeconds: 8, periodSeconds: 1}
"#;

/// Plain text may enter, except at one port.
const PERMISSIVE: &str = r#"
apiVersion: security.mesh.io/v1beta1
kind: PeerAuthentication
metadata: {name: some, namespace: workloads}
spec:
  selector: {matchLabels: {app: member}}
  mtls: {mode: PERMISSIVE}
  portLevelMtls: {"9090": {mode: STRICT}}
"#;

struct Scene {
    place: Place,
    /// How pods become workloads: `sidecar` or `node`.
    mode: String,
    rollouts: usize,
    /// Requests each second.
    rate: usize,
}

/// In a running cluster with our controller.
///
/// # Errors
/// Names the checks that failed; the others are made all the same.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let number = |name: &str, usual: usize| {
        given
            .get(name)
            .map_or(Ok(usual), |text| text.parse().with_context(|| format!("--{name} is a number")))
    };
    let scene = Scene {
        place: given.place(config),
        mode: given.get("mode").unwrap_or("sidecar").to_owned(),
        rollouts: number("rollouts", 3)?,
        rate: number("rate", RATE)?,
    };
    scene.play(config)
}

/// As [`run`], with pods of this mode and so many rollouts.
///
/// # Errors
/// Names the checks that failed.
pub(crate) fn check(config: &Config, place: &Place, (mode, rollouts): (&str, usize)) -> anyhow::Result<()> {
    Scene { place: place.clone(), mode: mode.to_owned(), rollouts, rate: RATE }.play(config)
}

const CHECKS: &[Check<Scene>] = &[
    ("a pod of a StatefulSet answers by its own name", Scene::by_own_name),
    ("a headless service leads to its pods", Scene::by_headless_service),
    ("no plain text reaches a pod past a headless service", Scene::no_plain_text),
    ("a pod that was joined before it was ready takes no plain text from then on", Scene::slow),
    ("a server that speaks first is heard", Scene::server_first),
    ("in IPv6 pods are reached by service, address and name, with mutual TLS alone", Scene::in_ipv6),
    ("where plain text may enter it does, except at a strict port", Scene::permissive),
    ("and no more when the policy is gone", Scene::strict_again),
    ("what the mesh does not know is reached while the label allows it", Scene::outbound),
    ("no request is lost while pods are replaced", Scene::rolled),
];

impl Scene {
    fn play(&self, config: &Config) -> anyhow::Result<()> {
        images::load(&self.place, &images::of_mesh(config)?)?;
        if self.mode == "node" {
            controller::deploy_node(config, &self.place)?;
        }
        let outcome = self.set_up().and_then(|()| step::all(self, CHECKS));
        remove_namespaces(&self.place, &["workloads"], false)?;
        outcome
    }

    fn set_up(&self) -> anyhow::Result<()> {
        // What an earlier run began to remove.
        remove_namespaces(&self.place, &["workloads"], true)?;
        let definition = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/crd/peerauthentications.security.mesh.io.yaml"
        ))?;
        apply(&self.place, &definition)?;
        apply(&self.place, &OBJECTS.replace("MODE", &self.mode).replace("&pod", ""))?;
        for what in ["statefulset/member", "deployment/rolled"] {
            kubectl(&self.place, &[NAMESPACE, "rollout", "status", what, "--timeout=120s"])?;
        }
        let ready = [NAMESPACE, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s"];
        kubectl(&self.place, &ready).map(drop)
    }

    /// What the client in a pod prints.
    fn ask(&self, from: &str, words: &[&str]) -> anyhow::Result<String> {
        let base = [NAMESPACE, "exec", from, "-c", "echo", "--", "client", "--timeout=5s"];
        kubectl(&self.place, &[&base, words].concat())
    }

    /// The same for many requests, which share the time, and what it says of its failures.
    fn all_said(&self, from: &str, words: &[&str]) -> anyhow::Result<String> {
        let base = [NAMESPACE, "exec", from, "-c", "echo", "--", "client", "--timeout=120s"];
        captured(kubectl_call(&self.place, &[&base, words].concat())?).map(|(_, said)| said)
    }

    fn answers(&self, from: &str, url: &str) -> anyhow::Result<String> {
        let said = self.ask(from, &[url])?;
        ensure!(said.contains("StatusCode=200"), "{url} from {from}: {said}");
        Ok(said)
    }

    fn is_refused(&self, from: &str, url: &str) -> anyhow::Result<()> {
        match self.ask(from, &[url]) {
            Ok(said) if said.contains("StatusCode=200") => bail!("{url} answers {from}"),
            _ => Ok(()),
        }
    }

    fn by_own_name(&self) -> anyhow::Result<()> {
        for n in 0..2 {
            let said = self.answers("inside", &format!("http://member-{n}.member:8080"))?;
            ensure!(said.contains(&format!("Hostname=member-{n}")), "another one answered: {said}");
        }
        Ok(())
    }

    fn by_headless_service(&self) -> anyhow::Result<()> {
        self.answers("inside", "http://member:8080").map(drop)
    }

    /// The proxy of a node lets plain text in for the seconds in which clients learn of a pod; a sidecar never does.
    fn no_plain_text(&self) -> anyhow::Result<()> {
        let refused = || {
            (0..2).try_for_each(|n| {
                self.is_refused("outside", &format!("http://member-{n}.member:8080"))?;
                self.is_refused("outside", &format!("tcp://member-{n}.member:9091"))
            })
        };
        if self.mode == "node" { wait_for("the time of joining is over", SOON, refused) } else { refused() }
    }

    fn slow(&self) -> anyhow::Result<()> {
        apply(&self.place, SLOW)?;
        let ready = [NAMESPACE, "wait", "pod", "slow", "--for=condition=Ready", "--timeout=120s"];
        kubectl(&self.place, &ready)?;
        let address = [NAMESPACE, "get", "pod", "slow", "-o", "jsonpath={.status.podIP}"];
        let address = in_url(&kubectl(&self.place, &address)?);
        self.is_refused("outside", &format!("http://{address}:8080"))?;
        wait_for("the service leads to it", SOON, || self.answers("inside", "http://slow").map(drop))?;
        self.is_refused("outside", &format!("http://{address}:8080"))
    }

    fn server_first(&self) -> anyhow::Result<()> {
        for url in ["tcp://greeter:9091", "tcp://member:9091", "tcp://greeter:9090"] {
            self.answers("inside", url)?;
        }
        Ok(())
    }

    /// By the address of a service that has no other, by the name of that service, and by a pod's own address.
    fn in_ipv6(&self) -> anyhow::Result<()> {
        let field = |what: &[&str]| kubectl(&self.place, &[&[NAMESPACE, "get"], what].concat());
        let own = field(&["service", "sixth", "-o", "jsonpath={.spec.clusterIP}"])?;
        let pods = field(&["pod", "member-0", "-o", "jsonpath={.status.podIPs[*].ip}"])?;
        let pod = pods.split_whitespace().find(|address| address.contains(':'));
        let pod = pod.filter(|_| own.contains(':')).with_context(|| format!("no IPv6: {own}, {pods}"))?;
        // Connections that are kept are in the other family.
        tapped::while_asking(&self.place, || {
            self.answers("inside", &format!("http://[{own}]:80"))?;
            self.answers("inside", "http://sixth")?;
            self.answers("inside", &format!("tcp://[{own}]:9091"))?;
            let said = self.answers("inside", &format!("http://[{pod}]:8080"))?;
            ensure!(said.contains("Hostname=member-0"), "another one answered: {said}");
            Ok(())
        })?;
        for url in
            [format!("http://[{pod}]:8080"), format!("http://[{own}]:80"), format!("tcp://[{pod}]:9091")]
        {
            self.is_refused("outside", &url).with_context(|| format!("{url} from a pod without identity"))?;
        }
        Ok(())
    }

    fn permissive(&self) -> anyhow::Result<()> {
        wait_for("the kind is served", SOON, || apply(&self.place, PERMISSIVE))?;
        wait_for("plain text enters", SOON, || self.answers("outside", "http://member-0.member:8080"))?;
        self.answers("outside", "tcp://greeter:9091")?;
        self.is_refused("outside", "tcp://greeter:9090")?;
        // Whoever has an identity goes on showing it.
        self.answers("inside", "http://member-0.member:8080")?;
        self.answers("inside", "tcp://greeter:9090").map(drop)
    }

    fn strict_again(&self) -> anyhow::Result<()> {
        kubectl(&self.place, &[NAMESPACE, "delete", "peerauthentication", "some"])?;
        wait_for("plain text is refused", SOON, || self.is_refused("outside", "http://member-0.member:8080"))
    }

    /// A pod that no proxy serves is of the outside world for those that have one.
    fn outbound(&self) -> anyhow::Result<()> {
        let address = ["get", "pod", "outside", "-o", "jsonpath={.status.podIP}"];
        let address = kubectl(&self.place, &[&[NAMESPACE], address.as_slice()].concat())?;
        let url = format!("tcp://{}:9090", in_url(&address));
        self.answers("inside", &url)?;
        let label = |text: &str| {
            kubectl(&self.place, &[NAMESPACE, "label", "pod", "inside", "--overwrite", text]).map(drop)
        };
        label("mesh.io/outbound=deny")?;
        wait_for("it is refused", SOON, || self.is_refused("inside", &url))?;
        self.answers("inside", "tcp://greeter:9090")?;
        label("mesh.io/outbound-")?;
        wait_for("it is reached again", SOON, || self.answers("inside", &url).map(drop))
    }

    /// One client, kept connections, no second try of its own; every pod is replaced again and again.
    fn rolled(&self) -> anyhow::Result<()> {
        for n in 1..=self.rollouts {
            let wanted = self.rate * SECONDS;
            let (rate, count) = (format!("--qps={}", self.rate), format!("--count={wanted}"));
            let asking = std::thread::scope(|scope| {
                let asking = scope.spawn(|| self.all_said("inside", &["http://rolled", &rate, &count]));
                let restart = [NAMESPACE, "rollout", "restart", "deployment/rolled"];
                let done = [NAMESPACE, "rollout", "status", "deployment/rolled", "--timeout=120s"];
                let rolled = kubectl(&self.place, &restart).and_then(|_| kubectl(&self.place, &done));
                let said = asking.join().map_err(|_| anyhow::anyhow!("the client's thread ended badly"))?;
                rolled.and(said)
            })?;
            let good = asking.matches("StatusCode=200").count();
            let others = |line: &&str| line.contains("StatusCode=") && !line.contains("StatusCode=200");
            let why: Vec<&str> =
                asking.lines().filter(|line| others(line) || line.contains("rror")).take(5).collect();
            ensure!(
                good == wanted,
                "rollout {n}: {good} of {wanted} requests were answered well: {}",
                why.join("; ")
            );
        }
        Ok(())
    }
}

//! One gateway in a namespace of its own, and the questions that trials ask. What is tried is not decided here.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cluster::{Place, apply, apply_in, inside, kubectl};
use crate::config::Config;
use crate::controller;
use crate::step::{in_url, output, wait_for};

/// Where the control plane is.
pub(super) use crate::controller::NAMESPACE as SYSTEM;
/// How long anything may take. Most of it is the start of a pod on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// The gateway of every trial: routes answer by redirects, so that nothing runs behind it.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: mesh
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

/// Pods that tell what they were asked and which one they are; they answer `/status/403` with that status.
const BACKEND: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: COUNT
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: ECHO
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        readinessProbe: {httpGet: {port: 3000, path: /}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 3000}]}
";

/// The label of the namespaces of trials.
const LABEL: &str = "mesh-trial";

pub(super) struct Scene<'p> {
    pub(super) place: &'p Place,
    /// The trial's own. What is gone is not waited for, as a cluster takes its time for that.
    pub(super) namespace: String,
    /// A Python with the packages of the peers, for trials that need one.
    pub(super) python: Option<&'p Path>,
}

impl<'p> Scene<'p> {
    /// Makes the namespace of this number and waits for the gateway.
    pub(super) fn begin(config: &'p Config, place: &'p Place, number: usize) -> anyhow::Result<Self> {
        let namespace = format!("trial-{number}");
        let scene = Self { place, namespace, python: config.python.as_deref() };
        let made = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": scene.namespace, "labels": {LABEL: ""}}});
        apply(place, &made.to_string())?;
        scene.apply(GATEWAY)?;
        scene.apply(&route("first", "http", "/first", 301))?;
        scene.programmed()?;
        scene.answers(80, "/first", 301)?;
        Ok(scene)
    }

    /// Plays a trial and removes the namespace.
    pub(super) fn play(&self, trial: fn(&Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let outcome = trial(self);
        let ended = kubectl(self.place, &["delete", "namespace", &self.namespace, "--wait=false"]);
        outcome.and(ended.map(drop))
    }

    /// Waits until nothing is left of any trial.
    pub(super) fn cleared(place: &Place) -> anyhow::Result<()> {
        let gone = ["delete", "namespace", "--selector", LABEL, "--ignore-not-found", "--timeout=120s"];
        kubectl(place, &gone).map(drop)
    }

    pub(super) fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        apply_in(self.place, Some(&self.namespace), manifest)
    }

    /// kubectl in the namespace of the trial.
    pub(super) fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        kubectl(self.place, &[&["--namespace", &*self.namespace], words].concat())
    }

    /// An object of the namespace, such as `gateway/edge`.
    pub(super) fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"])?)?)
    }

    /// Does something while so many controllers stand by, or none, and returns to one.
    pub(super) fn with_controllers(
        &self,
        count: usize,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let outcome = controller::scale(self.place, count).and_then(|()| work());
        let returned = controller::scale(self.place, 1);
        outcome.and(returned)
    }

    /// Waits until the gateway is programmed in its present generation.
    pub(super) fn programmed(&self) -> anyhow::Result<()> {
        self.is_programmed("edge")
    }

    /// The same for another gateway.
    pub(super) fn is_programmed(&self, name: &str) -> anyhow::Result<()> {
        wait_for(&format!("gateway {name} is programmed"), LIMIT, || {
            let gateway = self.get(&format!("gateway/{name}"))?;
            let conditions = gateway["status"]["conditions"].as_array().context("no conditions")?;
            let holds = |c: &Value| {
                c["type"] == "Programmed"
                    && c["status"] == "True"
                    && c["observedGeneration"] == gateway["metadata"]["generation"]
            };
            anyhow::ensure!(conditions.iter().any(holds), "{conditions:?}");
            Ok(())
        })
    }

    /// The first address of the gateway as URLs have it.
    pub(super) fn address(&self) -> anyhow::Result<String> {
        self.address_of("edge").map(|address| in_url(&address))
    }

    /// The first address of another gateway.
    pub(super) fn address_of(&self, name: &str) -> anyhow::Result<String> {
        let gateway = self.get(&format!("gateway/{name}"))?;
        let address = gateway["status"]["addresses"][0]["value"].as_str();
        Ok(address.context("the gateway has no address")?.to_owned())
    }

    /// Waits for an answer with this status.
    pub(super) fn answers(&self, port: u16, path: &str, status: u16) -> anyhow::Result<()> {
        let url = format!("http://{}:{port}{path}", self.address()?);
        wait_for(&format!("{url} answers {status}"), LIMIT, || self.answers_now(&url, status, &[]))
    }

    /// Starts so many pods behind the service `web`.
    pub(super) fn backend(&self, count: usize) -> anyhow::Result<()> {
        let objects = BACKEND.replace("ECHO", crate::images::ECHO_BASIC[0]);
        self.apply(&objects.replace("COUNT", &count.to_string()))?;
        self.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]).map(drop)
    }

    /// Head and body of the answer to one request.
    pub(super) fn asked(&self, url: &str, more: &[&str]) -> anyhow::Result<(String, String)> {
        let mut curl = inside(self.place)?;
        curl.args(["curl", "--silent", "--show-error", "--max-time", "5", "--include"]).args(more).arg(url);
        let said = output(curl)?;
        let (head, body) = said.split_once("\r\n\r\n").context("no end of the head")?;
        Ok((head.to_owned(), body.to_owned()))
    }

    /// One request.
    pub(super) fn answers_now(&self, url: &str, status: u16, more: &[&str]) -> anyhow::Result<()> {
        let mut call = inside(self.place)?;
        let format = "%{http_code}";
        call.args(["curl", "--silent", "--show-error", "--max-time", "5", "--output", "/dev/null"]);
        let said = output({
            call.args(["--write-out", format]).args(more).arg(url);
            call
        })?;
        if said != status.to_string() {
            bail!("{url} answers {said}");
        }
        Ok(())
    }
}

/// A route that answers a path by itself.
pub(super) fn route(name: &str, listener: &str, path: &str, status: u16) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge, sectionName: {listener}}}]
  rules:
    - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
      filters: [{{type: RequestRedirect, requestRedirect: {{hostname: trial.test, statusCode: {status}}}}}]
"
    )
}

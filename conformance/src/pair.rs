//! Two pods, a client and a server, with everything between them that must live on: new connections at their times, and
//! streams that count. What happens meanwhile is decided by the task. Our own program runs in both pods.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;

use crate::cluster::{Place, apply, kubectl, kubectl_call, remove_namespaces};
use crate::load::{Load, Mode, Tally};
use crate::streams::{Kind, Told};
use crate::{images, say};

/// Where our own program is in its image.
const PROGRAM: &str = "/usr/local/bin/conformance";

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE, labels: {mesh.io/mode: MODE}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: NAMESPACE}
spec:
  selector: {app: server}
  ports:
  - {name: http, port: 8080, appProtocol: http}
  - {name: websocket, port: 8081, appProtocol: kubernetes.io/ws}
  - {name: grpc, port: 9090, appProtocol: grpc}
  - {name: tcp, port: 9091, appProtocol: tcp}
  - {name: greeting, port: 9092}
  - {name: declared, port: 9093, targetPort: 9092, appProtocol: tcp}
"#;

const POD: &str = r#"---
apiVersion: v1
kind: Pod
metadata: {name: POD, namespace: NAMESPACE, labels: {app: POD}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: streams
    image: IMAGE
    imagePullPolicy: Never
    args: [streams, serve]
    readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 9}
"#;

/// The pods of a namespace of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'p> {
    pub(crate) place: &'p Place,
    pub(crate) namespace: &'p str,
    /// How the namespace's pods are in the mesh.
    pub(crate) mode: &'p str,
}

/// What a task found, to be told and judged.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) lost: u64,
    pub(crate) answered: u64,
    broken: usize,
    numbers: u64,
}

impl Pair<'_> {
    fn call<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["--namespace", self.namespace], words].concat()
    }

    /// Asks the API server about something of the namespace.
    pub(crate) fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        kubectl(self.place, &self.call(words))
    }

    /// Both pods, ready; the server's address.
    pub(crate) fn prepare(&self) -> anyhow::Result<IpAddr> {
        images::load(self.place, &[images::ourselves(self.place)?])?;
        self.remove(true)?;
        let pods = ["server", "client"].map(|name| POD.replace("POD", name));
        let objects = format!("{OBJECTS}{}{}", pods[0], pods[1]).replace("NAMESPACE", self.namespace);
        apply(self.place, &objects.replace("IMAGE", images::OURSELVES).replace("MODE", self.mode))?;
        self.kubectl(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=90s"])?;
        let path = "-o=jsonpath={.spec.clusterIP}";
        self.kubectl(&["get", "service/server", path])?.parse().context("the server's address")
    }

    /// Removes the namespace, and waits for that if asked to.
    pub(crate) fn remove(&self, waits: bool) -> anyhow::Result<()> {
        remove_namespaces(self.place, &[self.namespace], waits)
    }

    /// New connections: requests of HTTP/1.1 and lines over TCP, each on a connection of its own, so many a second.
    pub(crate) fn loads(&self, to: IpAddr, (http, tcp): (u32, u32)) -> anyhow::Result<Vec<Attended>> {
        let load = |mode, port, rate| Load {
            to: SocketAddr::new(to, port),
            mode,
            host: "server".to_owned(),
            rate,
            // It ends before that.
            count: rate * 3600,
            attended: true,
        };
        let all = [load(Mode::Http1Close, 8080, http), load(Mode::Tcp, 9091, tcp)];
        all.iter().map(|load| self.start(load.mode.name(), &load.arguments())).collect()
    }

    /// What became of a load of so many, when it is over.
    pub(crate) fn measured(&self, load: &Load) -> anyhow::Result<Tally> {
        self.start(load.mode.name(), &load.arguments())?.end()
    }

    /// One stream of each kind.
    pub(crate) fn streams(&self, to: IpAddr) -> anyhow::Result<Vec<Attended>> {
        let one = |kind: Kind| {
            let (to, kind) = (SocketAddr::new(to, kind.port()), kind.name());
            let words =
                ["streams".to_owned(), "follow".to_owned(), format!("--to={to}"), format!("--kind={kind}")];
            self.start(kind, &words)
        };
        Kind::ALL.into_iter().map(one).collect()
    }

    fn start(&self, name: &str, words: &[String]) -> anyhow::Result<Attended> {
        let exec = ["exec", "--stdin", "client", "--container=streams", "--", PROGRAM];
        let mut call = kubectl_call(self.place, &self.call(&exec))?;
        call.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Attended { name: name.to_owned(), child: call.spawn().context("kubectl exec")? })
    }
}

/// A call in the client's pod that runs until it is told to end, and then prints what became of it.
pub(crate) struct Attended {
    name: String,
    child: Child,
}

impl Attended {
    fn end<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| format!("{}: {}: {text}", self.name, output.status))
    }
}

/// Ends all of it, also what comes after one that failed, and tells what became of it.
///
/// # Errors
/// When something did not end as it should.
pub(crate) fn ended(loads: Vec<Attended>, streams: Vec<Attended>) -> anyhow::Result<Sum> {
    let streams: Vec<_> = streams.into_iter().map(Attended::end::<Told>).collect();
    let loads: Vec<_> = loads.into_iter().map(Attended::end::<Tally>).collect();
    let streams = streams.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let loads = loads.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for (at, what) in loads.iter().flat_map(|tally| &tally.told) {
        say(&format!("lost at {at:.3} s: {what}"));
    }
    let broken: Vec<&str> = streams.iter().filter_map(|told| told.problem.as_deref()).collect();
    broken.iter().for_each(|problem| say(&format!("broken: {problem}")));
    let sum = Sum {
        lost: loads.iter().map(Tally::lost).sum(),
        answered: loads.iter().map(|tally| tally.answered).sum(),
        broken: broken.len(),
        numbers: streams.iter().map(|told| told.numbers).sum(),
    };
    let longest = loads.iter().map(|tally| tally.took[2]).fold(0.0, f64::max);
    let all = sum.lost + sum.answered;
    say(&format!("{} of {all} new connections lost, longest {longest:.0} ms", sum.lost));
    let longest = streams.iter().map(|told| told.longest).max().unwrap_or_default();
    let (count, numbers) = (streams.len(), sum.numbers);
    say(&format!(
        "{count} streams counted {numbers} without a gap, {} broken, longest {longest} ms",
        sum.broken
    ));
    Ok(sum)
}

impl Sum {
    /// # Errors
    /// When anything was lost, or nothing was sent.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        ensure!(self.answered > 0 && self.numbers > 0, "nothing was sent");
        if self.lost > 0 || self.broken > 0 {
            bail!("{} new connections were lost, and {} streams", self.lost, self.broken);
        }
        Ok(())
    }
}

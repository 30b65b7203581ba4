//! Names in a pod of the mesh: they stand for what the cluster's own name server says, also when that one and the
//! controller are away. Asked by a program of another make (`dig`), from inside the pod's network.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::arguments::Arguments;
use crate::cluster::{Place, apply, in_network_of, inside, kubectl, remove_namespaces};
use crate::config::Config;
use crate::step::{self, Check, output, wait_for};
use crate::{controller, images};

pub(crate) const OPTIONS: &[&str] = &["name", "mode"];

const NAMESPACE: &str = "--namespace=names";
/// How long something may take until it holds.
const SOON: Duration = Duration::from_secs(60);
/// The Deployments that are taken away.
const AWAY: &[(&str, &str)] =
    &[("kube-system", "deployment/coredns"), ("service-mesh-system", "deployment/service-mesh-controller")];

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: names, labels: {mesh.io/mode: MODE}}
---
apiVersion: v1
kind: Service
metadata: {name: member, namespace: names}
spec:
  clusterIP: None
  selector: {app: member}
  ports: [{name: http, port: 8080, appProtocol: http}]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: names}
spec:
  selector: {app: member}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}, {name: talk, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: names}
spec:
  clusterIP: None
  selector: {app: nobody}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: names}
spec: {type: ExternalName, externalName: server.names.svc.cluster.local}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: member, namespace: names}
spec:
  serviceName: member
  replicas: 2
  selector: {matchLabels: {app: member}}
  template:
    metadata: {labels: {app: member}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-advanced:v0.1.0
        args: [--port=8080]
        readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}
"#;

/// Questions whose answers the mesh knows, by type and name below the cluster's domain, or whole with a dot at the end.
const INSIDE: &[(&str, &str)] = &[
    ("A", "server.names.svc"),
    ("AAAA", "server.names.svc"),
    ("A", "SERVER.Names.svc"),
    ("TXT", "server.names.svc"),
    ("SRV", "server.names.svc"),
    ("SRV", "_http._tcp.server.names.svc"),
    ("SRV", "_talk._udp.server.names.svc"),
    ("SRV", "_http._udp.server.names.svc"),
    ("A", "member.names.svc"),
    ("AAAA", "member.names.svc"),
    ("SRV", "_http._tcp.member.names.svc"),
    ("A", "member-0.member.names.svc"),
    ("A", "member-1.member.names.svc"),
    ("A", "member-2.member.names.svc"),
    ("A", "empty.names.svc"),
    ("A", "kubernetes.default.svc"),
    ("SRV", "_https._tcp.kubernetes.default.svc"),
    // What a search list makes of a name that is meant for elsewhere.
    ("A", "www.example.com.names.svc"),
    ("A", "server.names.svc.names.svc"),
];

/// Questions that are for the cluster's own name server.
const OUTSIDE: &[(&str, &str)] = &[
    ("A", "alias.names.svc"),
    ("CNAME", "alias.names.svc"),
    ("A", "missing.names.svc"),
    ("A", "names.svc"),
    ("A", "10-244-0-250.names.pod"),
    ("SOA", ""),
    ("TXT", "dns-version"),
    // Not below the cluster's domain.
    ("PTR", "1.0.96.10.in-addr.arpa."),
    ("A", "www.example.com."),
];

const CHECKS: &[Check<Scene>] = &[
    ("names mean what the cluster's name server says", Scene::same),
    ("over TCP, too", Scene::whole),
    ("questions to another server are left alone", Scene::elsewhere),
    ("with name server and controller away names are answered, and requests by name", Scene::alone),
];

struct Scene {
    place: Place,
    mode: String,
}

/// In a running cluster with our controller.
///
/// # Errors
/// Names the checks that failed; the others are made all the same.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    check(config, &given.place(config), given.get("mode").unwrap_or("sidecar"))
}

/// As [`run`], with pods of this mode.
///
/// # Errors
/// Names the checks that failed.
pub(crate) fn check(config: &Config, place: &Place, mode: &str) -> anyhow::Result<()> {
    images::load(place, &images::of_mesh(config)?)?;
    if mode == "node" {
        controller::deploy_node(config, place)?;
    }
    let scene = Scene { place: place.clone(), mode: mode.to_owned() };
    let outcome = scene.set_up().and_then(|()| step::all(&scene, CHECKS));
    remove_namespaces(place, &["names"], false)?;
    outcome
}

impl Scene {
    fn set_up(&self) -> anyhow::Result<()> {
        remove_namespaces(&self.place, &["names"], true)?;
        apply(&self.place, &OBJECTS.replace("MODE", &self.mode))?;
        kubectl(&self.place, &[NAMESPACE, "rollout", "status", "statefulset/member", "--timeout=120s"])?;
        // The cluster notes who is ready in its own time, some seconds later when it is busy; until then all agree on less.
        wait_for("both members have an address", SOON, || self.are_both_noted())?;
        // In node mode a pod joins while it runs.
        wait_for("the proxy answers", SOON, || self.is_answered_by_proxy())
    }

    /// Whether both members are ready to the one who writes the addresses behind a Service.
    fn are_both_noted(&self) -> anyhow::Result<()> {
        let ready = "-o=jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
        let of = ["get", "endpointslices", "--selector=kubernetes.io/service-name=member", ready];
        let noted = kubectl(&self.place, &[&[NAMESPACE], of.as_slice()].concat())?;
        ensure!(noted.split_whitespace().count() == 2, "ready are {noted:?}");
        Ok(())
    }

    /// What the rules of the pod say of questions for names.
    fn is_answered_by_proxy(&self) -> anyhow::Result<()> {
        let rules = self.in_pod(&["nft", "list", "ruleset"])?;
        ensure!(rules.contains("udp dport 53 redirect"), "no rule takes questions: {rules}");
        Ok(())
    }

    /// A program of this machine in the network of the first pod.
    fn in_pod(&self, words: &[&str]) -> anyhow::Result<String> {
        let address = [NAMESPACE, "get", "pod", "member-0", "-o", "jsonpath={.status.podIP}"];
        let address = kubectl(&self.place, &address)?;
        let mut command = in_network_of(&self.place, address.trim())?;
        command.args(words);
        output(command)
    }

    /// What is answered to each question in the pod.
    fn asked_in_pod(&self, way: &[&str], questions: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let words = dig(way, questions);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        answers(&self.in_pod(&words)?, questions.len())
    }

    fn asked_of_cluster(&self, questions: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let mut command = inside(&self.place)?;
        command.args(dig(&[], questions));
        answers(&output(command)?, questions.len())
    }

    fn same(&self) -> anyhow::Result<()> {
        let questions = [INSIDE, OUTSIDE].concat();
        wait_for("the answers are the same", SOON, || {
            let (ours, theirs) = (self.asked_in_pod(&[], &questions)?, self.asked_of_cluster(&questions)?);
            compare(&questions, &ours, &theirs)
        })?;
        let metrics = self.answered()?;
        ensure!(metrics > 0 || self.mode == "node", "the proxy has answered nothing");
        Ok(())
    }

    /// How many questions the sidecar says that it answered.
    fn answered(&self) -> anyhow::Result<u64> {
        if self.mode == "node" {
            return Ok(0);
        }
        let text = self.in_pod(&["curl", "-s", "http://127.0.0.1:15020/metrics"])?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(r#"mesh_dns_questions_total{outcome="answered"} "#));
        line.unwrap_or("0").trim().parse().context("the metric is a number")
    }

    fn whole(&self) -> anyhow::Result<()> {
        let questions = [INSIDE, OUTSIDE].concat();
        let theirs = self.asked_of_cluster(&questions)?;
        compare(&questions, &self.asked_in_pod(&["+tcp"], &questions)?, &theirs)
    }

    /// By its own address the cluster's name server is just another one.
    fn elsewhere(&self) -> anyhow::Result<()> {
        let words = ["-n", "kube-system", "get", "pod", "-l", "k8s-app=kube-dns", "-o"];
        let address =
            kubectl(&self.place, &[&words, ["jsonpath={.items[0].status.podIP}"].as_slice()].concat())?;
        let before = self.answered()?;
        let said = self.in_pod(&[
            "dig",
            &format!("@{}", address.trim()),
            "+short",
            "server.names.svc.cluster.local",
        ])?;
        ensure!(said.starts_with("10.96."), "{said}");
        let after = self.answered()?;
        ensure!(before == after, "the proxy has answered what was asked of another server");
        Ok(())
    }

    fn alone(&self) -> anyhow::Result<()> {
        let before = self.asked_in_pod(&[], INSIDE)?;
        let scale = |replicas: &str| {
            for (namespace, what) in AWAY {
                kubectl(&self.place, &["-n", namespace, "scale", what, &format!("--replicas={replicas}")])?;
            }
            anyhow::Ok(())
        };
        scale("0")?;
        let outcome = self.while_away(&before);
        scale("1")?;
        for (namespace, what) in AWAY {
            kubectl(&self.place, &["-n", namespace, "rollout", "status", what, "--timeout=120s"])?;
        }
        outcome
    }

    fn while_away(&self, before: &[String]) -> anyhow::Result<()> {
        for (namespace, what) in AWAY {
            let gone = || {
                let pods = kubectl(&self.place, &["-n", namespace, "get", "pods", "-o", "name"])?;
                ensure!(pods.trim().is_empty(), "{what} is still there: {pods}");
                Ok(())
            };
            wait_for(what, SOON, gone)?;
        }
        compare(INSIDE, &self.asked_in_pod(&[], INSIDE)?, before)?;
        // What only others know: the cluster has no such name, and of the world nothing is said.
        let rest = [("A", "missing.names.svc"), ("A", "10-244-0-250.names.pod")];
        let said = self.asked_in_pod(&["+tries=1", "+time=9"], &rest)?;
        compare(&rest, &said, &["NXDOMAIN".to_owned(), "SERVFAIL".to_owned()])?;
        for url in
            ["http://server", "http://member-1.member:8080", "http://server.names", "http://server.names.svc"]
        {
            let words = [NAMESPACE, "exec", "member-0", "-c", "echo", "--", "client", "--timeout=5s", url];
            let said = kubectl(&self.place, &words)?;
            ensure!(said.contains("StatusCode=200"), "{url}: {said}");
        }
        Ok(())
    }
}

/// The call that asks all questions of the cluster's name server.
fn dig(way: &[&str], questions: &[(&str, &str)]) -> Vec<String> {
    let said = ["dig", "@10.96.0.10", "+nocmd", "+noquestion", "+nostats", "+noauthority", "+noadditional"];
    let mut words: Vec<String> = said.iter().chain(way).map(|word| (*word).to_owned()).collect();
    for (kind, name) in questions {
        let whole = match *name {
            "" => "cluster.local.".to_owned(),
            name if name.ends_with('.') => name.to_owned(),
            name => format!("{name}.cluster.local."),
        };
        words.extend([whole, (*kind).to_owned()]);
    }
    words
}

/// The status and the records of each answer, in one text each: their order and the time for which they hold are not
/// compared, nor is the letter case of names.
fn answers(text: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for answer in text.split(";; ->>HEADER<<-").skip(1) {
        let status = answer.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        let records = answer.lines().skip(1).filter(|line| !line.starts_with(';') && !line.trim().is_empty());
        let mut records: Vec<_> = records.map(without_time).collect();
        records.sort();
        records.insert(0, status.context("an answer without status")?.to_owned());
        found.push(records.join(" | "));
    }
    ensure!(found.len() == count, "{} answers to {count} questions: {text}", found.len());
    Ok(found)
}

fn without_time(record: &str) -> String {
    let words = record.split_whitespace().enumerate().filter(|(n, _)| *n != 1);
    let text = words.map(|(_, word)| word).collect::<Vec<_>>().join(" ");
    text.to_ascii_lowercase()
}

fn compare(questions: &[(&str, &str)], ours: &[String], theirs: &[String]) -> anyhow::Result<()> {
    let differ = questions.iter().zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs);
    let mut differences: Vec<String> = differ
        .map(|((kind, name), (ours, theirs))| format!("{kind} {name}: {ours} instead of {theirs}"))
        .collect();
    let count = differences.len();
    differences.truncate(3);
    if count == 0 { Ok(()) } else { bail!("{count} differ: {}", differences.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_order_times_and_letter_case() {
        let one = ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1\n;; flags: qr; \n\na.test.\t5\tIN\tA\t10.0.0.2\n\
                   A.test.\t5\tIN\tA\t10.0.0.1\n\n;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 2\n";
        let found = answers(one, 2).unwrap();
        assert_eq!(found, ["NOERROR | a.test. in a 10.0.0.1 | a.test. in a 10.0.0.2", "NXDOMAIN"]);
        assert!(answers(one, 3).is_err());
        let questions = [("A", "a"), ("A", "b")];
        assert!(compare(&questions, &found, &found.clone()).is_ok());
        let error = compare(&questions, &found, &[found[0].clone(), "NOERROR".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "1 differ: A b: NXDOMAIN instead of NOERROR");
    }
}

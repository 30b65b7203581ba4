//! Probes of the kubelet, which has no identity: they go to the sidecar's health port, and the sidecar asks the
//! application in its stead. What needs no connection stays as it is.

use serde_json::{Map, Value, json};

use super::HEALTH_PORT;

/// Where a container holds a question of the kubelet, and what it is called in the path.
const PLACES: [(&str, &str); 5] = [
    ("/livenessProbe", "liveness"),
    ("/readinessProbe", "readiness"),
    ("/startupProbe", "startup"),
    ("/lifecycle/postStart", "postStart"),
    ("/lifecycle/preStop", "preStop"),
];

/// Changes the questions about a container and notes what the sidecar must ask: `<container>/<question>` to the question.
pub(super) fn redirect(container: &mut Value, asked: &mut Map<String, Value>) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let ports = container["ports"].clone();
    for (place, word) in PLACES {
        let Some(probe) = container.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
        let Some(question) = question(probe, &ports) else { continue };
        let key = format!("{name}/{word}");
        let through = json!({ "path": format!("/probe/{key}"), "port": HEALTH_PORT, "scheme": "HTTP" });
        ["grpc", "httpGet", "tcpSocket"].iter().for_each(|kind| drop(probe.remove(*kind)));
        probe.insert("httpGet".to_owned(), through);
        asked.insert(key, question);
    }
}

/// Ports of the pod that the kubelet asks at for a container.
pub(crate) fn ports(container: &Value) -> Vec<u16> {
    let probes = PLACES.iter().filter_map(|(place, _)| container.pointer(place)?.as_object());
    let questions = probes.filter_map(|probe| question(probe, &container["ports"]));
    questions.filter_map(|question| u16::try_from(question["port"].as_u64()?).ok()).collect()
}

/// The question as the sidecar reads it; `None` for one that is not about a port of the pod.
fn question(probe: &Map<String, Value>, ports: &Value) -> Option<Value> {
    let seconds = probe.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(1);
    let of_pod = |action: &Value| action["host"].as_str().unwrap_or_default().is_empty();
    let mut question = if let Some(http) = probe.get("httpGet").filter(|action| of_pod(action)) {
        let header = |header: &Value| json!([plain(&header["name"]), plain(&header["value"])]);
        let headers = http["httpHeaders"].as_array().into_iter().flatten().map(header);
        let path = if http["path"].is_string() { plain(&http["path"]) } else { json!("/") };
        json!({
            "kind": if http["scheme"] == "HTTPS" { "https" } else { "http" },
            "port": number(&http["port"], ports)?,
            "path": path,
            "headers": headers.collect::<Vec<_>>(),
        })
    } else if let Some(tcp) = probe.get("tcpSocket").filter(|action| of_pod(action)) {
        json!({ "kind": "tcp", "port": number(&tcp["port"], ports)? })
    } else {
        let grpc = probe.get("grpc")?;
        json!({ "kind": "grpc", "port": number(&grpc["port"], ports)?, "service": plain(&grpc["service"]) })
    };
    question["timeoutSeconds"] = json!(seconds.clamp(1, 60));
    Some(question)
}

/// The port, which may be written as the name of one.
fn number(port: &Value, ports: &Value) -> Option<u64> {
    let found = |name: &str| {
        let named = ports.as_array().into_iter().flatten().find(|port| port["name"] == name);
        named.and_then(|port| port["containerPort"].as_u64()).or_else(|| name.parse().ok())
    };
    let number = port.as_u64().or_else(|| port.as_str().and_then(found));
    number.filter(|number| (1..=65_535).contains(number))
}

/// A text that the kubelet leaves as it is: `$(NAME)` in an argument would be put in.
fn plain(text: &Value) -> Value {
    json!(text.as_str().unwrap_or_default().replace("$(", "$$("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(probes: Value) -> (Value, Map<String, Value>) {
        let mut container = probes;
        container["name"] = json!("app");
        container["ports"] = json!([{"name": "web", "containerPort": 8080}]);
        let mut asked = Map::new();
        redirect(&mut container, &mut asked);
        (container, asked)
    }

    #[test]
    fn every_kind_of_question_goes_through_the_sidecar_with_its_times() {
        let (container, asked) = redirected(json!({
            "livenessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 7},
            "readinessProbe": {"httpGet": {"port": "web", "path": "/ok$(X)", "httpHeaders": [{"name": "a", "value": "b"}]}, "timeoutSeconds": 4},
            "startupProbe": {"grpc": {"port": 7000, "service": "s"}},
            "lifecycle": {"preStop": {"httpGet": {"port": 8443, "scheme": "HTTPS"}}},
        }));
        let through = json!({"path": "/probe/app/liveness", "port": HEALTH_PORT, "scheme": "HTTP"});
        assert_eq!(container["livenessProbe"], json!({"httpGet": through, "periodSeconds": 7}));
        assert_eq!(asked["app/liveness"], json!({"kind": "tcp", "port": 9000, "timeoutSeconds": 1}));
        let http = json!({"kind": "http", "port": 8080, "path": "/ok$$(X)", "headers": [["a", "b"]], "timeoutSeconds": 4});
        assert_eq!(asked["app/readiness"], http);
        assert_eq!(
            asked["app/startup"],
            json!({"kind": "grpc", "port": 7000, "service": "s", "timeoutSeconds": 1})
        );
        assert_eq!(asked["app/preStop"]["kind"], "https");
        assert_eq!(asked["app/preStop"]["path"], "/");
    }

    #[test]
    fn what_is_not_about_a_port_of_the_pod_stays() {
        let probes = json!({
            "livenessProbe": {"exec": {"command": ["true"]}},
            "readinessProbe": {"httpGet": {"port": 80, "host": "example.com"}},
            "startupProbe": {"tcpSocket": {"port": "nameless"}},
        });
        let (container, asked) = redirected(probes.clone());
        assert!(asked.is_empty());
        for (name, probe) in probes.as_object().unwrap() {
            assert_eq!(container[name], *probe);
        }
    }
}

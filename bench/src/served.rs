//! From the API server's answer to a new route until a gateway in the cluster serves it, beside many others; with
//! what this costs: status writes, and the controller's memory and processor time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use mesh_install::cluster::{Api, CallError, Connection};
use mesh_rt::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::edit::{percentiles, served_after};
use crate::{origin, say};

/// Routes that are made and looked for, one after the other.
const PROBES: usize = 200;
/// How often the gateway is asked.
const LOOK: Duration = Duration::from_millis(2);
/// Writes at the same time while others are loaded.
const AT_ONCE: usize = 8;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the idle controller is watched.
const IDLE: Duration = Duration::from_secs(20);
/// Where the node is, from its pods.
const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

const NAMESPACE: &str = "bench-served";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench-served/httproutes";
const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench-served/gateways/edge";

/// Prints percentiles beside each number of other routes, which only grows. To be run in the cluster's network.
pub(crate) fn run(kubeconfig: &Path, sizes: &[usize]) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connection = Connection::load(&[kubeconfig.to_owned()], None).map_err(io::Error::other)?;
    let bench = Bench { api: Api::new(&connection).map_err(io::Error::other)?, runtime };
    bench.clear()?;
    let outcome = bench.prepare().and_then(|gateway| bench.measure(gateway, sizes));
    bench.call(bench.api.delete(&format!("/api/v1/namespaces/{NAMESPACE}")))?;
    outcome
}

struct Bench {
    api: Api,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn call<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> io::Result<T> {
        self.runtime.block_on(call).map_err(io::Error::other)
    }

    fn create(&self, path: &str, object: &Value) -> io::Result<()> {
        self.call(self.api.create(path, object)).map(drop)
    }

    /// Waits until what an earlier run left is gone.
    fn clear(&self) -> io::Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}");
        if self.call(self.api.find(&path))?.is_none() {
            return Ok(());
        }
        self.call(self.api.delete(&path))?;
        until("the namespace of an earlier run is gone", || Ok(self.call(self.api.find(&path))?.is_none()))
    }

    /// A gateway, and a backend outside of the cluster that answers at once. Returns the gateway's address.
    fn prepare(&self) -> io::Result<SocketAddr> {
        let port = origin::start((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let metadata = json!({"name": NAMESPACE});
        self.create("/api/v1/namespaces", &json!({"metadata": metadata}))?;
        let service = json!({"metadata": {"name": "origin"}, "spec": {"ports": [{"port": 80}]}});
        self.create(&format!("/api/v1/namespaces/{NAMESPACE}/services"), &service)?;
        let slice = json!({
            "metadata": {"name": "origin-1", "labels": {"kubernetes.io/service-name": "origin"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": true}}],
        });
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
        self.create(&slices, &slice)?;
        let listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge"}, "spec": {"gatewayClassName": "mesh", "listeners": [listener]}});
        self.create(GATEWAY.trim_end_matches("/edge"), &gateway)?;
        let mut address = None;
        until("the gateway is programmed", || {
            let gateway = self.gateway()?;
            let conditions = gateway["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let holds = |c: &Value| c["type"] == "Programmed" && c["status"] == "True";
            let ip: Option<IpAddr> =
                gateway["status"]["addresses"][0]["value"].as_str().and_then(|text| text.parse().ok());
            address = ip.filter(|_| conditions.iter().any(holds));
            Ok(address.is_some())
        })?;
        address.map(|ip| SocketAddr::new(ip, 80)).ok_or_else(|| io::Error::other("no address"))
    }

    fn gateway(&self) -> io::Result<Value> {
        self.call(self.api.get(GATEWAY)).map(|answer| answer.body)
    }

    fn measure(&self, gateway: SocketAddr, sizes: &[usize]) -> io::Result<()> {
        let controller = self.controller()?;
        let mut loaded = 0;
        for &size in sizes {
            if size > loaded {
                self.load(loaded..size, gateway, controller)?;
                loaded = size;
            }
            let before = counters(controller)?;
            let times = (0..PROBES).map(|n| self.probe(gateway, n)).collect::<io::Result<Vec<_>>>()?;
            let after = counters(controller)?;
            let writes = after.writes.saturating_sub(before.writes);
            // Of a new route and its end; it is the same on a busy machine.
            let processor = (after.processor - before.processor) * 1e3 / PROBES as f64;
            say(&format!(
                "{size} routes: applied -> served, n = {PROBES}: {}; {writes} status writes; controller \
                 {processor:.1} ms of processor time each, {} MB",
                percentiles(times),
                after.resident >> 20
            ));
        }
        let before = counters(controller)?;
        std::thread::park_timeout(IDLE);
        let after = counters(controller)?;
        let share = (after.processor - before.processor) / IDLE.as_secs_f64();
        say(&format!("idle with {loaded} routes: {share:.4} of a core, {} MB", after.resident >> 20));
        Ok(())
    }

    /// Makes a route and looks for it, beginning with the server's answer; takes it away again.
    fn probe(&self, gateway: SocketAddr, n: usize) -> io::Result<Duration> {
        let path = format!("/probe/{n}");
        self.create(ROUTES, &route("probe", &path))?;
        let time = served_after(gateway, &path, LOOK)?;
        self.call(self.api.delete(&format!("{ROUTES}/probe")))?;
        Ok(time)
    }

    /// Makes many routes, and says when the last one was served and when the gateway's status counted them.
    fn load(
        &self,
        routes: std::ops::Range<usize>,
        gateway: SocketAddr,
        controller: SocketAddr,
    ) -> io::Result<()> {
        let (count, before) = (routes.end, counters(controller)?);
        let begin = SystemClock.monotonic();
        let mut all = routes.clone();
        while !all.is_empty() {
            let batch = all.by_ref().take(AT_ONCE);
            let calls: Vec<_> = batch
                .map(|n| {
                    let (api, route) = (self.api.clone(), route(&format!("more-{n}"), &format!("/more/{n}")));
                    self.runtime.spawn(async move { api.create(ROUTES, &route).await })
                })
                .collect();
            for call in calls {
                self.runtime.block_on(call).map_err(io::Error::other)?.map_err(io::Error::other)?;
            }
        }
        let written = SystemClock.monotonic();
        let served = served_after(gateway, &format!("/more/{}", count - 1), LOOK)?;
        until("the gateway's status counts all routes", || {
            Ok(self.gateway()?["status"]["listeners"][0]["attachedRoutes"] == count)
        })?;
        let counted = SystemClock.monotonic() - written;
        let writes = counters(controller)?.of_gateways.saturating_sub(before.of_gateways);
        say(&format!(
            "{} routes in {:.1} s; after the last write: served in {:.0} ms, counted in {:.0} ms with {writes} \
             writes of the gateway's status",
            routes.len(),
            (written - begin).as_secs_f64(),
            served.as_secs_f64() * 1e3,
            counted.as_secs_f64() * 1e3,
        ));
        Ok(())
    }

    /// Where the controller shows its counters.
    fn controller(&self) -> io::Result<SocketAddr> {
        let pods = self.call(self.api.get("/api/v1/namespaces/service-mesh-system/pods"))?.body;
        let runs = |pod: &&Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ip = pods.iter().filter(runs).find_map(|pod| pod["status"]["podIP"].as_str()?.parse().ok());
        ip.map(|ip: IpAddr| SocketAddr::new(ip, 15020)).ok_or_else(|| io::Error::other("no controller runs"))
    }
}

fn route(name: &str, path: &str) -> Value {
    let backends = json!([{"name": "origin", "port": 80}]);
    let matches = json!([{"path": {"type": "PathPrefix", "value": path}}]);
    let spec =
        json!({"parentRefs": [{"name": "edge"}], "rules": [{"matches": matches, "backendRefs": backends}]});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
        "spec": spec})
}

fn until(what: &str, mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let begin: Instant = SystemClock.monotonic();
    while !holds()? {
        if SystemClock.monotonic() - begin > LIMIT {
            return Err(io::Error::other(format!("not within {LIMIT:?}: {what}")));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// What a controller says of itself.
struct Counters {
    writes: u64,
    of_gateways: u64,
    resident: u64,
    /// Seconds.
    processor: f64,
}

fn counters(controller: SocketAddr) -> io::Result<Counters> {
    let text = crate::load::page(controller, "/metrics")?;
    let values = |name: &str| {
        let of = |line: &str| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<f64>().ok();
        text.lines().filter_map(of).sum::<f64>()
    };
    Ok(Counters {
        writes: values("mesh_controller_status_writes_total") as u64,
        of_gateways: values("mesh_controller_status_writes_total{kind=\"Gateway\"}") as u64,
        resident: values("process_resident_memory_bytes") as u64,
        processor: values("process_cpu_seconds_total"),
    })
}

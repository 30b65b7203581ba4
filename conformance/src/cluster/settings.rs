//! The programs of a node: their arguments and their configuration files. Nothing is started here.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::node::{Daemon, Plan};
use super::{Families, NODE, NODE6, Place};
use crate::config::Config;
use crate::{images, tools};

/// Writes the files, the links to the programs and the plan of the first process.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(
    config: &Config,
    place: &Place,
    (kubernetes, families): (&Path, Families),
) -> anyhow::Result<()> {
    let folder = &place.folder;
    for part in ["bin", "logs", "cni", "kubelet", "plugins"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    std::fs::copy(kubernetes, folder.join("bin/kubernetes"))?;
    let kubectl = format!("#!/bin/sh\nexec {} kubectl \"$@\"\n", folder.join("bin/kubernetes").display());
    std::fs::write(place.kubectl(), kubectl)?;
    let executable = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(place.kubectl(), executable)?;
    std::fs::write(folder.join("containerd.toml"), containerd(folder))?;
    std::fs::write(
        folder.join("cni/10-bridge.conflist"),
        serde_json::to_vec_pretty(&cni(folder, families))?,
    )?;
    std::fs::write(folder.join("kubelet.json"), serde_json::to_vec_pretty(&kubelet(place, families))?)?;
    let plan = plan(config, folder, families).context("the plan of the node")?;
    std::fs::write(folder.join("node.json"), serde_json::to_vec_pretty(&plan)?)?;
    Ok(())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn plan(config: &Config, folder: &Path, families: Families) -> anyhow::Result<Plan> {
    let place = folder.to_str().context("the folder's name is not UTF-8")?;
    let node: Vec<String> = families.node().iter().map(ToString::to_string).collect();
    let addresses = [
        ("$NODES", node.join(",")),
        ("$NODE", node[0].clone()),
        ("$SERVICES", families.services().join(",")),
        ("$PODS", families.pods().join(",")),
    ];
    let kubernetes = |name: &str, arguments: &str| {
        let mut command = vec![format!("{place}/bin/kubernetes"), name.to_owned()];
        let mut arguments = arguments.replace("$PLACE", place);
        for (mark, value) in &addresses {
            arguments = arguments.replace(mark, value);
        }
        command.extend(words(&arguments));
        Daemon { name: name.to_owned(), command }
    };
    let runtime = Daemon {
        name: "containerd".to_owned(),
        command: words(&format!("containerd --config {place}/containerd.toml")),
    };
    let sbin = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", config.path);
    Ok(Plan {
        prepare: prepare(),
        first: vec![runtime, kubernetes("etcd", ETCD), kubernetes("kube-apiserver", API_SERVER)],
        ready: words(&format!("{place}/bin/kubernetes kubectl get --raw /readyz")),
        then: vec![
            kubernetes("kube-controller-manager", CONTROLLERS),
            kubernetes("kube-scheduler", SCHEDULER),
            kubernetes("kubelet", KUBELET),
            kubernetes("kube-proxy", PROXY),
        ],
        environment: [
            ("PATH".to_owned(), sbin),
            ("HOME".to_owned(), place.to_owned()),
            ("KUBECONFIG".to_owned(), format!("{place}/kubeconfig")),
        ]
        .into(),
    })
}

/// Mounts over the folders that programs of a node write to whatever they are told, and a network of one node with both
/// families of addresses.
fn prepare() -> Vec<Vec<String>> {
    let mut lines: Vec<String> = ["/run", "/var/log", "/var/lib"]
        .iter()
        .map(|folder| format!("mount -t tmpfs node {folder}"))
        .collect();
    // Pods may be shown mounts that appear later, such as those of network namespaces.
    lines.push("mount --make-shared /run".to_owned());
    lines.push("ip link set lo up".to_owned());
    lines.push("ip link add node0 type bridge".to_owned());
    lines.push(format!("ip address add {NODE}/24 dev node0"));
    // Nobody else is there to have the same address.
    lines.push(format!("ip address add {NODE6}/64 dev node0 nodad"));
    lines.push("ip link set node0 up".to_owned());
    lines.push("ip route add default dev node0".to_owned());
    lines.push("ip -6 route add default dev node0".to_owned());
    let mut lines: Vec<Vec<String>> = lines.iter().map(|line| words(line)).collect();
    for forward in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        lines.push(vec!["sh".to_owned(), "-c".to_owned(), format!("echo 1 > /proc/sys/net/{forward}")]);
    }
    lines
}

const ETCD: &str = "--data-dir=$PLACE/etcd --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380";

const API_SERVER: &str = "--etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address=$NODE \
    --service-cluster-ip-range=$SERVICES --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file=$PLACE/accounts.pub --service-account-signing-key-file=$PLACE/accounts.key \
    --token-auth-file=$PLACE/tokens.csv --authorization-mode=Node,RBAC --allow-privileged=true \
    --kubelet-preferred-address-types=InternalIP --tls-cert-file=$PLACE/server.crt \
    --tls-private-key-file=$PLACE/server.key --cert-dir=$PLACE/certificates \
    --feature-gates=ClusterTrustBundle=true \
    --runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true";

const CONTROLLERS: &str = "--kubeconfig=$PLACE/kubeconfig --service-account-private-key-file=$PLACE/accounts.key \
    --root-ca-file=$PLACE/ca.crt --leader-elect=false";

const SCHEDULER: &str = "--kubeconfig=$PLACE/kubeconfig --leader-elect=false";

const KUBELET: &str = "--config=$PLACE/kubelet.json --kubeconfig=$PLACE/kubeconfig --root-dir=$PLACE/kubelet \
    --hostname-override=node --node-ip=$NODES";

const PROXY: &str = "--kubeconfig=$PLACE/kubeconfig --hostname-override=node --proxy-mode=nftables \
    --oom-score-adj=0 --conntrack-max-per-core=0 --cluster-cidr=$PODS";

/// A negative `oom_score_adj` needs a capability that a container on a build machine may lack.
fn containerd(folder: &Path) -> String {
    let place = folder.display();
    let (pause, plugins) = (images::PAUSE, tools::CNI);
    format!(
        r#"version = 2
root = "{place}/containerd"
state = "{place}/containerd-state"
[grpc]
address = "{place}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{place}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}

fn cni(folder: &Path, families: Families) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": folder.join("addresses"),
                    "ranges": families.pods().iter().map(|range| json!([{"subnet": range}])).collect::<Value>(),
                    "routes": families.elsewhere().iter().map(|all| json!({"dst": all})).collect::<Value>(),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(place: &Place, families: Families) -> Value {
    let folder = &place.folder;
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", place.containerd().display()),
        "volumePluginDir": folder.join("plugins"),
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 250,
        "clusterDNS": [families.dns()],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "registryPullQPS": 0,
        "serializeImagePulls": false,
    })
}

//! The rules as the kernel holds them, printed by the machine's own tool.

use std::collections::BTreeMap;
use std::process::Command;

use mesh_proxy::capture::nft::{self, Exempt, Inbound, Names, Rules};
use nix::sched::{CloneFlags, unshare};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("the_rules_of_a_sidecar_are_what_nft_prints", sidecar),
    ("the_rules_of_a_node_are_what_nft_prints", node),
    ("the_rules_of_the_local_mesh_are_what_nft_prints", local),
    ("rules_are_replaced_and_removed_as_often_as_one_likes", replaced),
];

/// Enters a new network namespace as its root.
fn enter() {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).unwrap();
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).unwrap();
}

fn ruleset() -> String {
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn check(rules: &Rules, expected: &str) {
    enter();
    rules.apply().unwrap();
    assert_eq!(ruleset(), expected);
}

fn sidecar() {
    let servers = vec![[10, 96, 0, 10].into(), "fd00::10".parse().unwrap()];
    let rules = Rules {
        datagrams: BTreeMap::new(),
        names: Some(Names { port: 15053, servers }),
        exempt: Exempt::User(1337),
        inbound: Some(Inbound { exempt: vec![15020, 15021], probes: vec![], port: 15006 }),
        only_new: false,
        outbound: 15001,
        refuse_others: false,
        table: nft::TABLE,
    };
    check(&rules, SIDECAR);
}

const SIDECAR: &str = "\
table inet mesh {
\tchain outbound {
\t\ttype nat hook output priority -100; policy accept;
\t\tmeta skuid 1337 return
\t\toif \"lo\" return
\t\tip daddr 10.96.0.10 udp dport 53 redirect to :15053
\t\tip daddr 10.96.0.10 tcp dport 53 redirect to :15053
\t\tip6 daddr fd00::10 udp dport 53 redirect to :15053
\t\tip6 daddr fd00::10 tcp dport 53 redirect to :15053
\t\tmeta l4proto tcp redirect to :15001
\t}

\tchain inbound {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\ttcp dport 15020 return
\t\ttcp dport 15021 return
\t\tmeta l4proto tcp redirect to :15006
\t}

\tchain untracked-out {
\t\ttype filter hook output priority raw; policy accept;
\t\tmeta skuid 1337 ip daddr 10.96.0.10 udp dport 53 notrack
\t\tmeta skuid 1337 ip6 daddr fd00::10 udp dport 53 notrack
\t}

\tchain untracked-in {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip saddr 10.96.0.10 udp sport 53 notrack
\t\tip6 saddr fd00::10 udp sport 53 notrack
\t}
}
";

fn node() {
    let probes = vec![([10, 244, 0, 1].into(), 8080), ("fd00::1".parse().unwrap(), 8081)];
    check(&Rules::node(0x539, 15001, Inbound { exempt: vec![], probes, port: 15006 }), NODE);
}

const NODE: &str = "\
table inet mesh-node {
\tchain outbound {
\t\ttype nat hook output priority -100; policy accept;
\t\tmeta mark 0x00000539 return
\t\toif \"lo\" return
\t\ttcp flags syn / fin,syn,rst,ack redirect to :15001
\t}

\tchain inbound {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip saddr 10.244.0.1 tcp dport 8080 return
\t\tip6 saddr fd00::1 tcp dport 8081 return
\t\ttcp flags syn / fin,syn,rst,ack redirect to :15006
\t}
}
";

fn local() {
    let mut rules = Rules::local(15001);
    rules.datagrams.insert("240.0.0.7:53".parse().unwrap(), 40001);
    rules.datagrams.insert("[fdf0::7]:5353".parse().unwrap(), 40002);
    let datagrams = "\t\tip daddr 240.0.0.7 udp dport 53 redirect to :40001
\t\tip6 daddr fdf0::7 udp dport 5353 redirect to :40002
\t\tmeta l4proto tcp redirect";
    check(&rules, &LOCAL.replace("\t\tmeta l4proto tcp redirect", datagrams));
}

const LOCAL: &str = "\
table inet mesh {
\tchain outbound {
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr 127.0.0.0/8 return
\t\tip6 daddr ::1 return
\t\tip daddr 100.64.0.1 return
\t\tip6 daddr fd64::1 return
\t\tmeta l4proto tcp redirect to :15001
\t}

\tchain refused {
\t\ttype filter hook input priority filter; policy accept;
\t\tip daddr 127.0.0.0/8 return
\t\tip6 daddr ::1 return
\t\tip daddr 100.64.0.1 return
\t\tip6 daddr fd64::1 return
\t\treject
\t}
}
";

fn replaced() {
    enter();
    let foreign = ["add", "table", "inet", "other"];
    assert!(
        Command::new("nft").args(foreign).env("PATH", "/usr/sbin:/sbin:/usr/bin").status().unwrap().success()
    );
    nft::remove(nft::TABLE).unwrap();
    Rules::local(15001).apply().unwrap();
    Rules::local(15001).apply().unwrap();
    assert_eq!(ruleset(), format!("table inet other {{\n}}\n{LOCAL}"));
    let odd = Exempt::Prefixes(vec![([10, 32, 0, 0].into(), 11), ([0, 0, 0, 0].into(), 0)]);
    Rules {
        datagrams: BTreeMap::new(),
        names: None,
        exempt: odd,
        inbound: None,
        only_new: false,
        outbound: 7,
        refuse_others: false,
        table: nft::TABLE,
    }
    .apply()
    .unwrap();
    let text = ruleset();
    assert!(text.contains("\t\tip daddr 10.32.0.0/11 return\n\t\tmeta nfproto ipv4 return\n"), "{text}");
    assert_eq!(text.matches("redirect").count(), 1, "{text}");
    nft::remove(nft::TABLE).unwrap();
    nft::remove(nft::TABLE).unwrap();
    assert_eq!(ruleset(), "table inet other {\n}\n");
}

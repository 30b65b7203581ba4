//! Entry of the conformance harness: which task exists and where it lives, nothing else.

use std::process::ExitCode;

mod arguments;
mod attended;
mod clock;
mod cluster;
mod config;
mod controller;
mod cost;
mod cut;
mod gap;
mod golang;
mod greeting;
mod images;
mod install;
mod load;
mod meshed;
mod names;
mod oci;
mod pair;
mod refuse;
mod rotation;
mod step;
mod streams;
mod suite;
mod tapped;
mod tools;
mod trials;
mod upgrades;
mod workloads;

use arguments::Arguments;
use config::Config;

const USAGE: &str = "usage: conformance TASK [OPTION...]

  up        a Kubernetes node on this machine; nothing to do when it runs
            --name NAME (dev), --channel standard|experimental|none (standard), --families both|ipv6 (both),
            --mesh for the images of mesh tests too
  channel   the running cluster's definitions become those of another channel; --name NAME, --channel CHANNEL
  down      ends it and leaves nothing; --name NAME
  images    builds our images and loads them; --name NAME, --release
  deploy    images, then our controller; --name NAME, --release
  import    TAR...: loads image archives; --name NAME
  kubectl   ARGUMENT...: kubectl in the cluster named by SERVICE_MESH_CLUSTER (dev)
  enter     COMMAND...: a command in the network of that cluster
  gap       what is lost while routes are edited and pods restarted under constant traffic
            --name NAME, --short, --mode http1|http1-close|http2|tcp, --change edits|backends|gateway|controller
  install   meshctl and Helm install, upgrade and remove, in a cluster made for it
  load      requests from where it is started: --to ADDRESS, --mode MODE, --host NAME, --rate N, --count N,
            --attended to end when its input does
  suite     upstream's tests against the running cluster
            --name NAME, --run EXPRESSION, --skip A,B, --base keep|remove (keep), --json FILE;
            --mesh for the mesh tests with sidecars, with --node without: the node's proxy serves the pods, and with
            --absent without a mesh, for the record
  features  each claimed feature is switched off once, and a test of it must fail then
            --name NAME, --only FEATURE,FEATURE
  meshed    what sidecars and policies do to pods of the running cluster; --name NAME, --node for the node's proxy
  names     names in pods mean what the cluster's name server says, also when that one is away
            --name NAME, --mode MODE (sidecar)
  workloads kinds of workloads that meshes are known to break: headless, speaking first, permissive, rolled
            --name NAME, --mode MODE (sidecar), --rollouts N (3), --rate N (100)
  upgrades  the node's proxy is replaced again and again under new connections and streams that stay
            --name NAME, --upgrades N (10)
  cost      processor time and memory of proxies at a steady rate; --name NAME, --mode MODE (sidecar), --rate N (1000),
            --seconds N (30)
  greeting  how much later a server that speaks first is heard; --name NAME
  rotation  a cluster of its own whose certificates live for seconds: leaves and the root are replaced and the authority
            is away for half a life, under connections and streams; --life SECONDS (60), --away SECONDS
  streams   `serve`, or `follow` --to ADDRESS --kind grpc|websocket: what those streams are, in pods
  trials    what must hold beside upstream's tests: programs are killed, Secrets break, gateways change hands
            --name NAME, --only WORDS
  test      one cluster from nothing to nothing, all gateway and mesh tests, standard channel
  tool      NAME: where a program is that tests outside of a cluster use; builds it the first time
  matrix    both channels and a second class name, with reports
            --times N (1) runs in a row each, --channel CHANNEL for one alone";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&Config::read(), &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, words: &[String]) -> anyhow::Result<()> {
    let (task, words) = words.split_first().ok_or_else(|| anyhow::anyhow!("{USAGE}"))?;
    match task.as_str() {
        "up" => {
            let given = Arguments::read(words, &["name", "channel", "families", "mesh"])?;
            let families =
                given.get("families").map_or(Ok(cluster::Families::Both), cluster::Families::parse)?;
            cluster::up(config, &given.place(config), (given.channel()?, families))?;
            if given.has("mesh") {
                images::load(&given.place(config), &images::of_mesh(config)?)?;
            }
            Ok(())
        }
        "channel" => {
            let given = Arguments::read(words, &["name", "channel"])?;
            cluster::channel_of(config, &given.place(config), given.channel()?)
        }
        "down" => cluster::down(&Arguments::read(words, &["name"])?.place(config)),
        "import" => {
            let given = Arguments::read(words, &["name"])?;
            images::load(&given.place(config), &given.rest)
        }
        "images" => {
            let given = Arguments::read(words, &["name", "release"])?;
            images::ours(config, &given.place(config), given.profile())
        }
        "deploy" => {
            let given = Arguments::read(words, &["name", "release"])?;
            controller::deploy(config, &given.place(config), given.profile(), &controller::Names::usual())
        }
        "features" => suite::features::run(config, &Arguments::read(words, suite::features::OPTIONS)?),
        "install" => install::once(config),
        "kubectl" => cluster::kubectl_here(config, words),
        "enter" => cluster::enter_here(config, words),
        "node" => cluster::node(words),
        "gap" => gap::run(config, &Arguments::read(words, gap::OPTIONS)?),
        "cost" => cost::run(config, &Arguments::read(words, cost::OPTIONS)?),
        "greeting" => greeting::run(config, &Arguments::read(words, greeting::OPTIONS)?),
        "load" => load::run(&Arguments::read(words, load::OPTIONS)?),
        "suite" => suite::quick(config, &Arguments::read(words, suite::OPTIONS)?),
        "meshed" => meshed::run(config, &Arguments::read(words, meshed::OPTIONS)?),
        "names" => names::run(config, &Arguments::read(words, names::OPTIONS)?),
        "workloads" => workloads::run(config, &Arguments::read(words, workloads::OPTIONS)?),
        // A program of a trial, in the cluster's network.
        "cut" => cut::run(&Arguments::read(words, cut::OPTIONS)?),
        "refuse" => refuse::run(&Arguments::read(words, refuse::OPTIONS)?),
        "rotation" => rotation::run(config, &Arguments::read(words, rotation::OPTIONS)?),
        "streams" => streams::run(&Arguments::read(words, streams::OPTIONS)?),
        "upgrades" => upgrades::run(config, &Arguments::read(words, upgrades::OPTIONS)?),
        "trials" => trials::run(config, &Arguments::read(words, trials::OPTIONS)?),
        "test" => suite::once(config),
        "tool" => tool(config, words),
        "matrix" => suite::matrix::run(config, &Arguments::read(words, suite::matrix::OPTIONS)?),
        other => anyhow::bail!("no task `{other}`\n\n{USAGE}"),
    }
}

/// Builds programs by name and prints the path of each as the last lines.
fn tool(config: &Config, names: &[String]) -> anyhow::Result<()> {
    let find = |name: &String| {
        let found = golang::TOOLS.iter().find(|tool| tool.name() == name);
        found.ok_or_else(|| anyhow::anyhow!("no tool `{name}`"))
    };
    let tools = names.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
    let built = tools.iter().map(|tool| tool.build(config)).collect::<anyhow::Result<Vec<_>>>()?;
    built.iter().for_each(|path| say(&path.display().to_string()));
    Ok(())
}

/// Prints a line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "a task speaks to the terminal")]
fn say(line: &str) {
    println!("{line}");
}

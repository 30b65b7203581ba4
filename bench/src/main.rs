//! Benchmarks: one file each, ratios within one run. Nothing here is a test, and nothing is asserted in time.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

mod alone;
mod contest;
mod edit;
mod edits;
mod http1;
mod instructions;
mod load;
mod mesh;
mod origin;
mod pair;
mod peers;
mod poller;
mod relay;
mod relays;
mod replaced;
mod routes;
mod served;
mod train;

const USAGE: &str = "usage: cargo run --release -p bench -- WHAT

  called CONTROLLER PROXY FILE  which functions a proxy calls, in callgrind's format (cargo xtask release --profile)
  edit MESHCTL N  from an edit of a file to traffic, beside N other routes
  edits MESHCTL N RATE  what is lost of N requests each of HTTP/1, HTTP/2 and TCP, kept and closed, RATE a second,
                  while routes are edited
  http1 MESHCTL   HTTP/1.1 keep-alive through a gateway: CPU per request as a ratio to a blind relay, beside nginx
                  and HAProxy where they are installed
  instructions MESHCTL  the same requests, in instructions of the gateway's process (needs valgrind)
  pair MESHCTL ENVOY  requests through two proxies with mutual TLS between them: CPU per request of ours, of two
                  listeners of one Envoy with either HTTP between them, of nginx and HAProxy where they are
                  installed, and of two blind relays, at full load and at 1,000 a second
  replaced MESHCTL N RATE  what is lost of RATE requests a second while N endpoints are replaced, each of whose programs
                  ends at once
  served KUBECONFIG N...  from a new HTTPRoute in a cluster to traffic, beside N other routes
  start CONTROLLER PROXY  from the start of a proxy to its readiness, without a controller, and its memory when idle
  train MESHCTL   the work that release builds are optimised for (cargo xtask release --profile)
  routes          route choice at 1 to 40,000 routes, and one insert at 40,000 routes of one host";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<()> {
    match words {
        ["called", controller, proxy, file] => {
            let [controller, proxy, file] = [controller, proxy, file].map(PathBuf::from);
            alone::called(&controller, &proxy, &file)
        }
        ["edit", binary, routes] => {
            edit::run(&PathBuf::from(binary), routes.parse().map_err(io::Error::other)?)
        }
        ["edits", binary, total, rate] => {
            let [total, rate] = [total, rate].map(|number| number.parse().map_err(io::Error::other));
            edits::run(&PathBuf::from(binary), total?, rate?)
        }
        ["http1", binary] => http1::run(&PathBuf::from(binary)),
        ["instructions", binary] => instructions::run(&PathBuf::from(binary)),
        // The two processes that the benchmark starts beside the proxy.
        ["count", to, count] => {
            let to = to.parse().map_err(io::Error::other)?;
            load::requests(to, http1::CONNECTIONS, count.parse().map_err(io::Error::other)?).map(drop)
        }
        ["origin"] => origin::run((Ipv4Addr::LOCALHOST, 0).into()),
        ["origin", at] => origin::run(at.parse().map_err(io::Error::other)?),
        ["pair", binary, envoy] => pair::run(&PathBuf::from(binary), &PathBuf::from(envoy)),
        ["relay", to] => relay::run(to.parse().map_err(io::Error::other)?),
        ["relays", to] => relays::run(to.parse().map_err(io::Error::other)?),
        ["replaced", binary, times, rate] => {
            let [times, rate] = [times, rate].map(|number| number.parse().map_err(io::Error::other));
            replaced::run(&PathBuf::from(binary), times?, rate?)
        }
        ["routes"] => {
            routes::run();
            Ok(())
        }
        ["served", kubeconfig, sizes @ ..] => {
            let sizes: Result<Vec<usize>, _> = sizes.iter().map(|size| size.parse()).collect();
            served::run(&PathBuf::from(kubeconfig), &sizes.map_err(io::Error::other)?)
        }
        ["start", controller, proxy] => alone::start(&PathBuf::from(controller), &PathBuf::from(proxy)),
        ["train", binary] => train::run(&PathBuf::from(binary)),
        _ => Err(io::Error::other(USAGE)),
    }
}

/// Prints a line of a result.
#[expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]
fn say(line: &str) {
    println!("{line}");
}

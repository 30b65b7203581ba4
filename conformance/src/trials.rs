//! What must hold beside upstream's tests, tried in a running cluster: programs are killed, Secrets break, gateways
//! change hands. Each trial has a file or a function of its own; how they look at the cluster is the scene's.

use std::iter;

use crate::arguments::Arguments;
use crate::clock::Stopwatch;
use crate::cluster::Place;
use crate::config::Config;
use crate::{images, say};

mod asked;
mod backends;
mod budgets;
mod bundles;
mod certificates;
mod experimental;
mod gateways;
mod guest;
mod history;
mod killed;
mod refused;
mod scene;
mod traced;
mod webhook;
mod writes;
mod wrong;

use scene::Scene;

pub(crate) const OPTIONS: &[&str] = &["name", "only"];

type Trial = fn(&Scene<'_>) -> anyhow::Result<()>;

/// How the names of trials begin that need the experimental definitions; elsewhere there is nothing to try.
pub(crate) const EXPERIMENTAL: &str = "experimental: ";

/// Every trial, by the words of `--only`, but those that kill.
const TRIALS: &[(&str, Trial)] = &[
    ("ports that share a place without privileges", gateways::ports),
    ("addresses of both families", gateways::both_families),
    ("replicas, node ports and load balancers", gateways::exposure),
    ("proxies in the network of their node", gateways::host_network),
    ("a gateway that another controller takes over", gateways::taken_over),
    ("a class that is deleted while it is used", gateways::class_in_use),
    ("experimental: sessions", experimental::sessions),
    ("experimental: routes that name no gateway", experimental::default_gateways),
    ("experimental: addresses for the cluster alone", experimental::routability),
    ("experimental: backends of their own kind", backends::own_kind),
    ("experimental: services that are asked", asked::by_filters),
    ("experimental: listeners that ask", asked::by_listeners),
    ("experimental: spans", traced::spans),
    ("experimental: budgets of retries", budgets::of_retries),
    ("experimental: bundles of the cluster", bundles::of_the_cluster),
    ("objects that are wrong", wrong::of_every_kind),
    ("certificates that break", certificates::broken),
    ("a proxy that refuses", refused::by_a_proxy),
    ("an object that older definitions let through", history::let_through),
    ("a webhook under hostile questions", webhook::hostile),
    ("a webhook that is away", webhook::away),
];

/// Trials that kill, or count writes; they come last, and begin when nothing is left of others.
const KILLING: &[(&str, Trial)] = &[
    ("an API server that is killed", killed::api_server),
    ("an API server that has forgotten", history::forgotten),
    ("a controller that is killed at writes", killed::controller),
    ("a leader that is killed", killed::leader),
    ("a controller that is killed at every write", writes::every),
    // The parts of the cluster itself do not all recover from it.
    ("a state that was put back", history::put_back),
];

/// Tries all, or those whose words hold the text of `--only`.
///
/// # Errors
/// Names what failed; the others are tried all the same.
pub(crate) fn run(config: &Config, given: &Arguments) -> anyhow::Result<()> {
    let place = given.place(config);
    images::load(&place, &images::of_gateways(config)?)?;
    all(config, &place, given.get("only").unwrap_or_default())
}

/// As [`run`], in this cluster, whose runtime has the images of gateways' backends.
///
/// # Errors
/// Names what failed.
pub(crate) fn all(config: &Config, place: &Place, only: &str) -> anyhow::Result<()> {
    let experimental = experimental::are_there(place)?;
    let fits = |name: &str| experimental || !name.starts_with(EXPERIMENTAL);
    let trials = TRIALS.iter().zip(iter::repeat(false)).chain(KILLING.iter().zip(iter::repeat(true)));
    let chosen: Vec<_> = trials.filter(|((name, _), _)| name.contains(only) && fits(name)).collect();
    anyhow::ensure!(!chosen.is_empty(), "no trial's name holds {only:?}");
    let mut failed = Vec::new();
    Scene::cleared(place)?;
    for (number, ((name, trial), alone)) in chosen.into_iter().enumerate() {
        let start = Stopwatch::start();
        let cleared = if alone { Scene::cleared(place) } else { Ok(()) };
        let scene = cleared.and_then(|()| Scene::begin(config, place, number));
        match scene.and_then(|scene| scene.play(*trial)) {
            Ok(()) => say(&format!("trial passed: {name} ({:.0?})", start.elapsed())),
            Err(error) => {
                say(&format!("trial FAILED: {name} ({:.0?}): {error:#}", start.elapsed()));
                failed.push(*name);
            }
        }
    }
    let cleared = Scene::cleared(place);
    anyhow::ensure!(failed.is_empty(), "trials failed: {}", failed.join("; "));
    cleared
}

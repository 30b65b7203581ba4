//! Copies of requests for other backends (Gateway API, `HTTPRequestMirrorFilter`). A copy is dropped when
//! there are too many or when it is slow; nothing of it ever reaches the client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use mesh_model::backend::Target;
use mesh_model::filter::{Filter, Mirror};
use mesh_model::{ObjectName, ResourceKey};

use super::forward::{Plan, choose};
use super::limits::within;
use crate::http::body::{Body, tee};
use crate::http::call::{Call, Head, Shape};
use crate::http::{Error, Stack};
use crate::scope::Scope;
use crate::upstream::Connect;

/// Copies to one target that a worker has under way at a time: a stuck target holds up only itself.
const MOST: usize = 256;
/// A copy that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(30);

/// Copies under way, by target.
#[derive(Debug, Default)]
pub struct UnderWay(RefCell<HashMap<(ObjectName, u16), Rc<()>>>);

/// One copy under way; its place is free when it is dropped.
pub(crate) struct Place(#[expect(dead_code, reason = "holding it is its use")] Rc<()>);

impl UnderWay {
    pub(crate) fn place(&self, service: &ObjectName, port: u16) -> Option<Place> {
        let mut targets = self.0.borrow_mut();
        targets.retain(|_, places| Rc::strong_count(places) > 1);
        let places = targets.entry((service.clone(), port)).or_default();
        (Rc::strong_count(places) <= MOST).then(|| Place(Rc::clone(places)))
    }
}

/// Sends copies of this request to the mirrors whose share it falls into.
pub(crate) fn start<C: Connect>(
    stack: &Rc<Stack<C>>,
    rule: (&ResourceKey, usize),
    filters: &[Filter],
    scope: &Scope,
    call: &mut Call,
) {
    if call.head.upgrade.is_some() {
        return;
    }
    let mut targets = Vec::new();
    for (place, filter) in filters.iter().enumerate() {
        let Filter::Mirror(mirror) = filter else { continue };
        let Target::Service { service, port } = &mirror.target else { continue };
        if falls_into(stack, rule, place, mirror) {
            match stack.mirrors.place(service, *port) {
                Some(place) => targets.push((service.clone(), *port, place)),
                None => drop(stack.observer.telemetry.metrics.mirrors_dropped.inc()),
            }
        }
    }
    if targets.is_empty() {
        return;
    }
    let mut copies = match call.body.take() {
        None => Vec::new(),
        Some(body) => {
            let (original, copies) = tee(Body::received(body), targets.len());
            call.teed = Some(Body::teed(original));
            copies
        }
    };
    for (service, port, place) in targets {
        let body = copies.pop().map_or_else(Body::empty, Body::copied);
        let to = (service, port, scope.clone());
        let sent = send(Rc::clone(stack), call.head.clone(), call.shape(), to, body);
        tokio::task::spawn_local(async move {
            let _place = place;
            let _ = within(Some(LONGEST), pin!(sent)).await;
        });
    }
}

fn falls_into<C: Connect>(
    stack: &Stack<C>,
    (route, rule): (&ResourceKey, usize),
    place: usize,
    mirror: &Mirror,
) -> bool {
    stack.balancer.share(route, (rule, place), mirror.numerator, mirror.denominator)
}

async fn send<C: Connect>(
    stack: Rc<Stack<C>>,
    head: Head,
    shape: Shape,
    (service, port, scope): (ObjectName, u16, Scope),
    body: Body,
) -> Result<(), Error> {
    let plan = Plan::own((&service, port), shape.grpc, &scope);
    let mesh = stack.mesh.current();
    let mut chosen = choose(&stack, &mesh, &plan, &shape, &[])?;
    drop(mesh);
    let _in_flight = chosen.in_flight.take();
    let lease = stack.pool.checkout(&chosen.upstream).await?;
    let mut answered = match lease.send(&head, (&chosen.upstream, chosen.http1), body).await {
        Ok(answered) => answered,
        Err(_) => {
            stack.observer.telemetry.metrics.mirrors_dropped.inc();
            return Err(Error::Reset { repeatable: false });
        }
    };
    while let Some(frame) = poll_fn(|cx| answered.poll(cx)).await {
        if frame.is_err() {
            return Err(Error::Reset { repeatable: false });
        }
    }
    Ok(())
}

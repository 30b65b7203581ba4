//! Time limits and further tries: what is tried again, how often, and what never is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use mesh_model::route::{Retry, Rule, Timeouts};
use mesh_model::{AppProtocol, Delta, Resource, RetryBudget, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::model::*;
use crate::net::*;

fn limits(request: u64, backend: u64) -> Timeouts {
    let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    Timeouts { request: limit(request), backend_request: limit(backend) }
}

fn retry(codes: &[u16], attempts: u32) -> Option<Retry> {
    Some(Retry { codes: codes.to_vec(), attempts, backoff: None })
}

/// A gateway with one rule to service `one` at `10.0.0.1:80`, and perhaps more endpoints.
fn gateway_with(net: &Net, change: impl FnOnce(&mut Rule), endpoints: &[std::net::SocketAddr]) -> Proxy {
    let mut only = rule("/", vec![backend("one", 1)]);
    change(&mut only);
    let mut resources = vec![listener(), route(vec![only])];
    resources.extend(service("one", AppProtocol::Http1, endpoints));
    Proxy::new(net, resources)
}

/// A backend that fails the first tries of each token: `/<token>/<failures>/<status>/<delay in ms>`.
fn flaky(net: &Net) -> Rc<RefCell<HashMap<String, u32>>> {
    let tries: Rc<RefCell<HashMap<String, u32>>> = Rc::default();
    let counted = Rc::clone(&tries);
    net.backend(address(1, 80), move |request: Request<_>| {
        let counted = Rc::clone(&counted);
        async move {
            let parts: Vec<String> = request.uri().path().split('/').map(str::to_owned).collect();
            let number = |at: usize| parts[at].parse::<u16>().expect("a number");
            let (failures, status) = (u32::from(number(2)), number(3));
            let count = *counted.borrow_mut().entry(parts[1].clone()).and_modify(|n| *n += 1).or_insert(1);
            let mut response = Response::new(Full::from("done"));
            if count <= failures {
                tokio::time::sleep(Duration::from_millis(number(4).into())).await;
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            }
            response
        }
    });
    tries
}

#[test]
fn codes_limits_and_attempts_follow_the_table() {
    in_paused_time(async {
        for (what, codes, attempts, times, path, status, tries) in [
            ("enough tries", &[500][..], 3, limits(0, 0), "a/3/500/0", 200, 4),
            ("another listed code", &[500, 503], 2, limits(0, 0), "a/2/503/0", 200, 3),
            ("tries used up", &[500], 2, limits(0, 0), "a/9/500/0", 500, 3),
            ("a code that is not listed", &[500], 3, limits(0, 0), "a/1/502/0", 502, 1),
            ("no attempts", &[500], 0, limits(0, 0), "a/1/500/0", 500, 1),
            ("one limit for all tries", &[500], 5, limits(500, 0), "a/2/500/300", 504, 2),
            ("within the limit of all tries", &[500], 5, limits(500, 0), "a/1/500/300", 200, 2),
            ("a limit for each try", &[500], 3, limits(15_000, 500), "a/2/500/100", 200, 3),
            ("a late try, 504 listed", &[504], 3, limits(15_000, 500), "a/1/200/1000", 200, 2),
            ("a late try, 504 not listed", &[500], 3, limits(15_000, 500), "a/1/200/1000", 504, 1),
        ] {
            let net = Net::default();
            let counted = flaky(&net);
            let set = |rule: &mut Rule| (rule.retry, rule.timeouts) = (retry(codes, attempts), times);
            let proxy = gateway_with(&net, set, &[address(1, 80)]);
            let began = tokio::time::Instant::now();
            let got = proxy.gateway1().await.get(&format!("/{path}")).await;
            assert_eq!((got.status.as_u16(), counted.borrow()["a"]), (status, tries), "{what}");
            if let Some(limit) = times.request {
                assert!(began.elapsed() <= limit + Duration::from_millis(5), "{what}: {:?}", began.elapsed());
            }
        }
    });
}

#[test]
fn a_refusing_endpoint_is_left_for_another_without_being_listed() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        for attempts in [None, retry(&[], 100)] {
            let endpoints = [address(1, 80), address(2, 80)];
            let proxy = gateway_with(&net, |rule| rule.retry = attempts, &endpoints);
            let mut client = proxy.gateway1().await;
            for _ in 0..50 {
                assert_eq!(client.get("/").await.status, StatusCode::OK);
            }
        }
        let proxy = gateway_with(&net, |rule| rule.retry = retry(&[], 0), &[address(2, 80)]);
        let got = proxy.gateway1().await.get("/").await;
        assert_eq!(
            (got.status, got.body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "the backend could not be reached\n")
        );
    });
}

#[test]
fn an_endpoint_that_vanishes_while_it_is_connected_to_is_not_waited_for() {
    in_paused_time(async {
        let net = Net::default();
        net.echo(address(2, 80), "two");
        net.silent.set(Some(address(1, 80)));
        for protocol in [AppProtocol::Http1, AppProtocol::Http2] {
            let mut only = rule("/", vec![backend("one", 1)]);
            only.retry = retry(&[], 1);
            let mut resources = vec![listener(), route(vec![only])];
            resources.extend(service("one", protocol, &[address(1, 80)]));
            let proxy = Proxy::new(&net, resources.clone());
            let mut client = proxy.gateway1().await;
            let began = tokio::time::Instant::now();
            let changes = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                // The last endpoint is waited for: there is nothing better.
                let set = |endpoints: &[_]| {
                    let set = service("one", protocol, endpoints);
                    proxy.mesh.change(|mesh| mesh.apply(&Delta { set: set.clone(), removed: Vec::new() }));
                };
                set(&[]);
                tokio::time::sleep(Duration::from_millis(200)).await;
                set(&[address(2, 80)]);
            };
            let (got, ()) = tokio::join!(client.get("/"), changes);
            assert_eq!((got.status, got.header("x-served-by")), (StatusCode::OK, "two"), "{protocol:?}");
            let took = began.elapsed();
            assert!((400..1000).contains(&took.as_millis()), "{protocol:?}: {took:?}");
        }
    });
}

/// A backend that closes each connection after one answer, without saying so before.
fn closing(net: &Net) -> Rc<Cell<u32>> {
    let seen: Rc<Cell<u32>> = Rc::default();
    let counted = Rc::clone(&seen);
    net.raw(address(1, 80), move |mut io| {
        let counted = Rc::clone(&counted);
        async move {
            let mut buffer = [0; 4096];
            if io.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                counted.set(counted.get() + 1);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let _ = io.write_all(answer).await;
                // The next request is read, counted and left without an answer.
                if io.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    counted.set(counted.get() + 1000);
                }
            }
        }
    });
    seen
}

#[test]
fn f22_a_connection_closed_while_it_waited_costs_no_idempotent_request() {
    on_worker(async {
        let net = Net::default();
        let seen = closing(&net);
        let proxy = gateway_with(&net, |_| {}, &[address(1, 80)]);
        let mut client = proxy.gateway1().await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.status, StatusCode::OK);
        }
        assert_eq!(seen.get() % 1000, 20, "each request was answered once");
        assert!(seen.get() > 1000, "the race was met");
    });
}

#[test]
fn i22_a_request_that_may_have_been_processed_is_not_sent_twice() {
    on_worker(async {
        let net = Net::default();
        let seen = closing(&net);
        let proxy = gateway_with(&net, |_| {}, &[address(1, 80)]);
        let mut client = proxy.gateway1().await;
        let post = |client: &Client| client.request("POST", "/").body(Full::from("x")).expect("a request");
        let first = client.call(post(&client)).await;
        let second = client.call(post(&client)).await;
        assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(second.body, "the backend closed the connection\n");
        assert_eq!(seen.get(), 1001, "the second was received once and lost");
    });
}

#[test]
fn a_backend_that_ends_with_a_request_in_hand_costs_no_idempotent_request() {
    on_worker(async {
        let net = Net::default();
        let cut: Rc<Cell<u32>> = Rc::default();
        let counted = Rc::clone(&cut);
        net.raw(address(1, 80), move |mut io| {
            let counted = Rc::clone(&counted);
            async move {
                let _ = io.read(&mut [0; 4096]).await;
                counted.set(counted.get() + 1);
            }
        });
        net.backend(address(2, 80), |_| async { Response::new(Full::from("done")) });
        let proxy = gateway_with(&net, |_| {}, &[address(1, 80), address(2, 80)]);
        let mut client = proxy.gateway1().await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.body, "done");
        }
        assert!(cut.get() > 0, "the case was met");
        let mut lost = 0;
        for _ in 0..20 {
            let post = client.request("POST", "/").body(Full::from("x")).expect("a request");
            lost += u32::from(client.call(post).await.status == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert!(lost > 0, "what may have been processed is told, not repeated");
        let never = gateway_with(&net, |rule| rule.retry = retry(&[], 0), &[address(1, 80)]);
        assert_eq!(never.gateway1().await.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    });
}

#[test]
fn small_bodies_are_sent_again_whole_and_large_ones_never() {
    on_worker(async {
        let net = Net::default();
        let tries: Rc<RefCell<Vec<usize>>> = Rc::default();
        let told = Rc::clone(&tries);
        net.backend(address(1, 80), move |request: Request<hyper::body::Incoming>| {
            let told = Rc::clone(&told);
            async move {
                let whole = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
                told.borrow_mut().push(whole);
                let status = if told.borrow().len() % 2 == 1 { 500 } else { 200 };
                let mut response: Response<Full<Bytes>> = Response::default();
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                response
            }
        });
        let proxy = gateway_with(&net, |rule| rule.retry = retry(&[500], 1), &[address(1, 80)]);
        let mut client = proxy.gateway1().await;
        let post = |client: &Client, size: usize| {
            client.request("POST", "/").body(Full::from(vec![b'x'; size])).expect("a request")
        };
        assert_eq!(client.call(post(&client, 60_000)).await.status, StatusCode::OK);
        assert_eq!(*tries.borrow(), [60_000, 60_000]);
        assert_eq!(client.call(post(&client, 70_000)).await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(*tries.borrow(), [60_000, 60_000, 70_000]);
    });
}

#[test]
fn a_silent_backend_is_given_up_at_the_limit_and_its_connection_with_it() {
    in_paused_time(async {
        let net = Net::default();
        let closed: Rc<Cell<bool>> = Rc::default();
        let told = Rc::clone(&closed);
        net.raw(address(1, 80), move |mut io| {
            let told = Rc::clone(&told);
            async move {
                let mut all = Vec::new();
                let _ = io.read_to_end(&mut all).await;
                told.set(true);
            }
        });
        let proxy = gateway_with(&net, |rule| rule.timeouts = limits(500, 0), &[address(1, 80)]);
        let got = proxy.gateway1().await.get("/").await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::GATEWAY_TIMEOUT, "the time limit passed\n"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(closed.get(), "the backend still works for nobody");
    });
}

#[test]
fn a_storm_of_retries_is_bounded_by_the_budget_of_the_service() {
    in_paused_time(async {
        for (percent, least, most) in [(20, 1, 41), (0, 5, 5), (100, 1, 1000)] {
            let net = Net::default();
            let tries = Rc::new(Cell::new(0));
            let counted = Rc::clone(&tries);
            net.backend(address(1, 80), move |_| {
                counted.set(counted.get() + 1);
                async { Response::builder().status(500).body(Full::default()).expect("a response") }
            });
            let mut only = rule("/", vec![backend("one", 1)]);
            only.retry = retry(&[500], 5);
            let mut resources = vec![listener(), route(vec![only])];
            for resource in service("one", AppProtocol::Http1, &[address(1, 80)]) {
                let Resource::Service(service) = resource else {
                    resources.push(resource);
                    continue;
                };
                let retry_budget = Some(RetryBudget {
                    source: service.source.clone(),
                    percent,
                    interval: Duration::from_secs(3600),
                    least,
                    least_interval: Duration::from_secs(3600),
                });
                resources.push(Resource::Service(Service { retry_budget, ..(*service).clone() }.into()));
            }
            let proxy = Proxy::new(&net, resources);
            let mut client = proxy.gateway1().await;
            let mut refused = 0;
            for _ in 0..200 {
                let status = client.get("/").await.status.as_u16();
                assert!(matches!(status, 500 | 503), "{status}");
                refused += usize::from(status == 503);
            }
            let retries = tries.get() - 200;
            assert!((1..=most).contains(&retries), "{percent} {least}: {retries} retries");
            // A retry that the budget does not allow is told as such, not as the backend's own answer.
            assert!(refused > 150, "{percent} {least}: {refused}");
        }
    });
}

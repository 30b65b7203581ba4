//! Session persistence (GEP-1619) through the whole stack: who is served by whom, with what a client sends back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use mesh_model::filter::{Filter, HeaderEdit, HeaderKey};
use mesh_model::route::{Retry, Rule};
use mesh_model::{
    AppProtocol, Attachment, Delta, Origin, Resource, RouteKind, Service, Session, SessionCarrier,
    SessionKey, SourceRef,
};

use crate::model::*;
use crate::net::*;

const WHO: [&str; 4] = ["one", "two", "three", "four"];

fn cookie(path: &str, permanent: bool) -> SessionCarrier {
    let (name, path) = ("stay".parse().expect("a name"), path.parse().expect("a path"));
    SessionCarrier::Cookie { name, path, permanent }
}

fn session(carrier: SessionCarrier) -> Option<Arc<Session>> {
    let source = SourceRef::new("HTTPRoute", name("route"), Origin::Builtin);
    let absolute_timeout = Some(Duration::from_secs(300));
    Some(Arc::new(Session { source, carrier, absolute_timeout, keys: vec![SessionKey::new([7; 32])] }))
}

fn addresses(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|last| address(last, 80)).collect()
}

/// A network in which these addresses answer with their names.
fn echoing(count: u8) -> Net {
    let net = Net::default();
    for (at, who) in addresses(count).into_iter().zip(WHO) {
        net.echo(at, who);
    }
    net
}

/// What one rule to service `cart` with four endpoints is made of.
fn resources(carrier: SessionCarrier, change: impl FnOnce(&mut Rule)) -> Vec<Resource> {
    let mut only = rule("/", vec![backend("cart", 1)]);
    only.session = session(carrier);
    change(&mut only);
    let mut resources = vec![listener(), route(vec![only])];
    resources.extend(service("cart", AppProtocol::Http1, &addresses(4)));
    resources
}

/// The pair of the session's cookie in an answer, and its attributes.
fn told(got: &Got) -> Option<(String, String)> {
    let lines = got.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
    let (pair, attributes) =
        lines.filter_map(|line| line.split_once("; ")).find(|l| l.0.starts_with("stay="))?;
    Some((pair.to_owned(), attributes.to_owned()))
}

async fn send(client: &mut Client, headers: &[(&'static str, &str)]) -> Got {
    let mut request = client.request("GET", "/").body(Full::default()).expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    client.call(request).await
}

/// Asserts that a cookie leads to one endpoint, and that no other cookie is told on the way.
async fn stays(client: &mut Client, pair: &str, who: &str) {
    for _ in 0..50 {
        let got = send(client, &[("cookie", pair)]).await;
        assert_eq!((got.status, got.header("x-served-by")), (StatusCode::OK, who));
        assert_eq!(told(&got), None, "it is told once");
    }
}

#[test]
fn a_client_stays_with_its_endpoint_in_both_protocols_and_others_are_spread() {
    on_worker(async {
        let net = echoing(4);
        let proxy = Proxy::new(&net, resources(cookie("/shop", true), |_| {}));
        let (mut one, mut two) = (proxy.gateway1().await, proxy.gateway2().await);
        let first = one.get("/").await;
        let (pair, attributes) = told(&first).expect("a cookie");
        assert_eq!(attributes, "Path=/shop; HttpOnly; SameSite=Strict; Max-Age=300");
        stays(&mut one, &pair, first.header("x-served-by")).await;
        stays(&mut two, &pair, first.header("x-served-by")).await;
        let mut others = BTreeSet::new();
        for _ in 0..100 {
            others.insert(two.get("/").await.header("x-served-by").to_owned());
        }
        assert_eq!(others.len(), 4, "who brings no cookie is balanced");
        // HTTP/2 splits cookies into lines; the session is found in any of them, and all go on to the backend.
        let many: Vec<String> = (0..60).map(|n| format!("c{n}=v")).collect();
        let lines: Vec<_> = many.iter().chain([&pair]).map(|line| ("cookie", line.as_str())).collect();
        let got = send(&mut two, &lines).await;
        assert_eq!(got.header("x-served-by"), first.header("x-served-by"));
        assert!(got.body.contains(&pair) && got.body.contains("c59=v"), "{}", got.body);
    });
}

#[test]
fn a_session_outlives_the_proxy_and_holds_at_every_replica() {
    on_worker(async {
        let net = echoing(4);
        let (pair, who) = {
            let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
            let got = proxy.gateway1().await.get("/").await;
            (told(&got).expect("a cookie").0, got.header("x-served-by").to_owned())
        };
        for _ in 0..2 {
            let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
            stays(&mut proxy.gateway1().await, &pair, &who).await;
        }
    });
}

#[test]
fn an_endpoint_that_is_gone_gives_its_sessions_to_others() {
    on_worker(async {
        let net = echoing(4);
        let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let mut client = proxy.gateway1().await;
        let got = client.get("/").await;
        let ((pair, _), who) = (told(&got).expect("a cookie"), got.header("x-served-by").to_owned());
        let gone = WHO.iter().position(|name| *name == who).expect("one of them");
        let rest: Vec<_> = addresses(4).into_iter().enumerate().filter(|(n, _)| *n != gone).collect();
        let rest: Vec<_> = rest.into_iter().map(|(_, at)| at).collect();
        let set = service("cart", AppProtocol::Http1, &rest);
        proxy.mesh.publish(proxy.mesh.current().apply(&Delta { set, removed: Vec::new() }));
        let moved = send(&mut client, &[("cookie", &pair)]).await;
        let (new, _) = told(&moved).expect("a new session");
        assert_ne!(moved.header("x-served-by"), who);
        let now = moved.header("x-served-by").to_owned();
        stays(&mut client, &new, &now).await;
    });
}

#[test]
fn another_try_goes_elsewhere_and_the_session_with_it() {
    on_worker(async {
        let net = Net::default();
        for (at, who) in addresses(4).into_iter().zip(WHO) {
            // The third endpoint fails every request that comes to it.
            let status = if who == "three" { 503 } else { 200 };
            net.backend(at, move |request| async move {
                let mut response = echo(who, request);
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                response
            });
        }
        let plain = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let mut client = plain.gateway1().await;
        let mut pair = None;
        for _ in 0..200 {
            let got = client.get("/").await;
            if got.header("x-served-by") == "three" {
                pair = told(&got);
                break;
            }
        }
        let (pair, _) = pair.expect("every endpoint is chosen now and then");
        let retry = Some(Retry { codes: vec![503], attempts: 2, backoff: Some(Duration::from_millis(1)) });
        let proxy = Proxy::new(&net, resources(cookie("/", false), |rule| rule.retry = retry));
        let mut client = proxy.gateway1().await;
        for _ in 0..20 {
            let got = send(&mut client, &[("cookie", &pair)]).await;
            assert_eq!(got.status, StatusCode::OK);
            let (new, _) = told(&got).expect("the session is with who answered");
            assert_ne!((new.as_str(), got.header("x-served-by")), (pair.as_str(), "three"));
        }
    });
}

#[test]
fn weights_decide_about_backends_and_sessions_within_them() {
    on_worker(async {
        let net = echoing(4);
        let mut split = rule("/", vec![backend("a", 70), backend("b", 30)]);
        split.session = session(cookie("/", false));
        let mut resources = vec![listener(), route(vec![split])];
        resources.extend(service("a", AppProtocol::Http1, &addresses(2)));
        resources.extend(service("b", AppProtocol::Http1, &addresses(4)[2..]));
        let proxy = Proxy::new(&net, resources);
        let mut client = proxy.gateway1().await;
        let mut pair = String::new();
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..500 {
            let brought = if pair.is_empty() { vec![] } else { vec![("cookie", pair.as_str())] };
            let got = send(&mut client, &brought).await;
            *served.entry(got.header("x-served-by").to_owned()).or_default() += 1;
            pair = told(&got).map_or(pair, |(pair, _)| pair);
        }
        assert_eq!(served.len(), 2, "one endpoint of each backend: {served:?}");
        let of = |names: &[&str]| names.iter().filter_map(|name| served.get(*name)).sum::<usize>();
        assert!((325..=375).contains(&of(&WHO[..2])), "{served:?}");
        assert!((125..=175).contains(&of(&WHO[2..])), "{served:?}");
    });
}

#[test]
fn forged_and_oversized_values_are_balanced_like_none() {
    on_worker(async {
        let net = echoing(4);
        let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let mut client = proxy.gateway1().await;
        let (pair, _) = told(&client.get("/").await).expect("a cookie");
        let changed: String =
            pair.chars().rev().enumerate().map(|(n, c)| if n == 3 { '_' } else { c }).collect();
        let changed: String = changed.chars().rev().collect();
        for forged in [
            "stay=".to_owned(),
            "stay=10.0.0.1:80".to_owned(),
            format!("stay={}", "A".repeat(48)),
            format!("stay={}", "A.".repeat(8000)),
            if changed == pair { "stay=%".to_owned() } else { changed },
        ] {
            let mut served = BTreeSet::new();
            for _ in 0..60 {
                let got = send(&mut client, &[("cookie", &forged)]).await;
                assert_eq!(got.status, StatusCode::OK, "{forged}");
                served.insert(got.header("x-served-by").to_owned());
                let (new, _) = told(&got).expect("a session");
                assert!(new.len() < 210, "{}", new.len());
            }
            assert!(served.len() > 1, "{forged}: {served:?}");
        }
    });
}

#[test]
fn filters_are_about_what_clients_and_backends_say_not_about_the_session() {
    on_worker(async {
        let net = Net::default();
        for (at, who) in addresses(4).into_iter().zip(WHO) {
            net.backend(at, move |request| async move {
                let mut response = echo(who, request);
                response.headers_mut().append("set-cookie", HeaderValue::from_static("app=1"));
                response
            });
        }
        let removes = |name: &'static str| HeaderEdit {
            remove: vec![HeaderKey(http::HeaderName::from_static(name))],
            ..HeaderEdit::default()
        };
        let filters =
            vec![Filter::RequestHeaders(removes("cookie")), Filter::ResponseHeaders(removes("set-cookie"))];
        let proxy = Proxy::new(&net, resources(cookie("/", false), |rule| rule.filters = filters));
        let mut client = proxy.gateway1().await;
        let first = client.get("/").await;
        let (pair, _) = told(&first).expect("a cookie");
        assert_eq!(first.headers.get_all("set-cookie").iter().count(), 1);
        stays(&mut client, &pair, first.header("x-served-by")).await;
        assert!(!send(&mut client, &[("cookie", &pair)]).await.body.contains("stay="));
        // Without filters the backend's cookie stands beside ours.
        let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let both = proxy.gateway1().await.get("/").await;
        assert_eq!(both.headers.get_all("set-cookie").iter().count(), 2);
    });
}

#[test]
fn a_cookie_is_secure_where_the_client_speaks_tls() {
    on_worker(async {
        let net = echoing(4);
        let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let mut downstream = gateway();
        downstream.tls = true;
        let got = Client::http1(proxy.open(downstream)).await.get("/").await;
        assert_eq!(told(&got).expect("a cookie").1, "Path=/; HttpOnly; SameSite=Strict; Secure");
    });
}

#[test]
fn calls_of_grpc_stay_by_a_header() {
    on_worker(async {
        let net = echoing(4);
        let mut only = rule("/", vec![backend("cart", 1)]);
        only.session = session(SessionCarrier::Header("x-stay".parse().expect("a header")));
        let Resource::Route(http) = route(vec![only]) else { unreachable!("it is a route") };
        let grpc = attached(RouteKind::Grpc, http.attachments[0].clone(), http.rules.clone());
        let mut resources = vec![listener(), grpc];
        resources.extend(service("cart", AppProtocol::Http2, &addresses(4)));
        let proxy = Proxy::new(&net, resources);
        let mut client = proxy.gateway2().await;
        let call = |client: &Client, value: Option<&HeaderValue>| {
            let request = client.request("POST", "/shop.Cart/Add").header("content-type", "application/grpc");
            let mut request: Request<Full<bytes::Bytes>> = request.body(Full::default()).expect("a request");
            value.into_iter().for_each(|value| drop(request.headers_mut().insert("x-stay", value.clone())));
            request
        };
        let first = client.call(call(&client, None)).await;
        let value = first.headers.get("x-stay").expect("the session").clone();
        for _ in 0..50 {
            let got = client.call(call(&client, Some(&value))).await;
            assert_eq!(got.header("x-served-by"), first.header("x-served-by"));
            assert_eq!(got.headers.get("x-stay"), None);
        }
    });
}

#[test]
fn a_service_has_sessions_of_its_own_in_the_mesh_and_a_route_has_the_last_word() {
    on_worker(async {
        let net = echoing(4);
        let mut resources = Vec::new();
        for resource in service("cart", AppProtocol::Http1, &addresses(4)) {
            match resource {
                Resource::Service(service) => {
                    let kept = session(cookie("/", false));
                    resources
                        .push(Resource::Service(Arc::new(Service { session: kept, ..(*service).clone() })));
                }
                other => resources.push(other),
            }
        }
        let proxy = Proxy::new(&net, resources.clone());
        let mut client = Client::http1(proxy.open(outbound(&proxy.mesh, "cart"))).await;
        let first = client.get("/").await;
        let (pair, attributes) = told(&first).expect("a cookie");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
        stays(&mut client, &pair, first.header("x-served-by")).await;
        let to = Attachment::Service { service: name("cart"), port: None };
        let mut own = rule("/", vec![backend("cart", 1)]);
        own.session = session(SessionCarrier::Header("x-stay".parse().expect("a header")));
        resources.push(attached(RouteKind::Http, to, vec![own]));
        let proxy = Proxy::new(&net, resources);
        let mut client = Client::http1(proxy.open(outbound(&proxy.mesh, "cart"))).await;
        let got = client.get("/").await;
        assert_eq!((told(&got), got.headers.contains_key("x-stay")), (None, true));
    });
}

#[test]
fn answers_of_the_proxy_itself_begin_no_session() {
    on_worker(async {
        let net = Net::default();
        let proxy = Proxy::new(&net, resources(cookie("/", false), |_| {}));
        let got = proxy.gateway1().await.get("/").await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(told(&got), None);
    });
}

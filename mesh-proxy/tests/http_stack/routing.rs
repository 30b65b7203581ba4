//! Roles, shares, versions: the way of an ordinary request.

use http::StatusCode;
use mesh_model::backend::{Backend, Target};
use mesh_model::filter::{Filter, HeaderEdit, HeaderLine};
use mesh_model::{AppProtocol, Kind, RouteKind};
use mesh_proxy::upstream::Speaks;

use crate::model::*;
use crate::net::*;

#[test]
fn a_gateway_routes_by_path_in_both_versions() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        net.echo(address(2, 80), "two");
        let rules = vec![rule("/one", vec![backend("one", 1)]), rule("/two", vec![backend("two", 1)])];
        let mut resources = vec![listener(), route(rules)];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        resources.extend(service("two", AppProtocol::Http2, &[address(2, 80)]));
        let proxy = Proxy::new(&net, resources);
        for mut client in [proxy.gateway1().await, proxy.gateway2().await] {
            let one = client.get("/one/a?q=1").await;
            assert_eq!((one.status, one.header("x-served-by")), (StatusCode::OK, "one"));
            assert!(one.body.starts_with("one HTTP/1.1 GET /one/a?q=1\n"), "{}", one.body);
            assert!(one.body.contains("\nhost: shop.test\n"), "{}", one.body);
            let two = client.get("/two").await;
            assert!(two.body.starts_with("two HTTP/2.0 GET http://shop.test/two\n"), "{}", two.body);
            let none = client.get("/three").await;
            assert_eq!((none.status, none.body.as_str()), (StatusCode::NOT_FOUND, "NoRule\n"));
            assert_eq!(none.header("x-mesh-decision").len(), 16);
        }
    });
}

#[test]
fn shares_are_kept_within_five_percent_and_a_missing_backend_costs_only_its_share() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        net.echo(address(2, 80), "two");
        let missing = Backend {
            target: Target::Service { service: name("missing"), port: 80 },
            weight: 10,
            filters: Vec::new(),
        };
        let rules = vec![rule("/", vec![backend("one", 70), backend("two", 20), missing])];
        let mut resources = vec![listener(), route(rules)];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        resources.extend(service("two", AppProtocol::Http1, &[address(2, 80)]));
        let proxy = Proxy::new(&net, resources);
        let mut client = proxy.gateway1().await;
        let mut seen = [0; 3];
        for _ in 0..500 {
            let got = client.get("/").await;
            let at = match (got.status.as_u16(), got.header("x-served-by")) {
                (200, "one") => 0,
                (200, "two") => 1,
                (500, _) => 2,
                other => panic!("{other:?}"),
            };
            seen[at] += 1;
        }
        assert_eq!(seen, [350, 100, 50]);
        assert!(net.dialled.get() <= 2, "connections are used again: {}", net.dialled.get());
    });
}

#[test]
fn no_endpoint_is_told_at_once() {
    on_worker(async {
        let net = Net::default();
        let mut resources = vec![listener(), route(vec![rule("/", vec![backend("none", 1)])])];
        resources.extend(service("none", AppProtocol::Http1, &[]));
        let proxy = Proxy::new(&net, resources);
        let got = proxy.gateway1().await.get("/").await;
        assert_eq!(
            (got.status, got.body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "no endpoint is ready\n")
        );
    });
}

#[test]
fn header_edits_reach_backend_and_client() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        let line = |name: &'static str, value: &'static str| HeaderLine {
            name: http::HeaderName::from_static(name),
            value: http::HeaderValue::from_static(value),
        };
        let mut edited = rule("/", vec![backend("one", 1)]);
        edited.filters = vec![
            Filter::RequestHeaders(HeaderEdit {
                set: vec![line("x-to", "backend")],
                ..HeaderEdit::default()
            }),
            Filter::ResponseHeaders(HeaderEdit {
                set: vec![line("x-to", "client")],
                ..HeaderEdit::default()
            }),
        ];
        let mut resources = vec![listener(), route(vec![edited])];
        resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
        let got = Proxy::new(&net, resources).gateway1().await.get("/").await;
        assert!(got.body.contains("\nx-to: backend\n"), "{}", got.body);
        assert_eq!(got.header("x-to"), "client");
    });
}

#[test]
fn a_service_without_routes_is_simply_reached_and_one_with_routes_by_them() {
    on_worker(async {
        let net = Net::default();
        net.echo(address(1, 80), "one");
        net.echo(address(2, 80), "two");
        let mut resources = service("one", AppProtocol::Http1, &[address(1, 80)]);
        resources.extend(service("two", AppProtocol::Http1, &[address(2, 80)]));
        let proxy = Proxy::new(&net, resources.clone());
        let got = Client::http1(proxy.open(outbound(&proxy.mesh, "one"))).await.get("/").await;
        assert_eq!(got.header("x-served-by"), "one");
        let to = mesh_model::Attachment::Service { service: name("one"), port: None };
        resources.push(attached(RouteKind::Http, to, vec![rule("/two", vec![backend("two", 1)])]));
        proxy.mesh.publish(mesh_model::Mesh::from_resources(resources));
        let mut client = Client::http1(proxy.open(outbound(&proxy.mesh, "one"))).await;
        assert_eq!(client.get("/two").await.header("x-served-by"), "two");
        assert_eq!(client.get("/one").await.status, StatusCode::NOT_FOUND);
        assert_eq!(proxy.mesh.current().resources().filter(|r| r.key().kind == Kind::Route).count(), 1);
    });
}

#[test]
fn between_two_proxies_the_application_is_spoken_to_in_its_own_version_and_learns_the_client() {
    on_worker(async {
        for (protocol, speaks, version) in
            [(AppProtocol::Http1, Speaks::Http1, "HTTP/1.1"), (AppProtocol::Http2, Speaks::Http2, "HTTP/2.0")]
        {
            let net = Net::default();
            net.echo(address(9, 8080), "app");
            let far = Proxy::new(&net, [known("cart")]);
            net.listen(address(2, 80), move |io, upstream| {
                assert_eq!(upstream.speaks, speaks);
                far.accept(io, inbound("cart", address(9, 8080), Some("web")));
            });
            let near = Proxy::new(&net, meshed("cart", protocol, &[address(2, 80)], Some(identity("cart"))));
            let mut client = Client::http1(near.open(outbound(&near.mesh, "cart"))).await;
            let forged = client
                .request("GET", "/x")
                .header("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/root")
                .header("x-mesh-http1", "1")
                .header("x_mesh_anything", "1")
                .body(Default::default())
                .expect("a request");
            let got = client.call(forged).await;
            assert!(got.body.starts_with(&format!("app {version} GET ")), "{}", got.body);
            let identity = "x-forwarded-client-cert: By=spiffe://cluster.local/ns/shop/sa/cart;URI=spiffe://cluster.local/ns/shop/sa/web\n";
            assert!(got.body.contains(identity), "{}", got.body);
            assert_eq!(got.body.matches("client-cert").count(), 1, "{}", got.body);
            assert!(!got.body.contains("mesh"), "{}", got.body.replace(identity, ""));
        }
    });
}

//! A network in memory: backends by address, proxies in front of them, and clients.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_model::{ConnectionFacts, Mesh, Resource};
use mesh_proxy::http::{Downstream, Limits, Parts, Stack, serve};
use mesh_proxy::pool;
use mesh_proxy::scope::Scope;
use mesh_proxy::snapshot::SharedMesh;
use mesh_proxy::telemetry::Telemetry;
use mesh_proxy::upstream::{Connect, ConnectError, Speaks, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::model::{address, name, workload};

#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

type Accept = Rc<dyn Fn(DuplexStream, Upstream)>;

/// What listens at which address. An address without a listener refuses.
#[derive(Clone, Default)]
pub(crate) struct Net {
    listening: Rc<RefCell<HashMap<SocketAddr, Accept>>>,
    pub(crate) dialled: Rc<Cell<usize>>,
    /// An address that neither answers nor refuses.
    pub(crate) silent: Rc<Cell<Option<SocketAddr>>>,
}

impl Connect for Net {
    type Io = DuplexStream;

    async fn connect(&self, upstream: &Upstream) -> Result<DuplexStream, ConnectError> {
        self.dialled.set(self.dialled.get() + 1);
        if self.silent.get() == Some(upstream.address) {
            return std::future::pending().await;
        }
        let accept = self.listening.borrow().get(&upstream.address).cloned();
        let Some(accept) = accept else {
            let problem = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(ConnectError::Io { address: upstream.address, problem });
        };
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        accept(theirs, upstream.clone());
        Ok(ours)
    }
}

impl Net {
    pub(crate) fn listen(&self, at: SocketAddr, accept: impl Fn(DuplexStream, Upstream) + 'static) {
        self.listening.borrow_mut().insert(at, Rc::new(accept));
    }

    /// A backend that answers each request by a function, in whatever the proxy speaks.
    pub(crate) fn backend<F>(&self, at: SocketAddr, answer: impl Fn(Request<Incoming>) -> F + Clone + 'static)
    where
        F: Future<Output = Response<Full<Bytes>>> + 'static,
    {
        self.listen(at, move |io, upstream| {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            tokio::task::spawn_local(async move {
                let io = TokioIo::new(io);
                if upstream.speaks == Speaks::Http2 {
                    let _ =
                        hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        });
    }

    /// A backend that answers with its name, the request's target and its headers.
    pub(crate) fn echo(&self, at: SocketAddr, who: &'static str) {
        self.backend(at, move |request| async move { echo(who, request) });
    }

    /// A backend that reads a head and answers with these bytes, then does what is left.
    pub(crate) fn raw<F>(&self, at: SocketAddr, serve: impl Fn(DuplexStream) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.listen(at, move |io, _| {
            tokio::task::spawn_local(serve(io));
        });
    }
}

pub(crate) fn echo(who: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut text = format!("{who} {:?} {} {}\n", request.version(), request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert("x-served-by", who.parse().expect("a header value"));
    response
}

/// A proxy of one worker.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) mesh: SharedMesh,
    pub(crate) stack: Rc<Stack<Net>>,
    pub(crate) telemetry: Telemetry,
}

impl Proxy {
    pub(crate) fn new(net: &Net, resources: impl IntoIterator<Item = Resource>) -> Self {
        Self::with(net, resources, Telemetry::default(), Limits::default())
    }

    pub(crate) fn with(
        net: &Net,
        resources: impl IntoIterator<Item = Resource>,
        telemetry: Telemetry,
        limits: Limits,
    ) -> Self {
        Self::pooled(net, resources, telemetry, (limits, pool::Limits::default()))
    }

    pub(crate) fn pooled(
        net: &Net,
        resources: impl IntoIterator<Item = Resource>,
        telemetry: Telemetry,
        (limits, pool): (Limits, pool::Limits),
    ) -> Self {
        let mesh = SharedMesh::new(Mesh::from_resources(resources));
        let parts = Parts {
            mesh: mesh.clone(),
            connect: net.clone(),
            telemetry: telemetry.clone(),
            clock: mesh_rt::SystemClock::shared(),
            limits,
            pool,
            budgets: mesh_balance::Budgets::default(),
        };
        Self { mesh, stack: Stack::start(parts), telemetry }
    }

    /// Opens a client's connection.
    pub(crate) fn open(&self, downstream: Downstream) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        self.accept(theirs, downstream);
        ours
    }

    pub(crate) fn accept(&self, io: DuplexStream, downstream: Downstream) {
        let never = (std::future::pending(), std::future::pending());
        tokio::task::spawn_local(serve(io, downstream, Rc::clone(&self.stack), never));
    }

    /// A client of HTTP/1.1 at the gateway.
    pub(crate) async fn gateway1(&self) -> Client {
        Client::http1(self.open(gateway())).await
    }

    /// A client of HTTP/2 at the gateway.
    pub(crate) async fn gateway2(&self) -> Client {
        Client::http2(self.open(gateway())).await
    }

    /// Sends bytes to the gateway and reads what comes until the connection ends or rests.
    pub(crate) async fn raw(&self, downstream: Downstream, bytes: &[u8]) -> String {
        let mut io = self.open(downstream);
        io.write_all(bytes).await.expect("the proxy reads");
        read_some(&mut io).await
    }
}

/// Reads until the other side closes or is silent for a while.
pub(crate) async fn read_some(io: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) =
        tokio::time::timeout(std::time::Duration::from_millis(100), io.read(&mut buffer)).await
    {
        if count == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn facts() -> ConnectionFacts {
    let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    ConnectionFacts { source, destination: address(1, 80), peer: None, sni: None }
}

pub(crate) fn gateway() -> Downstream {
    let scope = Scope::Gateway { gateway: name("edge"), port: 80, sni: None };
    Downstream { facts: facts(), scope, mesh_hop: false, tls: false, agreed: None }
}

pub(crate) fn outbound(mesh: &SharedMesh, service: &str) -> Downstream {
    let service = Arc::clone(mesh.current().service(&name(service)).expect("the service exists"));
    let client = facts().source;
    let scope = Scope::Outbound { client, service, port: 80, namespace: "shop".into() };
    Downstream { facts: facts(), scope, mesh_hop: false, tls: false, agreed: None }
}

pub(crate) fn inbound(of: &str, application: SocketAddr, peer: Option<&str>) -> Downstream {
    let peer = peer.map(crate::model::identity);
    let mesh_hop = peer.is_some();
    let scope = Scope::Inbound { workload: workload(of), application };
    Downstream { facts: ConnectionFacts { peer, ..facts() }, scope, mesh_hop, tls: mesh_hop, agreed: None }
}

/// A client on one connection.
pub(crate) enum Client {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    pub(crate) async fn http1(io: DuplexStream) -> Self {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(io: DuplexStream) -> Self {
        let (sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(io)).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        Self::Http2(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }

    pub(crate) async fn call(&mut self, request: Request<Full<Bytes>>) -> Got {
        let (parts, body) = self.send(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Got {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Got {
        let request = self.request("GET", path).body(Full::default()).expect("a request");
        self.call(request).await
    }

    /// A request in the form that this client's protocol wants.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self {
            Self::Http1(_) => builder.uri(path).header("host", "shop.test"),
            Self::Http2(_) => builder.uri(format!("http://shop.test{path}")),
        }
    }
}

/// Runs a test on a worker's kind of runtime.
pub(crate) fn on_worker<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(tokio::task::LocalSet::new().run_until(test))
}

/// As [`on_worker`], with time that only passes when everything waits.
pub(crate) fn in_paused_time<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(tokio::task::LocalSet::new().run_until(test))
}

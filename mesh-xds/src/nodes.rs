//! What the proxy of a node tells its controller: which pods it serves now. Messages, the gRPC service and its client;
//! who may say it, and what follows from it, is the caller's.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use mesh_model::Caller;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The full name of the service.
const SERVICE: &str = "mesh.v1.NodeService";
/// The path of the one call.
const PATH: &str = "/mesh.v1.NodeService/Serve";
/// Longest message in bytes, in both directions: some hundred pods are far from it.
const MAX_MESSAGE: usize = 1 << 20;

/// What a node's proxy serves now; what it does not name, it does not serve. Fields are only ever added.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Served {
    /// The token of the proxy's pod: who it is, and on which node.
    #[prost(string, tag = "1")]
    pub token: String,
    /// The pods.
    #[prost(message, repeated, tag = "2")]
    pub pods: Vec<ServedPod>,
}

/// A pod that is served.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ServedPod {
    /// Its namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its addresses, as text: a later pod of the same name has others.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
}

/// It was noted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Noted {}

/// Takes what nodes say.
pub trait Note: Send + Sync + 'static {
    /// Judges who says it, from which address, and notes it. `Ok` means that it holds for every replica.
    fn note(&self, said: Served, from: Option<IpAddr>) -> BoxFuture<Noted, Status>;
}

/// The service `mesh.v1.NodeService`. Add it to a tonic router.
#[derive(Clone)]
pub struct NodeService(Arc<dyn Note>);

impl NodeService {
    /// A service that notes with this.
    pub fn new(note: impl Note) -> Self {
        Self(Arc::new(note))
    }
}

impl UnaryService<Served> for NodeService {
    type Response = Noted;
    type Future = BoxFuture<Response<Noted>, Status>;

    fn call(&mut self, request: Request<Served>) -> Self::Future {
        let from = request.extensions().get::<Caller>().and_then(|caller| caller.address);
        let noted = self.0.note(request.into_inner(), from);
        Box::pin(async move { noted.await.map(Response::new) })
    }
}

impl<B> Service<http::Request<B>> for NodeService
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("there is no such call").into_http());
            }
            let grpc = Grpc::new(ProstCodec::default());
            let mut grpc = grpc.apply_max_message_size_config(Some(MAX_MESSAGE), Some(MAX_MESSAGE));
            Ok(grpc.unary(service, request).await)
        })
    }
}

impl NamedService for NodeService {
    const NAME: &'static str = SERVICE;
}

impl fmt::Debug for NodeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeService")
    }
}

/// Tells a controller over a connection to it, TLS finished, which pods are served.
///
/// # Errors
/// The connection failed, or the controller refused in these words.
pub async fn tell<IO>(connection: IO, served: Served) -> Result<(), Status>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = Some(TokioIo::new(connection));
    let once = tower::service_fn(move |_| {
        let taken = connection.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(taken)
    });
    let failed = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    // The address is never used: the connection is there already.
    let channel =
        Endpoint::from_static("http://controller").connect_with_connector(once).await.map_err(failed)?;
    let mut grpc = tonic::client::Grpc::new(channel).max_encoding_message_size(MAX_MESSAGE);
    grpc.ready().await.map_err(failed)?;
    let codec = ProstCodec::<Served, Noted>::default();
    grpc.unary(Request::new(served), PathAndQuery::from_static(PATH), codec).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Picky;

    impl Note for Picky {
        fn note(&self, said: Served, _: Option<IpAddr>) -> BoxFuture<Noted, Status> {
            let ours = said.token == "good" && said.pods.len() == 1 && said.pods[0].addresses == ["10.0.0.1"];
            let answer = if ours { Ok(Noted {}) } else { Err(Status::permission_denied("not you")) };
            Box::pin(std::future::ready(answer))
        }
    }

    async fn said(token: &str) -> Result<(), Status> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let incoming = tokio_stream::iter([Ok::<_, io::Error>(crate::server::Identified::new(theirs, None))]);
        let server = tonic::transport::Server::builder().add_service(NodeService::new(Picky));
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        let addresses = vec!["10.0.0.1".to_owned()];
        let pod = ServedPod { namespace: "shop".to_owned(), name: "cart".to_owned(), addresses };
        let outcome = tell(ours, Served { token: token.to_owned(), pods: vec![pod] }).await;
        serving.abort();
        outcome
    }

    #[tokio::test]
    async fn what_a_node_says_arrives_and_a_refusal_comes_back_in_its_words() {
        said("good").await.unwrap();
        assert_eq!(said("bad").await.unwrap_err().message(), "not you");
    }
}

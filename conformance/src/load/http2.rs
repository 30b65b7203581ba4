//! HTTP/2 with prior knowledge: a few connections, taken in turn; one that its server ends is replaced.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Loss;
use super::http1::whole;

const CONNECTIONS: usize = 4;

type Connection = SendRequest<Empty<Bytes>>;

pub(super) struct Sender {
    to: SocketAddr,
    uri: String,
    open: RefCell<[Option<Connection>; CONNECTIONS]>,
    turn: Cell<usize>,
}

/// Tasks of a connection stay on this thread.
#[derive(Clone)]
struct Here;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Sender {
    pub(super) fn new(to: SocketAddr, host: &str) -> Self {
        let uri = format!("http://{host}/");
        Self { to, uri, open: RefCell::default(), turn: Cell::default() }
    }

    pub(super) async fn send(&self) -> Result<(), Loss> {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % CONNECTIONS);
        // A connection that is ending gives back what it has not written. Each try is another connection.
        for _ in 0..=CONNECTIONS {
            let mut connection = self.connection(turn).await?;
            match connection.try_send_request(self.request()?).await {
                Ok(response) => return whole(response).await,
                Err(error) if error.message().is_some() => self.open.borrow_mut()[turn] = None,
                Err(error) => return Err(Loss::of("sending", error.error())),
            }
        }
        Err(Loss::new("sending", "no connection takes requests"))
    }

    async fn connection(&self, turn: usize) -> Result<Connection, Loss> {
        if let Some(connection) = &self.open.borrow()[turn]
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let stream = TcpStream::connect(self.to).await.map_err(|error| Loss::of("connecting", &error))?;
        let (connection, driver) =
            handshake(Here, TokioIo::new(stream)).await.map_err(|error| Loss::of("connecting", &error))?;
        tokio::task::spawn_local(driver);
        self.open.borrow_mut()[turn] = Some(connection.clone());
        Ok(connection)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Loss> {
        Request::get(&self.uri).body(Empty::new()).map_err(|error| Loss::of("request", &error))
    }
}

//! UDP sessions on loopback.

use tokio::task::LocalSet;

use super::*;
use crate::drain::Drain;

fn socket() -> UdpSocket {
    let socket = mesh_rt::net::bind_udp("127.0.0.1:0".parse().expect("address"), false).expect("a free port");
    UdpSocket::from_std(socket).expect("a runtime")
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("bound")
}

/// Sends back what comes, with the port it came from.
async fn echo(server: UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((size, from)) = server.recv_from(&mut buffer).await {
        let answer = [&buffer[..size], format!(" {}", from.port()).as_bytes()].concat();
        let _ = server.send_to(&answer, from).await;
    }
}

async fn ask(client: &UdpSocket, to: SocketAddr, text: &str) -> String {
    client.send_to(text.as_bytes(), to).await.expect("sent");
    let mut buffer = [0; 2048];
    let answer = tokio::time::timeout(Duration::from_secs(5), client.recv_from(&mut buffer)).await;
    let (size, from) = answer.expect("an answer in time").expect("no error");
    assert_eq!(from, to, "the answer comes from another address");
    String::from_utf8_lossy(&buffer[..size]).into_owned()
}

/// Bytes that came and went, each way.
#[derive(Default, Clone)]
struct Count(Rc<Cell<(usize, usize)>>);

impl Tally for Count {
    fn received(&self, bytes: usize) {
        let (received, sent) = self.0.get();
        self.0.set((received + bytes, sent));
    }

    fn sent(&self, bytes: usize) {
        let (received, sent) = self.0.get();
        self.0.set((received, sent + bytes));
    }
}

async fn with_listener<F: Future<Output = ()>>(idle: Duration, test: impl FnOnce(SocketAddr) -> F) {
    let local = LocalSet::new();
    let (listener, server, drain) = (socket(), socket(), Drain::default());
    let (at, upstream) = (address(&listener), address(&server));
    local.spawn_local(echo(server));
    let open = move |_| async move {
        let socket = socket();
        socket.connect(upstream).await.map_err(|_| Reason::UpstreamConnect)?;
        Ok((socket, Count::default()))
    };
    local.spawn_local(serve(listener, idle, drain.signal(), open, |_, _| {}));
    local.run_until(test(at)).await;
}

#[tokio::test]
async fn every_client_has_its_own_upstream_socket_and_keeps_it() {
    with_listener(Duration::from_secs(60), async |at| {
        let (a, b) = (socket(), socket());
        let first = ask(&a, at, "one").await;
        assert_eq!(ask(&a, at, "one").await, first);
        assert!(first.starts_with("one "));
        let other = ask(&b, at, "one").await;
        assert_ne!(other, first);
        assert_eq!(ask(&a, at, "one").await, first);
    })
    .await;
}

#[tokio::test]
async fn a_silent_session_ends_and_its_client_gets_a_new_one() {
    with_listener(Duration::from_millis(50), async |at| {
        let client = socket();
        let first = ask(&client, at, "x").await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_ne!(ask(&client, at, "x").await, first);
    })
    .await;
}

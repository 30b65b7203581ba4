//! The server on loopback, with others that answer, guess or keep silent.

use std::sync::Mutex;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::message::{Answer, Family, Question};

/// Knows one name, and that another one is none when nobody else says so.
#[derive(Default)]
struct One(Mutex<Vec<Outcome>>);

impl Names for One {
    fn zone(&self) -> &str {
        "cluster.local"
    }

    fn known(&self, query: &Query) -> Option<Known> {
        let is_it = query.labels().eq(["web", "test"]);
        is_it.then(|| Known::Addresses((0..100).map(|n| [10, 0, 0, n].into()).collect()))
    }

    fn in_doubt(&self, query: &Query) -> Option<Known> {
        query.labels().eq(["gone", "test"]).then_some(Known::NoSuchName)
    }

    fn heard(&self, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

struct Running {
    at: SocketAddr,
    server: Arc<Server<One>>,
}

fn client() -> UdpSocket {
    let socket = mesh_rt::net::bind_udp(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// A port that is free for UDP may be taken for TCP by another test.
fn local() -> (UdpSocket, TcpListener) {
    loop {
        let socket = client();
        if let Ok(listener) = mesh_rt::net::listen_tcp(socket.local_addr().unwrap(), false) {
            return (socket, TcpListener::from_std(listener).unwrap());
        }
    }
}

async fn start(servers: Vec<SocketAddr>) -> Running {
    let (socket, listener) = local();
    let at = socket.local_addr().unwrap();
    let server = Arc::new(Server::new(One::default(), Upstream { servers, mark: None }));
    tokio::spawn(Arc::clone(&server).datagrams(socket, std::future::pending()));
    tokio::spawn(Arc::clone(&server).connections(listener, std::future::pending()));
    Running { at, server }
}

/// Somebody else, who says to all that there is no such name; or nothing.
async fn other(is_silent: bool) -> SocketAddr {
    let (socket, listener) = local();
    let at = socket.local_addr().unwrap();
    let no = |message: &[u8]| Query::read(message).unwrap().answer(&Known::NoSuchName, "test", WHOLE);
    tokio::spawn(async move {
        let mut buffer = [0; 1000];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            if !is_silent {
                // A guess comes first, for another question.
                let guess = Question::new(9, "web.test", Family::V4).unwrap().encode();
                socket.send_to(&no(&guess), client).await.unwrap();
                socket.send_to(&no(&buffer[..length]), client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let message = read(&mut stream).await.unwrap();
            write(&mut stream, &no(&message)).await.unwrap();
        }
    });
    at
}

async fn by_datagram(at: SocketAddr, name: &str) -> Result<Answer, crate::message::Malformed> {
    let question = Question::new(3, name, Family::V4).unwrap();
    let socket = client();
    socket.send_to(&question.encode(), at).await.unwrap();
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).await.unwrap();
    question.answer(&buffer[..length])
}

#[tokio::test]
async fn what_is_known_is_answered_with_everybody_else_away_and_whole_over_a_connection() {
    let running = start(Vec::new()).await;
    assert_eq!(by_datagram(running.at, "web.test").await, Ok(Answer::Truncated));
    let mut stream = TcpStream::connect(running.at).await.unwrap();
    for id in [1, 2] {
        let question = Question::new(id, "WEB.test", Family::V4).unwrap();
        write(&mut stream, &question.encode()).await.unwrap();
        let answer = question.answer(&read(&mut stream).await.unwrap());
        assert!(matches!(answer, Ok(Answer::Addresses(all, 5)) if all.len() == 100));
    }
    assert_eq!(by_datagram(running.at, "other.test").await, Ok(Answer::Failed(2)));
    assert_eq!(by_datagram(running.at, "gone.test").await, Ok(Answer::NoSuchName));
    let heard = running.server.names.0.lock().unwrap().clone();
    let expected =
        [Outcome::Answered, Outcome::Answered, Outcome::Answered, Outcome::Failed, Outcome::Answered];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn the_rest_is_for_others_and_a_silent_one_gives_way_to_the_next() {
    let running = start(vec![other(true).await, other(false).await]).await;
    assert_eq!(by_datagram(running.at, "other.test").await, Ok(Answer::NoSuchName));
    let mut stream = TcpStream::connect(running.at).await.unwrap();
    let question = Question::new(4, "other.test", Family::V4).unwrap();
    write(&mut stream, &question.encode()).await.unwrap();
    assert_eq!(question.answer(&read(&mut stream).await.unwrap()), Ok(Answer::NoSuchName));
    assert_eq!(*running.server.names.0.lock().unwrap(), [Outcome::Forwarded, Outcome::Forwarded]);
}

#[tokio::test]
async fn questions_beyond_the_bound_fail_at_once_and_known_names_are_still_answered() {
    let running = start(vec![other(true).await]).await;
    let socket = client();
    for id in 0..u16::try_from(UNDER_WAY).unwrap() + 20 {
        let question = Question::new(id, "other.test", Family::V4).unwrap();
        socket.send_to(&question.encode(), running.at).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).await.unwrap();
    assert_eq!((length > 12, buffer[3] & 0xf), (true, 2), "the first answers are failures");
    assert_eq!(by_datagram(running.at, "web.test").await, Ok(Answer::Truncated));
    let heard = running.server.names.0.lock().unwrap().clone();
    assert!(heard.iter().filter(|outcome| **outcome == Outcome::Failed).count() >= 20, "{heard:?}");
}

#[tokio::test]
async fn one_that_ends_answers_what_has_come_and_leaves_the_rest_to_its_successor() {
    let shared = |at: SocketAddr| mesh_rt::net::bind_udp(at, true).unwrap();
    let first = shared(SocketAddr::from(([127, 0, 0, 1], 0)));
    let at = first.local_addr().unwrap();
    let server = |servers| Arc::new(Server::new(One::default(), Upstream { servers, mark: None }));
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let ends = server(vec![other(true).await]).datagrams(UdpSocket::from_std(first).unwrap(), async {
        let _ = ended.await;
    });
    let ends = tokio::spawn(ends);
    let under_way = tokio::spawn(by_datagram(at, "gone.test"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let question = Question::new(3, "web.test", Family::V4).unwrap().encode();
    let unbound = SocketAddr::from(([127, 0, 0, 1], 0));
    let come: Vec<_> = (0..20).map(|_| mesh_rt::net::bind_udp(unbound, false).unwrap()).collect();
    come.iter().for_each(|client| assert_eq!(client.send_to(&question, at).unwrap(), question.len()));
    end.send(()).unwrap();
    for client in come {
        let client = UdpSocket::from_std(client).unwrap();
        timeout(PATIENCE, client.recv(&mut [0; 2000])).await.expect("it had come").unwrap();
    }
    let second = UdpSocket::from_std(shared(at)).unwrap();
    tokio::spawn(server(Vec::new()).datagrams(second, std::future::pending()));
    for _ in 0..64 {
        let answer = timeout(PATIENCE / 4, by_datagram(at, "web.test")).await;
        assert_eq!(answer.expect("it is for the second one"), Ok(Answer::Truncated));
    }
    assert!(!ends.is_finished(), "a question is under way");
    assert_eq!(under_way.await.unwrap(), Ok(Answer::NoSuchName));
    ends.await.unwrap();
}

/// A server of connections that asks this other one, and what ends it.
fn ending(servers: Vec<SocketAddr>) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let (_, listener) = local();
    let at = listener.local_addr().unwrap();
    let server = Arc::new(Server::new(One::default(), Upstream { servers, mark: None }));
    let (end, ended) = oneshot::channel::<()>();
    let ended = async { drop(ended.await) };
    (at, end, tokio::spawn(server.connections(listener, ended)))
}

#[tokio::test]
async fn a_connection_that_is_open_at_the_end_gets_its_answer() {
    let (_, silent) = local();
    let (at, end, _) = ending(vec![silent.local_addr().unwrap()]);
    let mut stream = TcpStream::connect(at).await.unwrap();
    let question = Question::new(1, "gone.test", Family::V4).unwrap();
    write(&mut stream, &question.encode()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    end.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(at).await.is_err(), "it still listens");
    assert_eq!(question.answer(&read(&mut stream).await.unwrap()), Ok(Answer::NoSuchName));
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_not_waited_for() {
    let (at, end, ended) = ending(Vec::new());
    let (mut asked, silent) = (TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap());
    let question = Question::new(1, "web.test", Family::V4).unwrap();
    write(&mut asked, &question.encode()).await.unwrap();
    assert!(matches!(question.answer(&read(&mut asked).await.unwrap()), Ok(Answer::Addresses(..))));
    end.send(()).unwrap();
    timeout(LIMIT / 2, ended).await.expect("it does not wait").unwrap();
    assert!(read(&mut asked).await.is_err(), "it is closed");
    drop(silent);
}

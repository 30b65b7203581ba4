//! A process that runs out of descriptors keeps accepting once there are some again. Alone in its process, for
//! the limit holds for all of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use mesh_proxy::drain::Drain;
use mesh_proxy::tcp::{Accepting, Admission, accept};
use mesh_rt::{Clock, SystemClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Serves a listener as a worker does: greets and waits for the client's end.
fn serve(listener: std::net::TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let drain = Drain::default();
        let with = Accepting { admission: Admission::new(10_000), drain: drain.signal() };
        let listener = TcpListener::from_std(listener).expect("a runtime");
        accept(listener, with, |mut stream, _| async move {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.read(&mut [0; 1]).await;
        })
        .await;
    });
}

fn greeted(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    stream.read_exact(&mut [0; 5]).is_ok()
}

#[test]
fn the_accept_loop_survives_the_lack_of_descriptors() {
    let listener = mesh_rt::net::listen_tcp("127.0.0.1:0".parse().expect("address"), false).expect("a port");
    let at = listener.local_addr().expect("bound");
    std::thread::spawn(move || serve(listener));
    assert!(greeted(&mut TcpStream::connect(at).expect("open")));

    // Both ends live in this process, so clients take what the server then lacks.
    let before = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").expect("proc").count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 21), ..before }).expect("lowered");
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect(at) {
        held.push(stream);
    }
    let unserved = held.iter_mut().rev().take(3).filter_map(|s| (!greeted(s)).then_some(())).count();
    assert!(unserved > 0, "the server never lacked descriptors, the test shows nothing");
    drop(held);
    setrlimit(Resource::Nofile, before).expect("restored");

    let began: Instant = SystemClock.monotonic();
    assert!(greeted(&mut TcpStream::connect(at).expect("open")), "the accept loop has ended");
    assert!(began.elapsed() < Duration::from_secs(2));
}

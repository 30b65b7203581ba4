//! Exchanges in HTTP/1 byte by byte: what goes over which connection, in which framing, and when a connection is
//! used again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mesh_model::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::model::*;
use crate::net::*;

/// What a scripted backend saw.
#[derive(Clone, Default)]
struct Seen {
    connections: Rc<Cell<usize>>,
    text: Rc<RefCell<String>>,
}

/// A backend that answers each head with the next of these texts, on each connection from the first on, and
/// closes after the last when told so.
fn scripted(net: &Net, answers: &'static [&'static str], close: bool) -> Seen {
    let seen = Seen::default();
    let told = seen.clone();
    net.raw(address(1, 80), move |mut io| {
        let told = told.clone();
        told.connections.set(told.connections.get() + 1);
        async move {
            let mut buffer = [0; 4096];
            let mut before = String::new();
            for answer in answers {
                while !before.contains("\r\n\r\n") {
                    let Ok(count @ 1..) = io.read(&mut buffer).await else { return };
                    before.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
                told.text.borrow_mut().push_str(&std::mem::take(&mut before));
                if io.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            if close {
                return;
            }
            while let Ok(count @ 1..) = io.read(&mut buffer).await {
                told.text.borrow_mut().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    });
    seen
}

/// A gateway in front of a backend of HTTP/1 at `10.0.0.1:80`.
fn proxy(net: &Net) -> Proxy {
    let mut resources = vec![listener(), route(vec![rule("/", vec![backend("one", 1)])])];
    resources.extend(service("one", AppProtocol::Http1, &[address(1, 80)]));
    Proxy::new(net, resources)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\nok";

/// Reads up to the end of this text.
async fn until(io: &mut DuplexStream, end: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(end.as_bytes()) {
            if io.read_buf(&mut all).await.expect("open") == 0 {
                break;
            }
        }
    };
    let timely = tokio::time::timeout(Duration::from_secs(5), reading).await.is_ok();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(timely && all.ends_with(end), "wanted {end:?}, got {all:?}");
    all
}

/// Reads up to the end of the connection.
async fn to_end(io: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), io.read_to_end(&mut all)).await;
    assert!(read.is_ok_and(|read| read.is_ok()), "still open after {:?}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn requests_behind_each_other_are_answered_in_their_order_over_one_connection() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |request| async move {
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            http::Response::new(http_body_util::Full::from(format!("[{}]", request.uri().path())))
        });
        let mut io = proxy(&net).open(gateway());
        let text: String =
            ["/slow", "/b", "/c"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).concat();
        io.write_all(text.as_bytes()).await.expect("open");
        let all = until(&mut io, "[/c]").await;
        let at = |path: &str| all.find(path).expect(path);
        assert!(at("[/slow]") < at("[/b]") && at("[/b]") < at("[/c]"), "{all}");
        assert_eq!(net.dialled.get(), 1, "one after the other over one connection");
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    on_worker(async {
        let net = Net::default();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: x\r\n\r\n3;ext\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n";
        let seen = scripted(&net, Box::leak(Box::new([answer, OK])), false);
        let mut io = proxy(&net).open(gateway());
        let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Check: 2\r\nContent-Length: 9\r\n\r\n";
        io.write_all(post.as_bytes()).await.expect("open");
        let all = until(&mut io, "\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n").await;
        assert!(all.contains("transfer-encoding: chunked\r\n") && !all.contains("content-length"), "{all}");
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        until(&mut io, "\r\n\r\nok").await;
        let text = seen.text.borrow();
        assert!(text.contains("\r\n\r\n5\r\nhello\r\n0\r\nx-check: 2\r\n\r\n"), "{text}");
        assert_eq!(seen.connections.get(), 1, "the connection was used again");
    });
}

#[test]
fn a_client_of_http10_gets_no_chunks_and_its_end_with_the_connection() {
    on_worker(async {
        let net = Net::default();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        scripted(&net, Box::leak(Box::new([answer])), false);
        let proxy = proxy(&net);
        let mut io = proxy.open(gateway());
        io.write_all(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.expect("open");
        let all = to_end(&mut io).await;
        assert!(all.ends_with("\r\n\r\nabc") && all.contains("connection: close\r\n"), "{all}");
        assert!(!all.contains("chunked"), "{all}");

        let net = Net::default();
        scripted(&net, &[OK, OK], false);
        let mut io = self::proxy(&net).open(gateway());
        for _ in 0..2 {
            io.write_all(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.expect("open");
            let all = until(&mut io, "\r\n\r\nok").await;
            assert!(all.contains("connection: keep-alive\r\n"), "{all}");
        }
    });
}

#[test]
fn answers_without_a_body_leave_nothing_behind() {
    on_worker(async {
        for (method, answer) in [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nDate: x\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nDate: x\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"),
        ] {
            let net = Net::default();
            let seen = scripted(&net, Box::leak(Box::new([answer, OK])), false);
            let mut io = proxy(&net).open(gateway());
            io.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.expect("open");
            let head = until(&mut io, "\r\n\r\n").await;
            assert_eq!(head.contains("content-length: 1000\r\n"), answer.contains("1000"), "{head}");
            io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
            assert!(until(&mut io, "\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert_eq!(seen.connections.get(), 1, "{answer}");
        }
    });
}

#[test]
fn leave_to_send_a_body_is_given_when_somebody_wants_it() {
    on_worker(async {
        let net = Net::default();
        net.backend(address(1, 80), |request| async move {
            let whole = http_body_util::BodyExt::collect(request.into_body()).await;
            http::Response::new(http_body_util::Full::from(
                whole.map(|body| body.to_bytes()).unwrap_or_default(),
            ))
        });
        let proxy = proxy(&net);
        let expecting = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let mut io = proxy.open(gateway());
        io.write_all(expecting.as_bytes()).await.expect("open");
        assert_eq!(until(&mut io, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        io.write_all(b"hi").await.expect("open");
        until(&mut io, "\r\n\r\nhi").await;

        // Refused without the body: no leave, and no guess about what comes next.
        let mut io = proxy.open(gateway());
        io.write_all(expecting.replace("Host: a", "Host: a, b").as_bytes()).await.expect("open");
        let all = to_end(&mut io).await;
        assert!(all.starts_with("HTTP/1.1 400 ") && all.contains("connection: close"), "{all}");
    });
}

#[test]
fn s4_an_early_answer_does_not_leave_half_a_request_behind() {
    on_worker(async {
        let net = Net::default();
        let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
        let seen = scripted(&net, Box::leak(Box::new([early])), false);
        let proxy = proxy(&net);
        let mut io = proxy.open(gateway());
        let smuggled = "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n";
        io.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nxx").await.expect("open");
        let all = until(&mut io, "\r\n\r\nno").await;
        assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
        // What follows belongs to the body; it is no request, and nobody answers it.
        let _ = io.write_all(smuggled.as_bytes()).await;
        assert_eq!(to_end(&mut io).await, "");
        assert_eq!(seen.connections.get(), 1);
        let mut io = proxy.open(gateway());
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        until(&mut io, "\r\n\r\nno").await;
        assert_eq!(seen.connections.get(), 2, "a connection with half a request is not used again");
        assert!(!seen.text.borrow().contains("secret"), "{}", seen.text.borrow());
    });
}

#[test]
fn both_bodies_run_at_once() {
    on_worker(async {
        let net = Net::default();
        net.raw(address(1, 80), |mut io| async move {
            let mut buffer = [0; 4096];
            let mut all = String::new();
            while !all.contains("\r\n\r\n") {
                let count = io.read(&mut buffer).await.expect("open");
                all.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            io.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("open");
            // Everything comes back in chunks of its own until the end of the request's.
            let mut body = all.split_once("\r\n\r\n").expect("a head").1.to_owned();
            loop {
                io.write_all(body.as_bytes()).await.expect("open");
                if body.ends_with("0\r\n\r\n") {
                    return;
                }
                let count = io.read(&mut buffer).await.expect("open");
                body = String::from_utf8_lossy(&buffer[..count]).into_owned();
            }
        });
        let mut io = proxy(&net).open(gateway());
        io.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .expect("open");
        until(&mut io, "\r\n\r\n").await;
        for _ in 0..10 {
            io.write_all(b"4\r\nping\r\n").await.expect("open");
            until(&mut io, "4\r\nping\r\n").await;
        }
        io.write_all(b"0\r\n\r\n").await.expect("open");
        until(&mut io, "0\r\n\r\n").await;
    });
}

#[test]
fn interim_answers_are_passed_over_but_not_for_ever() {
    on_worker(async {
        for (interim, status) in [(2, "200"), (1000, "503")] {
            let net = Net::default();
            let answer = format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(interim));
            scripted(&net, Box::leak(Box::new([&*Box::leak(answer.into_boxed_str())])), false);
            let mut io = proxy(&net).open(gateway());
            io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("open");
            let all = to_end(&mut io).await;
            assert!(all.starts_with(&format!("HTTP/1.1 {status} ")) && !all.contains("103"), "{all}");
        }
    });
}

#[test]
fn h7_what_is_not_surely_one_answer_is_none() {
    on_worker(async {
        for answer in [
            "",
            "220 mail.example ESMTP\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\nX: y\r\n\r\nok",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ] {
            let net = Net::default();
            scripted(&net, Box::leak(Box::new([answer])), true);
            let mut io = proxy(&net).open(gateway());
            io.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("open");
            let all = to_end(&mut io).await;
            assert!(all.starts_with("HTTP/1.1 50"), "{answer:?}: {all:?}");
        }
    });
}

#[test]
fn a_body_that_breaks_off_is_never_completed() {
    on_worker(async {
        for (answer, complete) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "half"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "0\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n4 \r\n", "0\r\n\r\n"),
        ] {
            let net = Net::default();
            scripted(&net, Box::leak(Box::new([answer])), true);
            let mut io = proxy(&net).open(gateway());
            io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
            let all = to_end(&mut io).await;
            assert!(all.contains("half"), "{all}");
            match complete {
                "half" => assert!(all.contains("content-length: 9\r\n"), "{all}"),
                end => assert!(!all.ends_with(end), "{all}"),
            }
        }
    });
}

#[test]
fn s1_a_connection_with_more_than_its_answer_is_not_used_again() {
    on_worker(async {
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        for first in
            [format!("{OK}{poison}"), format!("{OK}\r\n"), OK.replace("Date: x", "Connection: close")]
        {
            let net = Net::default();
            let seen =
                scripted(&net, Box::leak(Box::new([&*Box::leak(first.into_boxed_str()), poison])), false);
            let mut io = proxy(&net).open(gateway());
            for count in 1..=3 {
                io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
                let all = until(&mut io, "\r\n\r\nok").await;
                assert!(!all.contains("poison"), "{all}");
                assert_eq!(seen.connections.get(), count);
            }
        }
        // The same, when it comes while the connection waits.
        let net = Net::default();
        let dialled: Rc<Cell<usize>> = Rc::default();
        let counted = Rc::clone(&dialled);
        net.raw(address(1, 80), move |mut io| {
            counted.set(counted.get() + 1);
            async move {
                let _ = io.read(&mut [0; 4096]).await;
                let _ = io.write_all(OK.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                let _ = io.write_all(poison.as_bytes()).await;
                std::future::pending::<()>().await;
            }
        });
        let mut io = proxy(&net).open(gateway());
        for _ in 0..2 {
            io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
            until(&mut io, "\r\n\r\nok").await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(dialled.get(), 2);
    });
}

#[test]
fn a_client_that_does_not_read_holds_the_backend_back() {
    on_worker(async {
        let net = Net::default();
        let written: Rc<Cell<usize>> = Rc::default();
        let counted = Rc::clone(&written);
        const WHOLE: usize = 64 << 20;
        net.raw(address(1, 80), move |mut io| {
            let counted = Rc::clone(&counted);
            async move {
                let _ = io.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n");
                io.write_all(head.as_bytes()).await.expect("open");
                let block = vec![b'x'; 64 * 1024];
                while counted.get() < WHOLE && io.write_all(&block).await.is_ok() {
                    counted.set(counted.get() + block.len());
                }
            }
        });
        let mut io = proxy(&net).open(gateway());
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("open");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(written.get() < 2 << 20, "{} bytes wait for a client that does not read", written.get());
        let mut all = 0;
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            all += count;
        }
        assert!(all > WHOLE, "the whole answer arrived once the client read: {all}");
    });
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    on_worker(async {
        let net = Net::default();
        let closed: Rc<Cell<bool>> = Rc::default();
        let told = Rc::clone(&closed);
        net.raw(address(1, 80), move |mut io| {
            let told = Rc::clone(&told);
            async move {
                while let Ok(1..) = io.read(&mut [0; 4096]).await {}
                told.set(true);
            }
        });
        let mut io = proxy(&net).open(gateway());
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!closed.get());
        drop(io);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(closed.get(), "the backend works for nobody");
    });
}

#[test]
fn a_connection_waits_for_its_time_and_no_longer_however_often_the_mesh_changes() {
    in_paused_time(async {
        let net = Net::default();
        let closed: Rc<Cell<bool>> = Rc::default();
        let told = Rc::clone(&closed);
        net.raw(address(1, 80), move |mut io| {
            let told = Rc::clone(&told);
            async move {
                let _ = io.read(&mut [0; 4096]).await;
                let _ = io.write_all(OK.as_bytes()).await;
                let _ = io.read(&mut [0; 4096]).await;
                told.set(true);
            }
        });
        let proxy = proxy(&net);
        let mut io = proxy.open(gateway());
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        until(&mut io, "\r\n\r\nok").await;
        for second in 0..55 {
            assert!(second > 35 || !closed.get(), "closed after {second} s");
            tokio::time::sleep(Duration::from_secs(1)).await;
            proxy.mesh.publish((*proxy.mesh.current()).clone());
        }
        assert!(closed.get(), "it still waits");
    });
}

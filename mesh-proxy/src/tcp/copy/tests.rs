//! Tests of copying, on streams in memory and paused time.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// A client and a server with a copy of this buffer size between them.
async fn between<F: Future>(
    buffer: usize,
    cut: impl Future<Output = Reason>,
    test: impl FnOnce(DuplexStream, DuplexStream) -> F,
) -> (Copied, F::Output) {
    let (client, downstream) = duplex(buffer);
    let (server, upstream) = duplex(buffer);
    let scratch = Scratch::default();
    tokio::join!(copy(downstream, upstream, &scratch, IDLE, cut), test(client, server))
}

#[tokio::test(start_paused = true)]
async fn each_direction_closes_for_itself() {
    let (copied, ()) = between(64, pending(), async |mut client, mut server| {
        client.write_all(b"question").await.expect("open");
        client.shutdown().await.expect("open");
        let mut question = String::new();
        server.read_to_string(&mut question).await.expect("the client's end passes");
        server.write_all(b"answer after the end of the question").await.expect("still open");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("the answer");
        assert_eq!((question.as_str(), answer.len()), ("question", 36));
    })
    .await;
    assert!(matches!(copied, Copied { sent: 8, received: 36, ended: Ended::Closed }), "{copied:?}");
}

#[tokio::test(start_paused = true)]
async fn every_byte_arrives_in_order_through_a_slow_reader() {
    let sent: Vec<u8> = (0..900_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = sent.clone();
    let (copied, got) = between(70_000, pending(), async |mut client, mut server| {
        let write = async {
            client.write_all(&sent).await.expect("open");
            client.shutdown().await.expect("open");
        };
        let read = async {
            let mut got = Vec::new();
            let mut part = [0; 30_001];
            loop {
                let some = server.read(&mut part).await.expect("open");
                if some == 0 {
                    break;
                }
                got.extend_from_slice(&part[..some]);
                sleep(Duration::from_millis(1)).await;
            }
            server.shutdown().await.expect("open");
            got
        };
        tokio::join!(write, read).1
    })
    .await;
    assert!(got == expected, "bytes were lost or moved");
    assert_eq!(copied.sent, 900_000);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_and_a_slow_one_does_not() {
    let began = Instant::now();
    let (copied, _ends) = between(64, pending(), async |mut client, server| {
        for _ in 0..5 {
            sleep(IDLE - Duration::from_secs(1)).await;
            client.write_all(b".").await.expect("open");
        }
        (client, server)
    })
    .await;
    assert!(matches!(copied, Copied { sent: 5, ended: Ended::Idle, .. }), "{copied:?}");
    assert_eq!(began.elapsed().as_secs(), 5 * 59 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_both_sides_at_once() {
    let cut = async {
        sleep(Duration::from_secs(1)).await;
        Reason::DeniedByPolicy
    };
    let (copied, ends) = between(64, cut, async |mut client, mut server| {
        let mut rest = Vec::new();
        let ends = (client.read_to_end(&mut rest).await, server.read_to_end(&mut rest).await);
        (ends.0.is_ok_and(|n| n == 0), ends.1.is_ok_and(|n| n == 0))
    })
    .await;
    assert!(matches!(copied.ended, Ended::Cut(Reason::DeniedByPolicy)), "{copied:?}");
    assert_eq!(ends, (true, true));
}

#[tokio::test(start_paused = true)]
async fn an_idle_direction_keeps_no_buffer() {
    let (_far, mut from) = duplex(64);
    let (_end, mut to) = duplex(64);
    let (mut pipe, scratch) = (Pipe::default(), Scratch::default());
    let mut far = _far;
    far.write_all(&[7; 50]).await.expect("open");
    let first = poll_fn(|cx| Poll::Ready(pipe.poll(cx, &mut from, &mut to, &scratch).is_pending())).await;
    assert_eq!((first, pipe.moved, pipe.kept.capacity()), (true, 50, 0));
}

//! What goes in and out of a workload.

use mesh_proxy::capture::{BrokerError, DestinationError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::Case;
use crate::stage::{accept, launch, names, output, read_all, run};

pub(crate) const CASES: &[Case] = &[
    ("a_name_leads_to_the_listener_with_the_address_it_stands_for", name_over_ipv4),
    ("ipv6_is_captured_like_ipv4", name_over_ipv6),
    ("any_other_address_is_captured_too", any_address),
    ("a_connection_to_our_own_listener_is_refused", loop_guard),
    ("the_broker_connects_to_the_application", inbound),
    ("the_broker_gives_more_sockets_than_its_stock", many_sockets),
    ("a_broker_without_workload_says_so", gone),
    ("a_new_name_is_seen_by_the_running_application", hosts_change),
    ("a_datagram_to_a_service_is_answered_from_its_address", datagrams),
    ("several_listeners_share_the_captured_connections", shared_listeners),
];

fn name_over_ipv4() {
    name("4", "240.0.0.10");
}

fn name_over_ipv6() {
    name("6", "fdf0::10");
}

fn name(family: &str, address: &str) {
    run(async {
        let mut launched = launch(&["get", "reviews", family], &[("reviews", address)]).await;
        assert!(launched.ipv6, "the machine of the test has IPv6");
        let (mut stream, found) = accept(&launched).await;
        assert_eq!(found.unwrap(), (address.parse::<std::net::IpAddr>().unwrap(), 80).into());
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        assert!(request.starts_with(b"GET / HTTP/1.1\r\nHost: reviews\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        drop(stream);
        assert!(output(&mut launched).await.contains("hello"));
    });
}

fn any_address() {
    run(async {
        let launched = launch(&["connect", "198.51.100.7:8443"], &[]).await;
        let (_stream, found) = accept(&launched).await;
        assert_eq!(found.unwrap(), "198.51.100.7:8443".parse().unwrap());
    });
}

fn loop_guard() {
    run(async {
        for ours in ["127.0.0.1:15001", "100.64.0.1:15001", "[::1]:15001"] {
            let launched = launch(&["connect", ours], &[]).await;
            let (_stream, found) = accept(&launched).await;
            assert!(
                matches!(found, Err(DestinationError::Ours(address)) if address == ours.parse().unwrap())
            );
        }
        let launched = launch(&["connect", "240.0.0.10:15001"], &[]).await;
        let (_stream, found) = accept(&launched).await;
        assert_eq!(found.unwrap(), "240.0.0.10:15001".parse().unwrap(), "only the port is the same");
    });
}

fn inbound() {
    run(async {
        for (bound, dialled) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:8080", "100.64.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            let launched = launch(&["serve", bound], &[]).await;
            let mut lines = BufReader::new(launched.stdout).lines();
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("listening"));
            let address = dialled.parse().unwrap();
            let stream = launched.broker.connect_tcp(address).await.unwrap();
            let client = read_all(stream).await;
            assert_eq!(client.trim(), address.ip().to_string(), "it comes from inside");
            let socket = launched.broker.connect_udp(address).await.unwrap();
            socket.send(b"ping").await.unwrap();
            let mut echo = [0; 8];
            assert_eq!(socket.recv(&mut echo).await.unwrap(), 4);
            let refused = launched.broker.connect_tcp((address.ip(), 1).into()).await.unwrap_err();
            assert!(
                matches!(refused, BrokerError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
            );
        }
    });
}

fn many_sockets() {
    run(async {
        let launched = launch(&["serve", "127.0.0.1:80"], &[]).await;
        let mut lines = BufReader::new(launched.stdout).lines();
        lines.next_line().await.unwrap();
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..150 {
            let broker = launched.broker.clone();
            connections.spawn(async move {
                read_all(broker.connect_tcp("127.0.0.1:80".parse().unwrap()).await.unwrap()).await
            });
        }
        let answers = connections.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.as_str() == "127.0.0.1\n").count(), 150);
    });
}

fn gone() {
    run(async {
        let launched = launch(&["serve", "127.0.0.1:80"], &[]).await;
        let broker = launched.broker.clone();
        launched.process.stop(std::time::Duration::from_secs(5)).await;
        let address = "127.0.0.1:80".parse().unwrap();
        // Sockets of the stock live on for a moment, but nothing answers in their namespace.
        loop {
            match broker.connect_tcp(address).await {
                Err(BrokerError::Gone) => break,
                Err(_) => tokio::task::yield_now().await,
                Ok(_) => panic!("nobody listens any more"),
            }
        }
        assert!(matches!(broker.bind_udp(address).await, Err(BrokerError::Gone)));
    });
}

fn hosts_change() {
    run(async {
        let launched = launch(&["wait-for", "late"], &[("early", "240.0.0.1")]).await;
        let mut lines = BufReader::new(launched.stdout).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("waiting"));
        launched.hosts.replace(&names(&[("late", "240.0.0.99")])).unwrap();
        let listener =
            tokio::net::TcpListener::from_std(launched.outbound.into_iter().next().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let found = mesh_proxy::capture::destination(&stream).unwrap();
        assert_eq!(found, "240.0.0.99:80".parse().unwrap());
    });
}

fn datagrams() {
    run(async {
        let (service, other) = ("240.0.0.11:5353", "[fdf0::12]:5353");
        let mut launched = launch(&["ask", "clock"], &[("clock", "240.0.0.11")]).await;
        // The first run comes too early, and is refused at once instead of waiting.
        assert!(output(&mut launched).await.contains("refused"));
        let socket = launched.broker.capture_udp(service.parse().unwrap()).await.unwrap();
        launched.process.restart().await.unwrap();
        let mut question = [0; 64];
        let (length, from) = socket.recv_from(&mut question).await.unwrap();
        assert_eq!(&question[..length], b"question");
        // Another service does not disturb the conversation.
        let second = launched.broker.capture_udp(other.parse().unwrap()).await.unwrap();
        assert_ne!(second.local_addr().unwrap().port(), 5353, "the application may want that port");
        socket.send_to(b"answer", from).await.unwrap();
        assert_eq!(output(&mut launched).await, "answer\n");
        launched.hosts.replace(&names(&[("clock", "fdf0::12")])).unwrap();
        launched.process.restart().await.unwrap();
        let (_, from) = second.recv_from(&mut question).await.unwrap();
        second.send_to(b"ipv6", from).await.unwrap();
        assert_eq!(output(&mut launched).await, "ipv6\n");
        launched.broker.release_udp(other.parse().unwrap()).await.unwrap();
        launched.process.restart().await.unwrap();
        assert!(output(&mut launched).await.contains("refused"));
    });
}

fn shared_listeners() {
    run(async {
        let mut spec = crate::stage::workload(&["connect", "240.0.0.1:1"], &[]);
        spec.listeners = 2;
        let mut launched = mesh_proxy::capture::Launcher::new().spawn(spec).await.unwrap();
        let listeners: Vec<_> = std::mem::take(&mut launched.outbound)
            .into_iter()
            .map(|listener| tokio::net::TcpListener::from_std(listener).unwrap())
            .collect();
        let mut served = [0, 0];
        while served.contains(&0) {
            let stream = tokio::select! {
                got = listeners[0].accept() => { served[0] += 1; got }
                got = listeners[1].accept() => { served[1] += 1; got }
            };
            drop(stream);
            launched.process.wait().await;
            launched.process.restart().await.unwrap();
        }
    });
}

//! The application inside a workload: it knows nothing of a mesh, and prints what it saw.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sched::CloneFlags;

pub(crate) fn main(words: &[&str]) -> ExitCode {
    let result = match words {
        ["confined"] => confined(),
        ["connect", address] => connect(address),
        ["daemon"] => daemon(),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["environment", variable, name] => environment(variable, name),
        ["leave-daemon"] => leave_daemon(),
        ["get", name, family] => get(name, family == &"6"),
        ["ask", name] => ask(name),
        ["serve", address] => serve(address),
        ["stubborn"] => stubborn(),
        ["wait-for", name] => wait_for(name),
        _ => panic!("no such part: {words:?}"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(9)
        }
    }
}

/// `http://NAME/`, as any client does it.
fn get(name: &str, ipv6: bool) -> std::io::Result<()> {
    let found = (name, 80).to_socket_addrs()?.find(|address| address.is_ipv6() == ipv6);
    let mut stream = TcpStream::connect(found.ok_or(std::io::ErrorKind::NotFound)?)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{answer}");
    Ok(())
}

fn connect(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap())?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A question over UDP through a connected socket, which takes an answer from that address only. The application
/// itself serves the port that it asks at.
fn ask(name: &str) -> std::io::Result<()> {
    let _own = [UdpSocket::bind("0.0.0.0:5353")?, UdpSocket::bind("[::1]:5353")?];
    let server = (name, 5353).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(server)?;
    socket.send(b"question")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    println!("{}", String::from_utf8_lossy(&answer[..length]));
    Ok(())
}

/// Echoes, and says who asks.
fn serve(address: &str) -> std::io::Result<()> {
    let datagrams = UdpSocket::bind(address)?;
    std::thread::spawn(move || {
        let mut question = [0; 64];
        while let Ok((length, from)) = datagrams.recv_from(&mut question) {
            let _ = datagrams.send_to(&question[..length], from);
        }
    });
    let listener = TcpListener::bind(address)?;
    println!("listening");
    loop {
        let (mut stream, peer) = listener.accept()?;
        writeln!(stream, "{}", peer.ip())?;
    }
}

/// Asks for a name until it is there, then goes to it.
fn wait_for(name: &str) -> std::io::Result<()> {
    println!("waiting");
    loop {
        if let Ok(mut found) = (name, 80).to_socket_addrs() {
            return connect(&found.next().unwrap().to_string());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Leaves a process behind that has its own session, and says its number in this namespace.
fn daemon() -> std::io::Result<()> {
    let child = Command::new("setsid").args(["sleep", "1000"]).env("PATH", "/usr/bin:/bin").spawn()?;
    println!("started {}", child.id() > 0);
    loop {
        std::thread::park();
    }
}

/// Tries to get out of the capture; prints what it managed.
fn confined() -> std::io::Result<()> {
    if mesh_proxy::capture::nft::remove(mesh_proxy::capture::nft::TABLE).is_ok() {
        println!("removed the rules");
    }
    if std::fs::write("/etc/hosts", "127.0.0.1 reviews").is_ok() {
        println!("wrote the hosts file");
    }
    if rustix::mount::unmount("/etc/hosts", rustix::mount::UnmountFlags::DETACH).is_ok() {
        println!("unmounted the hosts file");
    }
    let other =
        std::fs::File::open("/proc/1/ns/net").map(|file| nix::sched::setns(file, CloneFlags::CLONE_NEWNET));
    if matches!(other, Ok(Ok(()))) {
        println!("moved to another network namespace");
    }
    let unreachable: SocketAddr = (IpAddr::from([192, 0, 2, 1]), 9).into();
    let outside = UdpSocket::bind("0.0.0.0:0")?;
    outside.connect(unreachable)?;
    outside.send(b"out")?;
    if outside.recv(&mut [0; 8]).is_ok() {
        println!("spoke to another machine");
    }
    println!("tried");
    Ok(())
}

fn leave_daemon() -> std::io::Result<()> {
    Command::new("setsid").args(["sleep", "1000"]).env("PATH", "/usr/bin:/bin").spawn()?;
    println!("left");
    Ok(())
}

/// The length of a variable, and the address of a name.
fn environment(variable: &str, name: &str) -> std::io::Result<()> {
    let length = std::env::var_os(variable).map_or(0, |value| value.len());
    let address = (name, 80).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    println!("{length} {}", address.ip());
    Ok(())
}

/// Does not hear SIGTERM.
fn stubborn() -> std::io::Result<()> {
    let mut deaf = nix::sys::signal::SigSet::empty();
    deaf.add(nix::sys::signal::Signal::SIGTERM);
    deaf.thread_block()?;
    println!("deaf");
    loop {
        std::thread::park();
    }
}

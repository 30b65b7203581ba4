//! The bench's origin: one canned answer to every request head, and a count of them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::poller::{LISTENER, LONGEST, Poller, read_once, write_all};

/// The answer: 130 bytes of body.
pub(crate) fn answer() -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 130\r\n\r\n".to_vec();
    bytes.extend([b'x'; 130]);
    bytes
}

/// Serves until the process is ended. Prints its port first.
pub(crate) fn run(at: SocketAddr) -> io::Result<()> {
    let listener = mesh_rt::net::listen_tcp(at, false)?;
    crate::say(&listener.local_addr()?.port().to_string());
    serve_all(&listener)
}

/// Serves in a thread of this process. Returns the port.
pub(crate) fn start(address: SocketAddr) -> io::Result<u16> {
    let listener = mesh_rt::net::listen_tcp(address, false)?;
    let port = listener.local_addr()?.port();
    std::thread::Builder::new().name("origin".to_owned()).spawn(move || serve_all(&listener))?;
    Ok(port)
}

fn serve_all(listener: &TcpListener) -> io::Result<()> {
    let mut poller = Poller::new()?;
    poller.listen(listener)?;
    let (answer, mut buffer, mut tokens) = (answer(), vec![0; 64 * 1024], Vec::new());
    loop {
        poller.wait(&mut tokens, LONGEST)?;
        for token in &tokens {
            if *token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    poller.add(stream)?;
                }
                continue;
            }
            if !serve(&mut poller, *token, &mut buffer, &answer) {
                poller.close(*token);
            }
        }
    }
}

/// Answers every head that ended in what was read. Heads of the bench fit one read.
fn serve(poller: &mut Poller, token: u64, buffer: &mut [u8], answer: &[u8]) -> bool {
    let Some(stream) = poller.stream(token) else { return true };
    let count = match read_once(stream, buffer) {
        Ok(None) => return true,
        Ok(Some(count)) if count > 0 => count,
        _ => return false,
    };
    let heads = buffer[..count].windows(4).filter(|w| w == b"\r\n\r\n").count();
    (0..heads).all(|_| write_all(stream, answer).is_ok())
}

//! The floor: a relay that copies bytes between two sockets and knows nothing of what they mean.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::poller::{LISTENER, LONGEST, Poller, read_once, write_all};

/// Relays to an address until the process is ended. Prints its port first.
pub(crate) fn run(to: SocketAddr) -> io::Result<()> {
    let listener = mesh_rt::net::listen_tcp((std::net::Ipv4Addr::LOCALHOST, 0).into(), false)?;
    crate::say(&listener.local_addr()?.port().to_string());
    let mut poller = Poller::new()?;
    poller.listen(&listener)?;
    let (mut peers, mut buffer, mut tokens) = (HashMap::new(), vec![0; 64 * 1024], Vec::new());
    loop {
        poller.wait(&mut tokens, LONGEST)?;
        for token in &tokens {
            if *token == LISTENER {
                accept(&listener, &mut poller, &mut peers, to)?;
            } else if !copy(&mut poller, &peers, *token, &mut buffer) {
                if let Some(peer) = peers.remove(token) {
                    peers.remove(&peer);
                    poller.close(peer);
                }
                poller.close(*token);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poller: &mut Poller,
    peers: &mut HashMap<u64, u64>,
    to: SocketAddr,
) -> io::Result<()> {
    while let Ok((client, _)) = listener.accept() {
        let client = poller.add(client)?;
        let upstream = poller.add(TcpStream::connect(to)?)?;
        peers.insert(client, upstream);
        peers.insert(upstream, client);
    }
    Ok(())
}

fn copy(poller: &mut Poller, peers: &HashMap<u64, u64>, token: u64, buffer: &mut [u8]) -> bool {
    let (Some(peer), Some(stream)) = (peers.get(&token), poller.stream(token)) else { return true };
    let count = match read_once(stream, buffer) {
        Ok(None) => return true,
        Ok(Some(count)) if count > 0 => count,
        _ => return false,
    };
    poller.stream(*peer).is_some_and(|peer| write_all(peer, &buffer[..count]).is_ok())
}

//! Ports for programs that tests start. A port that the system gives away can be taken by anybody's next outgoing
//! connection before the program binds it, so these are below the range from which it gives.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use mesh_rt::net::{bind_udp, listen_tcp};

/// Below what systems use for outgoing connections, above what services use.
const RANGE: Range<u16> = 15_100..32_000;

/// A port of loopback at which nobody listens now, over TCP or UDP; another one each time.
///
/// # Panics
/// When none is free among many.
pub fn free() -> u16 {
    let random = RandomState::new();
    let pick = |n: u64| RANGE.start + (random.hash_one(n) % (RANGE.end - RANGE.start) as u64) as u16;
    let is_free = |port: &u16| {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        listen_tcp(at, false).is_ok() && bind_udp(at, false).is_ok()
    };
    (0..1_000).map(pick).find(is_free).expect("a free port")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_port_can_be_bound_and_comes_from_below_those_of_outgoing_connections() {
        let port = super::free();
        assert!(port < 32_768, "{port}");
        super::listen_tcp(([127, 0, 0, 1], port).into(), false).expect("it is free");
    }
}

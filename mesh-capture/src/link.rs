//! The inside of a workload's network namespace: loopback up, one address, and a route that leads everything back to
//! it, so that the capture rules see it. Routing messages only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Batch, Body, CREATE, NetlinkError};

/// The workload's own address in its namespace.
pub const WORKLOAD_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
/// The workload's own IPv6 address in its namespace.
pub const WORKLOAD_V6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, 0, 1);
/// The loopback device has this index in each network namespace.
const LOOPBACK: u32 = 1;
/// `NETLINK_ROUTE` is protocol 0, which sockets write as none.
const ROUTING: Option<rustix::net::Protocol> = None;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Prepares the namespace that this process is in; tells whether IPv6 works in it.
///
/// # Errors
/// The step that the kernel refused. A refusal of an IPv6 step only makes the answer `false`.
pub(crate) fn prepare() -> Result<bool, NetlinkError> {
    let mut batch = Batch::default();
    up(&mut batch);
    address(&mut batch, WORKLOAD_V4.into(), 32);
    default_route(&mut batch, WORKLOAD_V4.into());
    batch.send(ROUTING)?;

    let mut batch = Batch::default();
    address(&mut batch, WORKLOAD_V6.into(), 128);
    default_route(&mut batch, WORKLOAD_V6.into());
    match batch.send(ROUTING) {
        Ok(()) => Ok(true),
        Err(NetlinkError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `lo` starts down in a new namespace.
fn up(batch: &mut Batch) {
    let mut body = Body::default();
    let flag_up = 1u32.to_ne_bytes();
    body.raw(&[0, 0, 0, 0]).raw(&LOOPBACK.to_ne_bytes()).raw(&flag_up).raw(&flag_up);
    batch.message("bring loopback up", NEW_LINK, 0, &body);
}

fn address(batch: &mut Batch, address: IpAddr, prefix: u8) {
    /// No search for duplicates: the address works at once.
    const NO_DETECTION: u8 = 0x02;
    let mut body = Body::default();
    body.raw(&[family(address), prefix, NO_DETECTION, 0]).raw(&LOOPBACK.to_ne_bytes());
    body.attribute(2, &octets(address)).attribute(1, &octets(address));
    batch.message("add the workload's address", NEW_ADDRESS, CREATE, &body);
}

/// Every address is one of this namespace: packets come back by loopback, from the workload's address, unless a rule
/// sends them elsewhere on the way.
fn default_route(batch: &mut Batch, source: IpAddr) {
    /// Table `local`, set by an administrator, scope host, type local.
    const OURS: [u8; 4] = [255, 4, 254, 2];
    let mut body = Body::default();
    body.raw(&[family(source), 0, 0, 0]).raw(&OURS).raw(&0u32.to_ne_bytes());
    body.attribute(4, &LOOPBACK.to_ne_bytes()).attribute(7, &octets(source));
    batch.message("add a local default route", NEW_ROUTE, CREATE, &body);
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Lets an unprivileged application listen on ports below 1024, as in a pod. Where `/proc/sys` is read-only the
/// application's own error will say what is missing.
///
/// # Errors
/// The error of the write.
pub(crate) fn open_low_ports() -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
}

//! One nf_tables rule as a row of expressions. Numbers are those of `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;

use crate::netlink::Body;

/// Keys of `meta`.
const MARK: u32 = 3;
const OUTPUT_INTERFACE: u32 = 5;
const USER: u32 = 10;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
/// Bases of `payload`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// The registers: verdicts go to 0, values to 1.
const VERDICT: u32 = 0;
const VALUE: u32 = 1;
/// `NFT_RETURN`.
const RETURN: i32 = -5;

/// `NFT_REJECT_ICMPX_UNREACH`, and its code that stands for the one of the packet's family.
const REFUSE_BY_ICMP: u32 = 2;
const PORT_UNREACHABLE: u8 = 1;

/// A rule: what must hold, then what is done.
#[derive(Debug, Default)]
pub(super) struct Rule(Vec<Expression>);

#[derive(Debug)]
enum Expression {
    /// Compares the register with these bytes.
    Equals(Vec<u8>),
    /// Puts a port into the register.
    Immediate(u16),
    /// Keeps only these bits of the register.
    Masked(Vec<u8>),
    /// Reads a property of the packet that is not in it.
    Meta(u32),
    /// Reads bytes of the packet: base, offset, length.
    Payload(u32, u32, u32),
    /// Sends the connection to the port in the register.
    Redirect,
    /// Answers "port unreachable", in ICMP of either family.
    Refuse,
    /// Ends the chain.
    Return,
    /// Keeps the packet out of the kernel's memory of connections.
    Untracked,
}

impl Rule {
    /// The packet carries this mark.
    pub(super) fn mark(self, mark: u32) -> Self {
        self.meta(MARK, &mark.to_ne_bytes())
    }

    /// The socket belongs to this user.
    pub(super) fn user(self, user: u32) -> Self {
        self.meta(USER, &user.to_ne_bytes())
    }

    /// The packet leaves by the loopback device, which has index 1.
    pub(super) fn leaves_by_loopback(self) -> Self {
        self.meta(OUTPUT_INTERFACE, &1u32.to_ne_bytes())
    }

    /// The packet is TCP.
    pub(super) fn tcp(self) -> Self {
        self.meta(PROTOCOL, &[6])
    }

    /// The packet is UDP.
    pub(super) fn udp(self) -> Self {
        self.meta(PROTOCOL, &[17])
    }

    /// The packet goes to this port; the protocol must be asked for before.
    pub(super) fn port(mut self, port: u16) -> Self {
        self.0.push(Expression::Payload(TRANSPORT, 2, 2));
        self.0.push(Expression::Equals(port.to_be_bytes().to_vec()));
        self
    }

    /// The packet comes from this port; the protocol must be asked for before.
    pub(super) fn source_port(mut self, port: u16) -> Self {
        self.0.push(Expression::Payload(TRANSPORT, 0, 2));
        self.0.push(Expression::Equals(port.to_be_bytes().to_vec()));
        self
    }

    /// The packet is the first of a TCP connection: of its flags SYN, ACK, FIN and RST only SYN is set (RFC 9293, section
    /// 3.1). The protocol must be asked for before.
    pub(super) fn begins(mut self) -> Self {
        self.0.push(Expression::Payload(TRANSPORT, 13, 1));
        self.0.push(Expression::Masked(vec![0x17]));
        self.0.push(Expression::Equals(vec![0x02]));
        self
    }

    /// The packet comes from this address.
    pub(super) fn source(self, address: IpAddr) -> Self {
        let (family, offset, octets) = match address {
            IpAddr::V4(address) => (2, 12, address.octets().to_vec()),
            IpAddr::V6(address) => (10, 8, address.octets().to_vec()),
        };
        let mut rule = self.meta(FAMILY, &[family]);
        rule.0.push(Expression::Payload(NETWORK, offset, u32::try_from(octets.len()).unwrap_or(16)));
        rule.0.push(Expression::Equals(octets));
        rule
    }

    /// The packet goes to an address of this prefix.
    pub(super) fn destination(self, address: IpAddr, length: u8) -> Self {
        let (family, offset, octets) = match address {
            IpAddr::V4(address) => (2, 16, address.octets().to_vec()),
            IpAddr::V6(address) => (10, 24, address.octets().to_vec()),
        };
        let mut rule = self.meta(FAMILY, &[family]);
        let bits = usize::from(length).min(octets.len() * 8);
        if bits == 0 {
            return rule;
        }
        // A prefix of whole octets is compared as it is; one that ends inside an octet needs a mask.
        let compared = if bits % 8 == 0 { bits / 8 } else { octets.len() };
        let mask: Vec<u8> = (0..compared).map(|at| mask_of(bits.saturating_sub(at * 8))).collect();
        let value = octets.iter().zip(&mask).map(|(octet, mask)| octet & mask).collect();
        rule.0.push(Expression::Payload(NETWORK, offset, u32::try_from(compared).unwrap_or(16)));
        if bits % 8 != 0 {
            rule.0.push(Expression::Masked(mask));
        }
        rule.0.push(Expression::Equals(value));
        rule
    }

    /// Then the packet is left alone.
    pub(super) fn leave(mut self) -> Self {
        self.0.push(Expression::Return);
        self
    }

    /// Then the connection goes to this port of the machine.
    pub(super) fn redirect(mut self, port: u16) -> Self {
        self.0.push(Expression::Immediate(port));
        self.0.push(Expression::Redirect);
        self
    }

    /// Then the kernel does not look for a connection that the packet belongs to.
    pub(super) fn untracked(mut self) -> Self {
        self.0.push(Expression::Untracked);
        self
    }

    /// Then the sender is told that nobody listens.
    pub(super) fn refuse(mut self) -> Self {
        self.0.push(Expression::Refuse);
        self
    }

    /// Values of `meta` are compared in host order.
    fn meta(mut self, key: u32, value: &[u8]) -> Self {
        self.0.push(Expression::Meta(key));
        self.0.push(Expression::Equals(value.to_vec()));
        self
    }

    /// Writes the list of expressions.
    pub(super) fn write(&self, list: &mut Body) {
        for expression in &self.0 {
            list.nested(1, |element| {
                element.text(1, expression.name());
                element.nested(2, |content| expression.write(content));
            });
        }
    }
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::Equals(_) => "cmp",
            Self::Immediate(_) | Self::Return => "immediate",
            Self::Masked(_) => "bitwise",
            Self::Meta(_) => "meta",
            Self::Payload(..) => "payload",
            Self::Redirect => "redir",
            Self::Refuse => "reject",
            Self::Untracked => "notrack",
        }
    }

    fn write(&self, content: &mut Body) {
        match self {
            Self::Equals(value) => {
                content.number(1, VALUE).number(2, 0).nested(3, |inner| {
                    inner.attribute(1, value);
                });
            }
            Self::Immediate(port) => {
                content.number(1, VALUE).nested(2, |inner| {
                    inner.attribute(1, &port.to_be_bytes());
                });
            }
            Self::Masked(mask) => {
                let zero = vec![0; mask.len()];
                content.number(1, VALUE).number(2, VALUE).number(3, u32::try_from(mask.len()).unwrap_or(16));
                content.nested(4, |inner| {
                    inner.attribute(1, mask);
                });
                content.nested(5, |inner| {
                    inner.attribute(1, &zero);
                });
            }
            Self::Meta(key) => {
                content.number(1, VALUE).number(2, *key);
            }
            Self::Payload(part, offset, length) => {
                content.number(1, VALUE).number(2, *part).number(3, *offset).number(4, *length);
            }
            Self::Redirect => {
                content.number(1, VALUE);
            }
            Self::Refuse => {
                content.number(1, REFUSE_BY_ICMP).attribute(2, &[PORT_UNREACHABLE]);
            }
            Self::Untracked => {}
            Self::Return => {
                content.number(1, VERDICT).nested(2, |inner| {
                    inner.nested(2, |verdict| {
                        verdict.attribute(1, &RETURN.to_be_bytes());
                    });
                });
            }
        }
    }
}

/// The octet of a mask of which `bits` bits are left.
fn mask_of(bits: usize) -> u8 {
    if bits >= 8 { 0xff } else { !(0xff_u8.checked_shr(u32::try_from(bits).unwrap_or(8)).unwrap_or(0)) }
}

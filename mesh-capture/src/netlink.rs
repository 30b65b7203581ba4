//! Netlink messages: writing them, sending them, reading the kernel's answer to each. What they say is the business
//! of `nft` and `link`.

use std::io;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer also when all is well.
const ACK: u16 = 0x4;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;
/// `NLMSG_ERROR`, which is also the acknowledgement.
const ERROR: u16 = 2;
/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// What the kernel said to a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// It refused one message; nothing of its transaction took place.
    #[error("the kernel refused to {step}: {problem}")]
    Refused {
        /// What the message was to do.
        step: &'static str,
        /// The error.
        problem: io::Error,
    },
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// It did not answer a message.
    #[error("the kernel did not answer the request to {step}")]
    Unanswered {
        /// What the message was to do.
        step: &'static str,
    },
}

/// The body of a message: a fixed part, then attributes.
#[derive(Debug, Default)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// Appends the fixed part, or raw bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends an attribute; lengths are in host order, the value as given.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("our attributes are shorter than 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a number in network order, as nf_tables wants it.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends a string with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends attributes inside an attribute.
    pub(crate) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.attribute(kind | NESTED, &inner.0)
    }
}

/// Messages to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    steps: Vec<Option<&'static str>>,
}

impl Batch {
    /// Appends a message that must be acknowledged; `step` finishes "refused to …".
    pub(crate) fn message(&mut self, step: &'static str, kind: u16, flags: u16, body: &Body) {
        self.append(Some(step), kind, flags | ACK, body);
    }

    /// Appends a message that is only answered when it fails.
    pub(crate) fn quiet(&mut self, kind: u16, body: &Body) {
        self.append(None, kind, 0, body);
    }

    fn append(&mut self, step: Option<&'static str>, kind: u16, flags: u16, body: &Body) {
        let length = u32::try_from(HEADER + body.0.len()).expect("our messages are shorter than 4 GiB");
        let sequence = u32::try_from(self.steps.len()).expect("our batches are short");
        self.steps.push(step);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&body.0);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The bytes, for comparison with committed ones.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends all messages in one call and reads the answer to each.
    ///
    /// # Errors
    /// The first message that was refused, by name.
    pub(crate) fn send(&self, protocol: Option<Protocol>) -> Result<(), NetlinkError> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .map_err(io::Error::from)?;
        let patience = Some(Duration::from_secs(2));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience)
            .map_err(io::Error::from)?;
        rustix::net::send(&socket, &self.bytes, SendFlags::empty()).map_err(io::Error::from)?;
        let mut open: Vec<Option<&'static str>> = self.steps.clone();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(step) = open.iter().flatten().next().copied() {
            let length = match rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::AGAIN) => return Err(NetlinkError::Unanswered { step }),
                Err(error) => return Err(io::Error::from(error).into()),
            };
            self.settle(&buffer[..length], &mut open)?;
        }
        Ok(())
    }

    /// Reads acknowledgements, and takes the acknowledged steps out of `open`.
    fn settle(&self, mut answer: &[u8], open: &mut [Option<&'static str>]) -> Result<(), NetlinkError> {
        while let Some(header) = answer.get(..HEADER) {
            let length = number(header, 0).max(HEADER);
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let sequence = number(header, 8);
            let code = answer
                .get(HEADER..HEADER + 4)
                .map_or(0, |code| i32::from_ne_bytes(code.try_into().expect("four bytes were taken")));
            if kind == ERROR && code != 0 {
                let step = self.steps.get(sequence).copied().flatten().unwrap_or("take the batch");
                return Err(NetlinkError::Refused { step, problem: io::Error::from_raw_os_error(-code) });
            }
            if kind == ERROR
                && let Some(step) = open.get_mut(sequence)
            {
                *step = None;
            }
            answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    let four = bytes[at..at + 4].try_into().expect("four bytes were taken");
    usize::try_from(u32::from_ne_bytes(four)).unwrap_or(usize::MAX)
}

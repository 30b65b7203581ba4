//! DNS messages as a server sees them (RFC 1035, section 4): a question that is read, the answer that is written. No IO,
//! and nothing about who is asked.

use std::net::IpAddr;

/// The class of the Internet.
const INTERNET: u16 = 1;
/// Most bytes of a name on the wire, with its end (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;
/// Bytes of the header.
const HEADER: usize = 12;
/// What every client takes over UDP (RFC 1035, section 4.2.1).
const LEAST_SIZE: u16 = 512;
/// The most that we send over UDP, whatever a client says it takes (RFC 6891; the size that is not fragmented).
const MOST_SIZE: u16 = 1232;
/// Flags: it is an answer; the server knows for itself; it was cut short; the client wants the whole work done; it is.
const ANSWER: u16 = 0x8000;
const AUTHORITY: u16 = 0x0400;
const CUT: u16 = 0x0200;
const RECURSE: u16 = 0x0100;
const RECURSED: u16 = 0x0080;
/// A pointer to the name of the question (RFC 1035, section 4.1.4).
const OF_QUESTION: [u8; 2] = [0xc0, 12];
/// How long a record holds, in seconds: as long as that of a cluster's own name server unless told otherwise.
const TTL: u32 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses (`A`).
    A,
    /// IPv6 addresses (`AAAA`, RFC 3596).
    Aaaa,
    /// Something else.
    Other(u16),
    /// Places of a service (`SRV`, RFC 2782).
    Srv,
}

impl Kind {
    const fn read(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            33 => Self::Srv,
            other => Self::Other(other),
        }
    }
}

/// Bytes that are no question that a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not one question")]
pub struct NoQuestion;

/// One question, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    /// The client's wish for recursion.
    flags: u16,
    /// The question as on the wire, which an answer repeats letter by letter.
    question: Vec<u8>,
    /// The labels of the name in lower case, the first one first.
    labels: Vec<String>,
    kind: Kind,
    /// What the client takes over UDP, when it says so (RFC 6891).
    size: Option<u16>,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// These addresses, whatever family was asked for.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// These places: name, port and address of each.
    Places(Vec<Place>),
}

impl Known {
    /// The same in another order each time: many clients take the first.
    #[must_use]
    pub fn turned(mut self, turn: usize) -> Self {
        match &mut self {
            Self::Addresses(all) => rotate(all, turn),
            Self::NoSuchName => {}
            Self::Places(all) => rotate(all, turn),
        }
        self
    }
}

fn rotate<T>(all: &mut [T], turn: usize) {
    let by = turn.checked_rem(all.len()).unwrap_or_default();
    all.rotate_left(by);
}

/// One place of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, from the root, without a dot at its end.
    pub name: String,
    /// The port there.
    pub port: u16,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Query {
    /// Reads one question.
    ///
    /// # Errors
    /// It is no standard query for the class of the Internet with exactly one question and a name of letters, digits,
    /// `-` and `_`. Who gets such a message may still pass it on.
    pub fn read(message: &[u8]) -> Result<Self, NoQuestion> {
        let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        let field = |at: usize| number(at).ok_or(NoQuestion);
        let (id, flags) = (field(0)?, field(2)?);
        // An answer, another kind of query, or several questions.
        if flags & (ANSWER | 0x7800 | CUT) != 0 || field(4)? != 1 || field(6)? != 0 || field(8)? != 0 {
            return Err(NoQuestion);
        }
        let (labels, end) = name(message, HEADER).ok_or(NoQuestion)?;
        if field(end + 2)? != INTERNET {
            return Err(NoQuestion);
        }
        let question = message[HEADER..end + 4].to_vec();
        // The client's size is in a record of the root's name and type 41, which is mostly alone.
        let size = match (field(10)?, message.get(end + 4..end + 7)) {
            (1.., Some([0, 0, 41])) => number(end + 7),
            _ => None,
        };
        let kind = Kind::read(field(end)?);
        Ok(Self { id, flags: flags & RECURSE, question, labels, kind, size })
    }

    /// The labels of the name in lower case, the first one first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.labels.iter().map(String::as_str)
    }

    /// What is asked for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many bytes an answer over UDP may have.
    pub fn limit(&self) -> usize {
        usize::from(self.size.unwrap_or(LEAST_SIZE).clamp(LEAST_SIZE, MOST_SIZE))
    }

    /// Whether a message is an answer to this question.
    pub fn is_answered_by(&self, message: &[u8]) -> bool {
        let end = HEADER + self.question.len();
        let (Some(head), Some(question)) = (message.get(..4), message.get(HEADER..end)) else { return false };
        head[..2] == self.id.to_be_bytes()
            && head[2] & 0x80 != 0
            && question.eq_ignore_ascii_case(&self.question)
    }

    /// The answer of one who knows for itself, of the zone with this name, at most so many bytes long: what does not fit is
    /// cut, and the client asks again over TCP.
    pub fn answer(&self, known: &Known, zone: &str, limit: usize) -> Vec<u8> {
        let (mut answers, mut further) = (Vec::new(), Vec::new());
        match (known, self.kind) {
            (Known::Addresses(addresses), kind) => {
                answers.extend(
                    addresses.iter().filter_map(|address| of_address(&OF_QUESTION, *address, Some(kind))),
                );
            }
            (Known::Places(places), Kind::Srv) => {
                // Places are equally good (Kubernetes DNS-Based Service Discovery, section 2.3.2).
                let weight = u16::try_from(100 / places.len().max(1)).unwrap_or(1).max(1);
                for place in places {
                    let Some(name) = encode(&place.name) else { continue };
                    let mut body = [0_u16, weight, place.port].map(u16::to_be_bytes).concat();
                    body.extend(&name);
                    answers.push(record(&OF_QUESTION, 33, &body));
                    further.extend(
                        place.addresses.iter().filter_map(|address| of_address(&name, *address, None)),
                    );
                }
            }
            (Known::NoSuchName | Known::Places(_), _) => {}
        }
        let code = if *known == Known::NoSuchName { 3 } else { 0 };
        // How long the absence holds is said by the zone (RFC 2308, section 3).
        let authority = if answers.is_empty() { start_of(zone) } else { Vec::new() };
        let code = AUTHORITY | code;
        let whole = self.message(code, &answers, &authority, &further);
        if whole.len() <= limit {
            return whole;
        }
        let without = self.message(code, &answers, &authority, &[]);
        if without.len() <= limit {
            return without;
        }
        self.message(code | CUT, &[], &[], &[])
    }

    /// The answer when nobody could say: SERVFAIL.
    pub fn failed(&self) -> Vec<u8> {
        self.message(2, &[], &[], &[])
    }

    /// `code` is the response code, with the flags that the answer has beside those of every one.
    fn message(&self, code: u16, answers: &[Vec<u8>], authority: &[u8], further: &[Vec<u8>]) -> Vec<u8> {
        let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap_or(u16::MAX);
        let flags = ANSWER | RECURSED | self.flags | code;
        let extra = u16::from(self.size.is_some());
        let mut message = Vec::with_capacity(512);
        let counts = [count(answers), u16::from(!authority.is_empty()), count(further) + extra];
        for number in [self.id, flags, 1].into_iter().chain(counts) {
            message.extend(number.to_be_bytes());
        }
        message.extend(&self.question);
        message.extend(answers.iter().flatten().chain(authority).chain(further.iter().flatten()));
        if self.size.is_some() {
            message.extend([0, 0, 41]);
            message.extend(MOST_SIZE.to_be_bytes());
            message.extend([0; 6]);
        }
        message
    }
}

/// The labels of a name in lower case, and where what follows it begins. A name in a question points nowhere.
fn name(message: &[u8], mut at: usize) -> Option<(Vec<String>, usize)> {
    let begin = at;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels, at));
        }
        let label = message.get(at..at + length).filter(|_| length < 64)?;
        at += length;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if at - begin >= LONGEST_NAME || !label.iter().all(plain) {
            return None;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
}

/// A name as on the wire; `None` when it is too long for one.
fn encode(name: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?);
        wire.extend(label.bytes());
    }
    wire.push(0);
    (wire.len() <= LONGEST_NAME).then_some(wire)
}

/// A record of an address, unless another family is wanted.
fn of_address(name: &[u8], address: IpAddr, wanted: Option<Kind>) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) if matches!(wanted, None | Some(Kind::A)) => {
            Some(record(name, 1, &address.octets()))
        }
        IpAddr::V6(address) if matches!(wanted, None | Some(Kind::Aaaa)) => {
            Some(record(name, 28, &address.octets()))
        }
        _ => None,
    }
}

/// The record that begins a zone, as a cluster's own name server writes it.
fn start_of(zone: &str) -> Vec<u8> {
    let names = [encode(zone), encode(&format!("ns.dns.{zone}")), encode(&format!("hostmaster.{zone}"))];
    let [Some(zone), Some(server), Some(master)] = names else { return Vec::new() };
    let mut body = [server, master].concat();
    for number in [1, 7200, 1800, 86_400, TTL] {
        body.extend(number.to_be_bytes());
    }
    record(&zone, 6, &body)
}

fn record(name: &[u8], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut record = name.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(INTERNET.to_be_bytes());
    record.extend(TTL.to_be_bytes());
    record.extend(u16::try_from(body.len()).unwrap_or_default().to_be_bytes());
    record.extend(body);
    record
}

#[cfg(test)]
mod tests;

//! DNS messages as bytes (RFC 1035, section 4): one question, and what an answer says of its addresses. No IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The class of the Internet.
const INTERNET: u16 = 1;
/// Type of an alias (RFC 1035, section 3.2.2).
const ALIAS: u16 = 5;
/// Flags of a question that asks the server to do the whole work.
const RECURSE: u16 = 0x0100;
/// Most aliases that are followed from one name.
const ALIASES: usize = 16;
/// Most records of an answer that are looked at.
const RECORDS: u16 = 512;
/// Most bytes of a name on the wire, with its end (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;
/// Most bytes of one label.
const LONGEST_LABEL: usize = 63;
/// What we take over UDP (RFC 6891; the size that is not fragmented in practice).
pub const UDP_SIZE: u16 = 1232;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: records `A`.
    V4,
    /// IPv6: records `AAAA` (RFC 3596).
    V6,
}

impl Family {
    const fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }

    fn address(self, bytes: &[u8]) -> Option<IpAddr> {
        match self {
            Self::V4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
            Self::V6 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        }
    }
}

/// A text that is no name of the DNS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a DNS name")]
pub struct NameError(String);

/// Bytes that are no answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It answers another question, or none.
    #[error("the message is no answer to the question")]
    Foreign,
    /// A name is too long, or points at itself.
    #[error("a name in the message cannot be read")]
    Name,
    /// It ends early.
    #[error("the message ends early")]
    Short,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, for so many seconds; none when the name has no address of the family.
    Addresses(Vec<IpAddr>, u32),
    /// The server could not say; the response code (RFC 1035, section 4.1.1).
    Failed(u8),
    /// There is no such name.
    NoSuchName,
    /// The answer does not fit; it is to be asked for over TCP.
    Truncated,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    /// As on the wire, in lower case.
    name: Vec<u8>,
    family: Family,
}

impl Question {
    /// A question for the addresses of a name, which counts from the root whether it ends with a dot or not.
    ///
    /// # Errors
    /// The text is no name.
    pub fn new(id: u16, name: &str, family: Family) -> Result<Self, NameError> {
        let wrong = || NameError(name.to_owned());
        let mut wire = Vec::with_capacity(name.len() + 2);
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if label.is_empty() || label.len() > LONGEST_LABEL || !label.bytes().all(plain) {
                return Err(wrong());
            }
            wire.push(u8::try_from(label.len()).map_err(|_| wrong())?);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() > LONGEST_NAME { Err(wrong()) } else { Ok(Self { id, name: wire, family }) }
    }

    /// The message that asks.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.name.len() + 27);
        for number in [self.id, RECURSE, 1, 0, 0, 1] {
            message.extend(number.to_be_bytes());
        }
        message.extend(&self.name);
        message.extend(self.family.number().to_be_bytes());
        message.extend(INTERNET.to_be_bytes());
        // How much we take over UDP (RFC 6891, section 6.1.2).
        message.extend([0, 0, 41]);
        message.extend(UDP_SIZE.to_be_bytes());
        message.extend([0; 6]);
        message
    }

    /// Reads an answer to this question. Only records of the name that was asked for, or of a name that it is an alias
    /// of, count.
    ///
    /// # Errors
    /// The bytes are no answer to it.
    pub fn answer(&self, message: &[u8]) -> Result<Answer, Malformed> {
        let mut read = Read { message, at: 0 };
        let (id, flags) = (read.number()?, read.number()?);
        let (questions, answers) = (read.number()?, read.number()?);
        read.skip(4)?;
        let is_answer = flags & 0x8000 != 0 && flags & 0x7800 == 0;
        if id != self.id || !is_answer || questions != 1 {
            return Err(Malformed::Foreign);
        }
        let asked = (read.name()?, read.number()?, read.number()?);
        if asked != (self.name.clone(), self.family.number(), INTERNET) {
            return Err(Malformed::Foreign);
        }
        if flags & 0x0200 != 0 {
            return Ok(Answer::Truncated);
        }
        match (flags & 0xf) as u8 {
            0 => {}
            3 => return Ok(Answer::NoSuchName),
            code => return Ok(Answer::Failed(code)),
        }
        let mut records = Vec::new();
        for _ in 0..answers.min(RECORDS) {
            records.push(read.record()?);
        }
        Ok(self.pick(&records))
    }

    fn pick(&self, records: &[Record<'_>]) -> Answer {
        let (mut owner, mut ttl) = (&self.name, u32::MAX);
        for _ in 0..ALIASES {
            let alias = records.iter().find_map(|record| match &record.alias {
                Some(alias) if record.owner == *owner => Some((alias, record.ttl)),
                _ => None,
            });
            let Some((alias, life)) = alias else { break };
            (owner, ttl) = (alias, ttl.min(life));
        }
        let wanted = |record: &&Record<'_>| record.kind == self.family.number() && record.owner == *owner;
        let mut addresses = Vec::new();
        for record in records.iter().filter(wanted) {
            if let Some(address) = self.family.address(record.body) {
                addresses.push(address);
                ttl = ttl.min(record.ttl);
            }
        }
        Answer::Addresses(addresses, if ttl == u32::MAX { 0 } else { ttl })
    }
}

/// A record of an answer.
struct Record<'m> {
    owner: Vec<u8>,
    kind: u16,
    ttl: u32,
    body: &'m [u8],
    /// The name that the owner is an alias of.
    alias: Option<Vec<u8>>,
}

/// Reads a message from front to back.
struct Read<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Read<'m> {
    fn skip(&mut self, count: usize) -> Result<&'m [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed::Short)?;
        let found = self.message.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(found)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        self.skip(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn record(&mut self) -> Result<Record<'m>, Malformed> {
        let owner = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        let ttl = (u32::from(self.number()?) << 16) | u32::from(self.number()?);
        // A life with the highest bit set is none (RFC 2181, section 8).
        let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
        let length = self.number()?;
        let begin = self.at;
        let body = self.skip(usize::from(length))?;
        let kind = if class == INTERNET { kind } else { 0 };
        let alias = match kind {
            ALIAS => Some(Read { message: self.message, at: begin }.name()?),
            _ => None,
        };
        Ok(Record { owner, kind, ttl, body, alias })
    }

    /// A name in lower case, its pointers followed (RFC 1035, section 4.1.4). A pointer leads only to what is before
    /// it, and a name is bounded, so that reading ends.
    fn name(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut name = Vec::new();
        let (mut at, mut after) = (self.at, None);
        loop {
            let length = *self.message.get(at).ok_or(Malformed::Short)?;
            match length >> 6 {
                0 => {
                    let end = at + 1 + usize::from(length);
                    let label = self.message.get(at..end).ok_or(Malformed::Short)?;
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    at = end;
                    if name.len() > LONGEST_NAME {
                        return Err(Malformed::Name);
                    }
                    if length == 0 {
                        self.at = after.unwrap_or(end);
                        return Ok(name);
                    }
                }
                3 => {
                    let low = *self.message.get(at + 1).ok_or(Malformed::Short)?;
                    let to = (usize::from(length & 0x3f) << 8) | usize::from(low);
                    if to >= at {
                        return Err(Malformed::Name);
                    }
                    after.get_or_insert(at + 2);
                    at = to;
                }
                _ => return Err(Malformed::Name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a question with these records: owner, type, body.
    fn answered(question: &Question, code: u16, records: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = Vec::new();
        let count = u16::try_from(records.len()).unwrap();
        for number in [question.id, 0x8180 | code, 1, count, 0, 0] {
            message.extend(number.to_be_bytes());
        }
        message.extend(&question.name);
        message.extend(question.family.number().to_be_bytes());
        message.extend(INTERNET.to_be_bytes());
        for (owner, kind, body) in records {
            match *owner {
                // A pointer to the name of the question.
                "" => message.extend([0xc0, 12]),
                owner => message.extend(wire(owner)),
            }
            message.extend(kind.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend(60_u32.to_be_bytes());
            message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            message.extend(body);
        }
        message
    }

    fn wire(name: &str) -> Vec<u8> {
        Question::new(0, name, Family::V4).unwrap().name
    }

    fn question() -> Question {
        Question::new(7, "API.example.com", Family::V4).unwrap()
    }

    #[test]
    fn a_question_is_absolute_and_names_nothing_but_labels() {
        assert_eq!(wire("a.example."), b"\x01a\x07example\0");
        for text in ["", ".", "a..b", "a b", "a/b", "-\u{e4}", &"a".repeat(64), &"a.".repeat(130)] {
            assert!(Question::new(0, text, Family::V4).is_err(), "{text:?}");
        }
        let encoded = question().encode();
        assert_eq!(encoded[..4], [0, 7, 1, 0]);
        assert!(question().answer(&encoded).is_err(), "a question is no answer");
    }

    #[test]
    fn addresses_of_the_name_and_of_what_it_is_an_alias_of_count_and_no_others() {
        let records = [
            ("", ALIAS, wire("edge.example.net")),
            ("edge.example.net", ALIAS, wire("host.example.net")),
            ("HOST.example.net", 1, vec![192, 0, 2, 1]),
            ("host.example.net", 1, vec![192, 0, 2, 2]),
            ("elsewhere.example.net", 1, vec![192, 0, 2, 66]),
            ("host.example.net", 28, vec![0; 16]),
            ("host.example.net", 1, vec![192, 0, 2]),
        ];
        let answer = question().answer(&answered(&question(), 0, &records));
        let expected = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from).to_vec();
        assert_eq!(answer, Ok(Answer::Addresses(expected, 60)));
        let six = Question::new(7, "api.example.com", Family::V6).unwrap();
        let answer = six.answer(&answered(&six, 0, &[("", 28, vec![1; 16])]));
        assert_eq!(answer, Ok(Answer::Addresses(vec![IpAddr::from([1_u8; 16])], 60)));
    }

    #[test]
    fn what_a_server_refuses_is_told_apart() {
        let table = [(0, Answer::Addresses(Vec::new(), 0)), (2, Answer::Failed(2)), (3, Answer::NoSuchName)];
        for (code, expected) in table {
            assert_eq!(question().answer(&answered(&question(), code, &[])), Ok(expected));
        }
        let mut cut = answered(&question(), 0, &[]);
        cut[2] |= 2;
        assert_eq!(question().answer(&cut), Ok(Answer::Truncated));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let other = Question::new(7, "b.example.com", Family::V4).unwrap();
        let (late, six) = (Question { id: 8, ..question() }, Question { family: Family::V6, ..question() });
        for foreign in [other, late, six] {
            assert_eq!(question().answer(&answered(&foreign, 0, &[])), Err(Malformed::Foreign));
        }
    }

    #[test]
    fn names_that_point_at_themselves_end() {
        let mut message = answered(&question(), 0, &[("", 1, vec![192, 0, 2, 1])]);
        let at = 12 + question().name.len() + 4;
        for to in [at, at + 1, 0x3fff] {
            message[at..at + 2].copy_from_slice(&(0xc000 | u16::try_from(to).unwrap()).to_be_bytes());
            assert!(question().answer(&message).is_err(), "{to}");
        }
        // A label before the pointer that leads back to it: as long as a name may be, and no longer.
        let mut looped = answered(&question(), 0, &[]);
        looped[7] = 1;
        let begin = u16::try_from(looped.len()).unwrap();
        looped.extend([1, b'a']);
        looped.extend((0xc000 | begin).to_be_bytes());
        assert_eq!(question().answer(&looped), Err(Malformed::Name));
    }
}

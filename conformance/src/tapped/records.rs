//! Connections as they were recorded, and whether what they carry is TLS records (RFC 8446, section 5.1). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The types of records: change of cipher, alert, handshake, data, heartbeat.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;
/// The largest record, with what encryption may add.
const LARGEST: usize = (1 << 14) + 256;
/// The record of a handshake, and the message that begins one.
const HANDSHAKE: u8 = 22;
const HELLO: u8 = 1;
/// The bytes before a record's content: its type, a version and its length.
const HEAD: usize = 5;

/// One recorded segment of TCP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    /// Seconds since 1970.
    at: f64,
    stream: u64,
    from: IpAddr,
    to: IpAddr,
    port: u16,
    /// Whether it begins a direction.
    begins: bool,
    /// Its place in its direction, where 1 is the first byte.
    sequence: u64,
    payload: Vec<u8>,
}

impl Segment {
    /// Reads a line of fields; of the two families' addresses one is empty.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (at, stream) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let mut address = || {
            let (four, six) = (next()?, next()?);
            let text = if four.is_empty() { six } else { four };
            text.parse().ok()
        };
        let (from, to) = (address()?, address()?);
        let (port, begins, sequence) = (next()?.parse().ok()?, next()?, next()?.parse().ok()?);
        let payload = bytes(next().unwrap_or_default())?;
        Some(Self { at, stream, from, to, port, begins: matches!(begins, "1" | "True"), sequence, payload })
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What was found in a recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Connections between pods of the mesh.
    pub(super) connections: usize,
    /// Connections of others, and those whose beginning was not recorded.
    pub(super) others: usize,
    /// TLS records between pods of the mesh.
    pub(super) records: usize,
    /// What is not TLS, for people.
    pub(super) violations: Vec<String>,
}

/// All connections of a recording.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<u64, Stream>);

#[derive(Debug)]
struct Stream {
    at: f64,
    from: IpAddr,
    to: IpAddr,
    port: u16,
    /// What each side sent, by its place: the one that began, the other one.
    sent: [BTreeMap<u64, Vec<u8>>; 2],
}

impl Streams {
    /// Adds a segment. Those of a connection whose first one is missing are left out.
    pub(super) fn take(&mut self, segment: Segment) {
        let Segment { at, stream, from, to, port, begins, sequence, payload } = segment;
        if begins {
            let sent = Default::default();
            self.0.entry(stream).or_insert(Stream { at, from, to, port, sent });
        }
        let Some(known) = self.0.get_mut(&stream) else { return };
        if !payload.is_empty() {
            let sent = &mut known.sent[usize::from(from != known.from)];
            // One that was sent again is recorded again.
            let longest = sent.get(&sequence).is_none_or(|old| old.len() < payload.len());
            if longest {
                sent.insert(sequence, payload);
            }
        }
    }

    /// Judges what goes from one pod of the mesh to another one. `name` is a pod's by its address at a time.
    pub(super) fn judge(&self, name: impl Fn(IpAddr, f64) -> Option<String>) -> Found {
        let mut found = Found::default();
        for stream in self.0.values() {
            let (Some(from), Some(to)) = (name(stream.from, stream.at), name(stream.to, stream.at)) else {
                found.others += 1;
                continue;
            };
            found.connections += 1;
            let [client, server] = &stream.sent;
            let judged =
                [("client", begins_tls(client).and_then(|()| records(client))), ("server", records(server))];
            for (who, outcome) in judged {
                match outcome {
                    Ok(count) => found.records += count,
                    Err(bytes) => found.violations.push(format!(
                        "{:.3} from {from} to {to} port {}: the {who} sent {:?}",
                        stream.at,
                        stream.port,
                        String::from_utf8_lossy(&bytes)
                    )),
                }
            }
        }
        found
    }
}

/// Whether a client that says anything begins with a ClientHello (RFC 8446, section 4.1.2), or gives its first bytes.
fn begins_tls(sent: &BTreeMap<u64, Vec<u8>>) -> Result<(), Vec<u8>> {
    let all: Vec<u8> = sent.values().flatten().copied().take(40).collect();
    let hello =
        all.first().is_none_or(|kind| *kind == HANDSHAKE) && all.get(HEAD).is_none_or(|kind| *kind == HELLO);
    if hello { Ok(()) } else { Err(all) }
}

/// Counts the records of a direction, or gives the first bytes that are none. What follows a gap of the recording cannot be
/// read.
fn records(sent: &BTreeMap<u64, Vec<u8>>) -> Result<usize, Vec<u8>> {
    let mut all = Vec::new();
    for (sequence, payload) in sent {
        let next = all.len() as u64 + 1;
        if *sequence > next {
            break;
        }
        let known = usize::try_from(next - sequence).unwrap_or(usize::MAX);
        all.extend(payload.iter().skip(known));
    }
    let (mut rest, mut count) = (&all[..], 0);
    while let Some(head) = rest.get(..HEAD) {
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if !TYPES.contains(&head[0]) || head[1] != 3 || head[2] > 4 || length > LARGEST {
            return Err(rest[..rest.len().min(40)].to_vec());
        }
        count += 1;
        rest = rest.get(HEAD + length..).unwrap_or_default();
    }
    // Less than a head: a direction that says so little has not shown what it is.
    if rest.is_empty() || count > 0 { Ok(count) } else { Err(rest.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of a stream; the one with sequence 0 begins its direction.
    fn line(stream: u64, (from, to): (&str, &str), sequence: u64, payload: &[u8]) -> String {
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let begins = u8::from(sequence == 0);
        let [from, to] = [from, to].map(|address| match address.contains(':') {
            true => format!("\t{address}"),
            false => format!("{address}\t"),
        });
        format!("5.25\t{stream}\t{from}\t{to}\t8080\t{begins}\t{sequence}\t{hex}")
    }

    fn found(lines: &[String]) -> Found {
        let mut streams = Streams::default();
        lines.iter().for_each(|line| streams.take(Segment::read(line).unwrap()));
        streams.judge(|address, at| {
            let met = address != IpAddr::from([10, 0, 0, 9]) && (at - 5.25).abs() < 0.001;
            met.then(|| format!("pod-{address}"))
        })
    }

    const A: &str = "10.0.0.1";
    const B: &str = "10.0.0.2";
    const HELLO: &[u8] = &[22, 3, 1, 0, 3, 1, 2, 3];
    const RECORD: &[u8] = &[23, 3, 3, 0, 2, 9, 9];

    fn connection(client: &[&[u8]], server: &[&[u8]]) -> Vec<String> {
        let mut lines = vec![line(1, (A, B), 0, b""), line(1, (B, A), 0, b"")];
        for (from, to, parts) in [(A, B, client), (B, A, server)] {
            let mut sequence = 1;
            for part in parts {
                lines.push(line(1, (from, to), sequence, part));
                sequence += part.len() as u64;
            }
        }
        lines
    }

    #[test]
    fn records_may_be_cut_anywhere_sent_again_and_come_out_of_order() {
        let mut lines = connection(&[&HELLO[..3], &[&HELLO[3..], RECORD].concat()], &[RECORD, &RECORD[..6]]);
        lines.swap(2, 3);
        lines.push(line(1, (A, B), 1, &HELLO[..3]));
        let expected = Found { connections: 1, records: 4, ..Found::default() };
        assert_eq!(found(&lines), expected);
    }

    /// What one side sent, part by part.
    type Parts = &'static [&'static [u8]];

    #[test]
    fn plain_text_is_seen_in_both_directions_and_behind_tls() {
        let table: [(Parts, Parts, &str); 6] = [
            (&[RECORD], &[], "the client sent"),
            (&[b"GET / HTTP/1.1\r\n"], &[], "the client sent \"GET / HTTP/1.1"),
            (&[HELLO], &[b"220 hello\r\n"], "the server sent \"220 hello"),
            (&[HELLO, b"PRI * HTTP/2.0"], &[RECORD], "the client sent \"PRI *"),
            (&[b"hi"], &[], "the client sent \"hi\""),
            (&[HELLO], &[&[21, 2, 0, 0, 2, 1, 1]], "the server sent"),
        ];
        for (client, server, expected) in table {
            let found = found(&connection(client, server));
            assert_eq!(found.violations.len(), 1, "{expected}");
            assert!(found.violations[0].contains(expected), "{:?}", found.violations);
            assert!(found.violations[0].contains("pod-10.0.0.1 to pod-10.0.0.2 port 8080"));
        }
    }

    #[test]
    fn what_others_say_and_what_began_before_is_not_judged() {
        let plain = line(2, (A, "10.0.0.9"), 1, b"GET /");
        let lines = [line(2, (A, "10.0.0.9"), 0, b""), plain, line(3, (A, B), 500, b"GET /")];
        assert_eq!(found(&lines), Found { others: 1, ..Found::default() });
        let gap = [line(1, (A, B), 0, b""), line(1, (A, B), 1, HELLO), line(1, (A, B), 99, b"lost before")];
        assert_eq!(found(&gap), Found { connections: 1, records: 1, ..Found::default() });
    }

    #[test]
    fn a_line_that_is_none_is_an_error() {
        for text in [
            "",
            "x",
            "1\t1\t10.0.0.1\t\t10.0.0.2\t\t80\t1\t0\tzz",
            "1\t1\tfe80\t\t10.0.0.2\t\t80\t1\t0\t",
            "1\t1\t\t\t\tfd00::2\t80\t1\t0\t",
        ] {
            assert_eq!(Segment::read(text), None, "{text}");
        }
    }

    #[test]
    fn both_families_are_read() {
        let (a, b) = ("fd00::1", "fd00::2");
        let lines = [line(1, (a, b), 0, b""), line(1, (a, b), 1, b"GET /")];
        assert_eq!(found(&lines).violations.len(), 1);
    }
}

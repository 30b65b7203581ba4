//! What the launching process and its two helpers say to each other. Both ends are the same binary.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use mesh_rt::passing::{AsyncPackets, MESSAGE_LIMIT, Packets};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::spec::Program;

/// To the broker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Open a socket bound to this address.
    Bind { address: SocketAddr, datagrams: bool },
    /// Redirect datagrams to this service to a socket, and open it.
    Capture { service: SocketAddr },
    /// Make the namespaces; the descriptor is the supervisor's end.
    Open { hidden: Vec<PathBuf>, listeners: usize, port: u16, shown: Vec<PathBuf> },
    /// Redirect datagrams to this service no longer.
    Release { service: SocketAddr },
    /// Make sockets for connections.
    Sockets { count: usize, ipv6: bool },
}

/// From the broker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The namespaces are there; the descriptors are the (empty) hosts file, then the listeners.
    Opened { ipv6: bool },
    /// The sockets that were asked for.
    Passed,
    /// It did not work.
    Refused { step: String, code: Option<i32>, text: String },
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The application ended: exit code, or signal.
    Ended { code: Option<i32>, signal: Option<i32> },
    /// It could not be started.
    NotStarted { code: Option<i32>, text: String },
    /// It runs; the descriptor is its pidfd.
    Started,
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Says something in a helper.
pub(super) fn say(packets: &Packets, message: &impl Serialize, passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    packets.send(&encode(message)?, passed)
}

/// Hears something in a helper; `None` when the launching process is gone.
pub(super) fn hear<T: DeserializeOwned>(packets: &Packets) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some(packet) = packets.receive()? else { return Ok(None) };
    Ok(Some((decode(&packet.bytes)?, packet.descriptors)))
}

/// Says something to a helper.
pub(super) async fn say_to(
    packets: &AsyncPackets,
    message: &impl Serialize,
    passed: &[BorrowedFd<'_>],
) -> io::Result<()> {
    packets.send(&encode(message)?, passed).await
}

/// Hears something from a helper; `None` when it is gone. May be dropped without losing a message.
pub(super) async fn hear_from<T: DeserializeOwned>(
    packets: &AsyncPackets,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let received = match packets.receive().await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        other => other?,
    };
    let Some(packet) = received else { return Ok(None) };
    Ok(Some((decode(&packet.bytes)?, packet.descriptors)))
}

/// The only message to the supervisor: what is to be started, in place of an application that still runs. No word of
/// it can hold a NUL, so NULs end the words: folder, number of arguments, arguments, then names and values.
///
/// # Errors
/// A word with a NUL, or more than a message holds.
pub(super) fn encode_program(program: &Program) -> io::Result<Vec<u8>> {
    let count = OsString::from(program.argv.len().to_string());
    let head = [program.cwd.as_os_str(), &count];
    let variables = program.env.iter().flat_map(|(name, value)| [name.as_os_str(), value]);
    let words = head.into_iter().chain(program.argv.iter().map(OsString::as_os_str)).chain(variables);
    let mut bytes = Vec::new();
    for word in words.map(OsStr::as_bytes) {
        if word.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an argument or variable contains a NUL",
            ));
        }
        bytes.extend_from_slice(word);
        bytes.push(0);
    }
    if bytes.len() > MESSAGE_LIMIT {
        let text = format!("arguments and environment are longer than {} KiB", MESSAGE_LIMIT / 1024);
        return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, text));
    }
    Ok(bytes)
}

/// Reads what [`encode_program`] wrote; `None` when it is something else.
pub(super) fn decode_program(bytes: &[u8]) -> Option<Program> {
    let mut words =
        bytes.strip_suffix(&[0])?.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let cwd = words.next()?.into();
    let count: usize = words.next()?.to_str()?.parse().ok()?;
    let argv: Vec<OsString> = words.by_ref().take(count).collect();
    if argv.len() != count {
        return None;
    }
    let mut env = std::collections::BTreeMap::new();
    while let Some(name) = words.next() {
        env.insert(name, words.next()?);
    }
    Some(Program { argv, cwd, env })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = OsString> {
        proptest::collection::vec(1u8.., 0..9).prop_map(OsString::from_vec)
    }

    proptest! {
        #[test]
        fn a_program_arrives_as_it_was_sent(
            argv in proptest::collection::vec(word(), 0..5),
            env in proptest::collection::btree_map(word(), word(), 0..5),
            cwd in word(),
        ) {
            let program = Program { argv, cwd: cwd.into(), env };
            let bytes = encode_program(&program).unwrap();
            prop_assert_eq!(decode_program(&bytes), Some(program));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            decode_program(&bytes);
        }
    }

    #[test]
    fn a_nul_or_too_much_is_refused() {
        let mut program = Program { argv: vec!["a\0b".into()], cwd: "/".into(), env: Default::default() };
        assert_eq!(encode_program(&program).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        program.argv = vec!["a".repeat(MESSAGE_LIMIT).into()];
        assert_eq!(encode_program(&program).unwrap_err().kind(), io::ErrorKind::ArgumentListTooLong);
    }
}

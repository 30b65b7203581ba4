//! Tokens in cookies (RFC 6265) and headers: several in one value, divided by dots.

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use mesh_model::{Session, SessionCarrier};

use super::token::{CHARS, Sealed};

/// Most tokens of a value.
pub(super) const MOST: usize = 4;
/// Most tokens of a request that are looked at: of cookies for two paths each may be sent.
const MOST_READ: usize = 2 * MOST;
/// Longest value; a longer one is not ours.
const LONGEST: usize = MOST * (CHARS + 1) - 1;

/// The tokens that a request carries. What has not their shape is passed over.
pub(super) fn read(carrier: &SessionCarrier, headers: &HeaderMap) -> Vec<Sealed> {
    let mut tokens = Vec::new();
    let mut take = |value: &[u8]| {
        if value.len() <= LONGEST {
            let shaped = value.split(|b| *b == b'.').filter_map(Sealed::from_text);
            tokens.extend(shaped);
            tokens.truncate(MOST_READ);
        }
    };
    match carrier {
        SessionCarrier::Cookie { name, .. } => {
            let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            for pair in lines.flat_map(|line| line.split(|b| *b == b';')) {
                let Some(at) = pair.iter().position(|b| *b == b'=') else { continue };
                if pair[..at].trim_ascii() == name.as_str().as_bytes() {
                    take(unquoted(pair[at + 1..].trim_ascii()));
                }
            }
        }
        SessionCarrier::Header(header) => {
            headers.get_all(header.name()).iter().for_each(|value| take(value.as_bytes().trim_ascii()));
        }
    }
    tokens
}

/// A value may stand in quotes (RFC 6265, section 4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Puts tokens into an answer, with the age of the session that the first one stands for.
pub(super) fn write(
    session: &Session,
    (tokens, age): (&[&Sealed], Duration),
    secure: bool,
    answer: &mut HeaderMap,
) {
    let mut value = String::with_capacity(LONGEST);
    for token in tokens {
        if !value.is_empty() {
            value.push('.');
        }
        token.write(&mut value);
    }
    match &session.carrier {
        SessionCarrier::Cookie { name, path, permanent } => {
            let mut cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict");
            if secure {
                cookie.push_str("; Secure");
            }
            if let (true, Some(limit)) = (permanent, session.absolute_timeout) {
                // Whole seconds, rounded up: zero would delete it.
                let left = limit.saturating_sub(age).as_millis().div_ceil(1000).max(1);
                cookie.push_str(&format!("; Max-Age={left}"));
            }
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                answer.append(SET_COOKIE, cookie);
            }
        }
        SessionCarrier::Header(header) => {
            if let Ok(value) = HeaderValue::try_from(value) {
                answer.insert(header.name().clone(), value);
            }
        }
    }
}

//! Scalars with a meaning: durations, timestamps, secret bytes, ports by number or name. They keep the
//! text they were read from, so that what is printed equals what was read.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the scalar it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScalarError {
    /// Not base64 in the standard alphabet with padding (RFC 4648, section 4).
    #[error("not base64 with padding")]
    Base64,
    /// Not a duration (GEP-2257).
    #[error("not a duration such as 1h30m, 10s or 500ms: at most four parts of at most five digits")]
    Duration,
    /// Not a date with time (RFC 3339, section 5.6).
    #[error("not a time such as 2026-01-31T12:00:00Z")]
    Timestamp,
}

/// A duration (GEP-2257): at most four parts of at most five digits with `h`, `m`, `s` or `ms`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

impl Duration {
    /// The length.
    pub const fn value(&self) -> std::time::Duration {
        self.value
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Duration {}

impl std::str::FromStr for Duration {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let mut rest = text.as_bytes();
        let mut millis = 0_u64;
        let mut parts = 0;
        while !rest.is_empty() {
            let (part, left) = duration_part(rest).ok_or(ScalarError::Duration)?;
            millis += part;
            parts += 1;
            rest = left;
        }
        match parts {
            1..=4 => Ok(Self { text: text.to_owned(), value: std::time::Duration::from_millis(millis) }),
            _ => Err(ScalarError::Duration),
        }
    }
}

/// Milliseconds of the first part, and what follows it.
fn duration_part(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=5).contains(&digits) {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let number = number.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match rest {
        [b'm', b's', rest @ ..] => Some((number, rest)),
        [b'h', rest @ ..] => Some((number * 3_600_000, rest)),
        [b'm', rest @ ..] => Some((number * 60_000, rest)),
        [b's', rest @ ..] => Some((number * 1_000, rest)),
        _ => None,
    }
}

impl TryFrom<String> for Duration {
    type Error = ScalarError;
    fn try_from(text: String) -> Result<Self, ScalarError> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.text
    }
}

/// A point in time (RFC 3339). Ordered by time, so that the older of two objects can be found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    text: String,
    micros: i64,
}

impl Timestamp {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A moment of a clock, in microseconds and UTC. Moments before 1970 read as its first.
    pub fn from_wall(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (since.as_secs(), since.subsec_micros());
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Self { text, micros }
    }

    /// Microseconds since 1970, leap seconds not counted.
    pub const fn unix_micros(&self) -> i64 {
        self.micros
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.micros == other.micros
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.micros.cmp(&other.micros)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let micros = timestamp_micros(text).ok_or(ScalarError::Timestamp)?;
        Ok(Self { text: text.to_owned(), micros })
    }
}

fn timestamp_micros(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let fixed = bytes.get(..19)?;
    let at = |index: usize, expected: &[u8]| expected.contains(&fixed[index]);
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&fixed[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction_micros(&bytes[19..])?;
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?) * 1_000_000 + fraction)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
}

/// Microseconds of a fraction such as `.25`, and the zone that follows it.
fn fraction_micros(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let digit = |index: usize| if index < count { i64::from(rest[index] - b'0') } else { 0 };
    Some(((0..6).fold(0, |sum, index| sum * 10 + digit(index)), &rest[count..]))
}

fn zone_seconds(text: &[u8]) -> Option<i64> {
    let sign = match text.first()? {
        b'Z' | b'z' => return (text.len() == 1).then_some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if text.len() != 6 || text[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..6])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap day is the
/// last day of its year.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

/// The other way: year, month and day of a number of days after 1970, counted in 400-year cycles that begin on
/// 1 March of the year 0.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year_of_cycle + (month <= 2) as u64, month, day)
}

impl TryFrom<String> for Timestamp {
    type Error = ScalarError;
    fn try_from(text: String) -> Result<Self, ScalarError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.text
    }
}

/// Bytes of a Secret. Written as base64; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} secret bytes>", self.0.len())
    }
}

impl TryFrom<String> for SecretBytes {
    type Error = ScalarError;
    fn try_from(text: String) -> Result<Self, ScalarError> {
        base64_decode(text.as_bytes()).map(Self).ok_or(ScalarError::Base64)
    }
}

impl From<SecretBytes> for String {
    fn from(bytes: SecretBytes) -> Self {
        base64_encode(&bytes.0)
    }
}

/// A text of a Secret; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} secret bytes>", self.0.len())
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648, section 4).
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            let sextet = (word >> (18 - 6 * index)) & 63;
            text.push(if index <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// Decodes base64 with padding. Line breaks between characters are allowed, as YAML block texts have them.
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    if padding > 2 {
        return None;
    }
    let (symbols, _) = text.split_at(text.len() - padding);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in symbols.chunks(4) {
        let word = chunk.iter().try_fold(0_u32, |word, b| Some(word << 6 | sextet(*b)?))?;
        let word = word << (6 * (4 - chunk.len()));
        let [_, first, second, third] = word.to_be_bytes();
        let unused = [0, 0x00FF_FFFF, 0x0000_FFFF, 0x0000_00FF, 0][chunk.len()];
        if word & unused != 0 {
            return None;
        }
        bytes.extend_from_slice(&[first, second, third][..chunk.len() - 1]);
    }
    Some(bytes)
}

fn sextet(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// By number.
    Int(i32),
    /// By name.
    String(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_gep_2257() {
        let table = [
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("1m1ms", Some(60_001)),
            ("99999h99999h99999h99999h", Some(99_999 * 4 * 3_600_000)),
            ("", None),
            ("10", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
            ("s", None),
            ("1 s", None),
        ];
        for (text, millis) in table {
            let parsed = text.parse::<Duration>().ok().map(|d| d.value().as_millis());
            assert_eq!(parsed, millis, "{text:?}");
        }
    }

    #[test]
    fn timestamps_follow_rfc_3339() {
        let table = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", Some(-1_000_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("2026-11-20T19:30:00.25+01:00", Some(1_795_199_400_250_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00Zx", None),
            ("2026-01-0\u{661}T00:00:00Z", None),
            ("", None),
        ];
        for (text, micros) in table {
            assert_eq!(text.parse::<Timestamp>().ok().map(|t| t.unix_micros()), micros, "{text:?}");
        }
    }

    #[test]
    fn secret_bytes_are_base64_and_stay_hidden() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"abcd", &[255, 0, 254]] {
            let text = base64_encode(bytes);
            assert_eq!(base64_decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64_decode(b"YW\nJj\r\n").as_deref(), Some(&b"abc"[..]));
        for bad in ["a", "YWI", "YWJ=", "YQ=a", "====", "Y===", "YW J", "YR=="] {
            assert_eq!(base64_decode(bad.as_bytes()), None, "{bad:?}");
        }
        let secret = SecretBytes::try_from("c2VjcmV0".to_owned()).unwrap();
        assert_eq!(format!("{secret:?}"), "<6 secret bytes>");
    }
}

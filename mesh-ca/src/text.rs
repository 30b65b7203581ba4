//! Text forms of moments and bytes for messages, tokens and stored state. Nothing here knows what they mean.

use std::time::SystemTime;

use zeroize::Zeroizing;

/// A moment as `2026-11-20T19:30:00Z`; moments before 1970 read as its first second.
pub(crate) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days after 1970 in the Gregorian calendar, counted in 400-year cycles
/// that begin on 1 March of the year 0.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
    text
}

/// The bytes of hexadecimal digits in either case; `None` when it is something else.
pub(crate) fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |c: &u8| char::from(*c).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
    }
    rest.is_empty().then_some(bytes)
}

/// The letters of base64url (RFC 4648, section 5).
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes in base64url without padding (RFC 7515, section 2).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().zip([16, 8, 0]).fold(0, |word, (byte, at)| word | u32::from(*byte) << at);
        let letters = [18, 12, 6, 0].map(|at| char::from(URL_SAFE[(word >> at & 63) as usize]));
        text.extend(&letters[..=chunk.len()]);
    }
    text
}

/// The bytes of base64url without padding; `None` when it is something else, or another text for the same bytes.
pub(crate) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    let value = |letter: &u8| URL_SAFE.iter().position(|known| known == letter);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0;
        for (letter, at) in chunk.iter().zip([18, 12, 6, 0]) {
            word |= u32::try_from(value(letter)?).ok()? << at;
        }
        let [_, three @ ..] = word.to_be_bytes();
        let (whole, rest) = three.split_at(chunk.len() - 1);
        if whole.is_empty() || rest.iter().any(|bits| *bits != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_read_as_dates() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_203_000, "2026-11-20T19:30:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in rows {
            assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn base64url_is_read_as_it_was_written_and_no_other_way() {
        let rows = [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (&[0xfb, 0xff], "-_8")];
        for (bytes, text) in rows {
            assert_eq!(base64url(bytes), text);
            assert_eq!(unbase64url(text).as_deref(), Some(bytes));
        }
        for bad in ["Z", "Zh", "Zm9", "Zg==", "Zm+v", "Zm/v", "Zm9v\n", "é"] {
            assert_eq!(unbase64url(bad), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_digits_come_back_as_bytes() {
        assert_eq!(unhex(&hex(&[0, 1, 0xab, 0xff])).unwrap().as_slice(), [0, 1, 0xab, 0xff]);
        assert_eq!(unhex("AB").unwrap().as_slice(), [0xab]);
        assert!(["a", "0g", "é", "0x"].iter().all(|text| unhex(text).is_none()));
    }
}

//! What a plain scalar means: the resolution that Kubernetes uses, which is YAML 1.1's with `0x`, `0o`,
//! `0b` and leading-zero octal integers. No places and no trees.

use serde_json::Number;

use super::{Problem, Value};

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Result<Value, Problem> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Ok(Value::Bool(false));
        }
        _ => {}
    }
    let begins_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !begins_number {
        return Ok(Value::String(text.to_owned()));
    }
    if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err(Problem::NotFinite(text.to_owned()));
    }
    match integer(text).map(Some).or_else(|| float(text)) {
        Some(Some(number)) => Ok(Value::Number(number)),
        Some(None) => Err(Problem::NotFinite(text.to_owned())),
        None => Ok(Value::String(text.to_owned())),
    }
}

fn integer(text: &str) -> Option<Number> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text).replace('_', "");
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, &digits[..]),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        true => Some(Number::from(0_i64.checked_sub_unsigned(magnitude)?)),
        false => Some(Number::from(magnitude)),
    }
}

/// A decimal float; the inner value is none when it is too large.
fn float(text: &str) -> Option<Option<Number>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !(whole.is_empty() && fraction.is_empty()) && digits(whole) && digits(fraction);
    let exponent = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    if !has_digits || exponent.is_some_and(|e| e.is_empty() || !digits(e)) {
        return None;
    }
    Some(text.parse().ok().and_then(Number::from_f64))
}

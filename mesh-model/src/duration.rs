//! Durations of the Gateway API (GEP-2257): up to four pairs of number and unit, such as `1h30m` or `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is not a duration by GEP-2257.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration such as 1h30m, 10s or 500ms (GEP-2257)")]
pub struct DurationError(String);

/// A duration by GEP-2257.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayDuration(Duration);

impl GatewayDuration {
    /// The length, or `None` for zero, which switches a limit off.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl From<GatewayDuration> for Duration {
    fn from(duration: GatewayDuration) -> Self {
        duration.0
    }
}

impl From<Duration> for GatewayDuration {
    /// Rounds down to milliseconds, the smallest unit.
    fn from(duration: Duration) -> Self {
        Self(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl FromStr for GatewayDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let wrong = || DurationError(text.to_owned());
        let mut rest = text;
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            if rest.is_empty() {
                break;
            }
            let digits =
                rest.find(|c: char| !c.is_ascii_digit()).filter(|n| (1..=5).contains(n)).ok_or_else(wrong)?;
            let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit_end =
                rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
            total += unit(&rest[digits..unit_end])
                .map(|ms| Duration::from_millis(ms * amount))
                .ok_or_else(wrong)?;
            rest = &rest[unit_end..];
        }
        if text.is_empty() || !rest.is_empty() { Err(wrong()) } else { Ok(Self(total)) }
    }
}

fn unit(text: &str) -> Option<u64> {
    Some(match text {
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        _ => return None,
    })
}

impl fmt::Display for GatewayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for GatewayDuration {
    type Error = DurationError;
    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<GatewayDuration> for String {
    fn from(duration: GatewayDuration) -> Self {
        duration.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, ms) in
            [("0s", 0), ("500ms", 500), ("1h", 3_600_000), ("1h30m", 5_400_000), ("1m1s1ms", 61_001)]
        {
            let parsed: GatewayDuration = text.parse().expect("a good duration");
            assert_eq!((Duration::from(parsed).as_millis(), parsed.to_string()), (ms, text.to_owned()));
        }
        for text in ["", "1", "s", "-1s", "1.5h", "1d", "1s ", "100000s", "1s1s1s1s1s", "1S"] {
            assert!(text.parse::<GatewayDuration>().is_err(), "{text:?}");
        }
    }
}

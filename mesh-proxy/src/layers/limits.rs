//! How long a request may take: what its rule and its client allow, and what waits no longer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::http::call::Head;
use crate::http::{Error, names};

/// Runs a future within a limit, if there is one. It takes the future by reference: by value, it would be
/// stored twice.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    future: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    match limit {
        None => future.await,
        // The timer has a place of its own: most requests have none, and every future around it would grow.
        Some(limit) => Box::pin(tokio::time::timeout(limit, future)).await.unwrap_or(Err(Error::Timeout)),
    }
}

/// The shorter of two limits, where there are any.
pub(super) fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The deadline of a gRPC call: at most eight digits and a unit (gRPC over HTTP/2, `Timeout`).
pub(super) fn grpc_timeout(head: &Head) -> Option<Duration> {
    let text = head.headers.get(&names::GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let amount: u64 = if valid { digits.parse().ok()? } else { return None };
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

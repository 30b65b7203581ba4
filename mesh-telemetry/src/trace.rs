//! W3C trace context: reading, making and passing on `traceparent`. `tracestate` passes untouched.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_rt::random::Fast;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace (W3C Trace Context, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace_id: [u8; 16],
    /// The span; never all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// The context that a request carries. A request with several or malformed `traceparent` lines carries none,
    /// and its `tracestate` is then dropped as the standard asks.
    pub fn read(headers: &mut HeaderMap) -> Option<Self> {
        if !headers.keys().any(|name| *name == TRACEPARENT || *name == TRACESTATE) {
            return None;
        }
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let only = (lines.next(), lines.next());
        let found = if let (Some(line), None) = only { Self::parse(line.as_bytes()) } else { None };
        if found.is_none() {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
        found
    }

    /// Parses `traceparent`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let sized = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        let hex = [version, trace, span, flags].iter().all(|part| part.bytes().all(lower));
        if !sized || !hex || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?.to_be_bytes();
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?.to_be_bytes();
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }

    /// A new trace.
    pub fn root(chance: &mut Fast, sampled: bool) -> Self {
        let trace = (u128::from(chance.next_u64()) << 64) | u128::from(chance.next_u64()) | 1;
        Self { trace_id: trace.to_be_bytes(), span_id: (chance.next_u64() | 1).to_be_bytes(), sampled }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self, chance: &mut Fast) -> Self {
        Self { span_id: (chance.next_u64() | 1).to_be_bytes(), ..self }
    }

    /// Puts the context into the headers of a request that is passed on.
    pub fn write(self, headers: &mut HeaderMap) {
        let value =
            HeaderValue::from_bytes(&self.text()).expect("hexadecimal digits and dashes are a header value");
        headers.insert(TRACEPARENT, value);
    }

    /// The value of `traceparent`. Every request writes one, so that it is made without formatting.
    fn text(self) -> [u8; 55] {
        let mut text = *b"00-................................-................-0.";
        hex(&self.trace_id, &mut text[3..35]);
        hex(&self.span_id, &mut text[36..52]);
        text[54] = if self.sampled { b'1' } else { b'0' };
        text
    }

    /// The trace as 32 hexadecimal digits.
    pub fn trace_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// Writes each byte as two lower-case digits.
fn hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn contexts_parse_and_print() {
        let context = TraceContext::parse(GOOD.as_bytes()).expect("good");
        assert_eq!((context.to_string().as_str(), context.sampled), (GOOD, true));
        let later = TraceContext::parse(
            b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-the-future-holds",
        );
        assert_eq!(later.map(|c| c.sampled), Some(false));
        let bad = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_malformed_parent_takes_its_state_along() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        headers.append(TRACESTATE, HeaderValue::from_static("a=b"));
        assert!(TraceContext::read(&mut headers).is_some() && headers.contains_key(TRACESTATE));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceContext::read(&mut headers).is_none() && headers.is_empty());
    }
}

//! Request paths in one canonical form (RFC 3986, sections 5.2.4 and 6.2.2).
//!
//! A path is normalised once, before routing and authorization, and the same bytes are forwarded. What has
//! no safe reading is refused.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A control character, space, or byte outside ASCII, raw or as `%00`-like encoding of a control.
    #[error("the path holds a control character or a byte outside ASCII")]
    Character,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path holds a broken percent-encoding")]
    Encoding,
    /// A fragment in a request target.
    #[error("the path holds a fragment")]
    Fragment,
    /// The path does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NoSlash,
}

/// Normalises the path of a request target (without query).
///
/// Unreserved characters are decoded, encodings are upper case, a backslash is a slash, empty and dot segments
/// are removed. Encoded slashes and backslashes stay encoded: see [`folded`].
///
/// # Errors
/// [`PathError`] when the path has no safe reading.
///
/// ```
/// use mesh_model::path::normalize;
/// assert_eq!(normalize("/a//b/../%63?".trim_end_matches('?')).as_deref(), Ok("/a/c"));
/// assert!(normalize("/a%00").is_err());
/// ```
pub fn normalize(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NoSlash);
    }
    if is_canonical(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode(raw.as_bytes())?;
    Ok(Cow::Owned(remove_segments(&decoded)))
}

/// The normalised path with encoded slashes and backslashes read as slashes, when that changes it. An origin
/// may read the path so; authorization therefore looks at both readings.
pub fn folded(normalized: &str) -> Option<String> {
    if !normalized.contains('%') {
        return None;
    }
    let slashes = normalized.replace("%2F", "/").replace("%5C", "/");
    (slashes != normalized).then(|| remove_segments(&slashes))
}

/// True for paths that normalisation would not change: the fast path of nearly every request.
fn is_canonical(path: &[u8]) -> bool {
    let mut previous = 0;
    for (at, &byte) in path.iter().enumerate() {
        match byte {
            b'/' if previous == b'/' => return false,
            b'.' if previous == b'/' && dot_segment(&path[at..]) => return false,
            b'%' | b'\\' | b'#' | 0..=b' ' | 0x7f.. => return false,
            _ => previous = byte,
        }
    }
    true
}

fn dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

fn decode(raw: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'#' => return Err(PathError::Fragment),
            0..=b' ' | 0x7f.. => return Err(PathError::Character),
            b'\\' => out.push('/'),
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(PathError::Encoding) };
                push_encoded(&mut out, *high, *low)?;
                rest = after;
            }
            _ => out.push(char::from(*byte)),
        }
    }
    Ok(out)
}

fn push_encoded(out: &mut String, high: u8, low: u8) -> Result<(), PathError> {
    let digit = |b: u8| char::from(b).to_digit(16).ok_or(PathError::Encoding);
    let value = u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| PathError::Encoding)?;
    match value {
        0..=0x1f | 0x7f => return Err(PathError::Character),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
        _ => out.extend(['%', char::from(high.to_ascii_uppercase()), char::from(low.to_ascii_uppercase())]),
    }
    Ok(())
}

fn remove_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in path[1..].split('/') {
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    kept.iter().for_each(|segment| out.extend(["/", segment]));
    if directory || kept.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_to_one_form() {
        let cases = [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/./a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/a/../b/", "/b/"),
            ("/a\\b", "/a/b"),
            ("/%61", "/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/%2e%2e/a", "/a"),
            ("/a/%2E%2E/b", "/b"),
            ("/.a", "/.a"),
            ("/..a", "/..a"),
            ("/a%20b", "/a%20b"),
            ("/%c3%a9", "/%C3%A9"),
            ("/a;b=c", "/a;b=c"),
            ("/a.b/c..", "/a.b/c.."),
        ];
        for (raw, expected) in cases {
            assert_eq!(normalize(raw).as_deref(), Ok(expected), "{raw:?}");
            assert_eq!(normalize(expected).as_deref(), Ok(expected), "not idempotent: {raw:?}");
        }
    }

    #[test]
    fn paths_without_safe_reading_are_refused() {
        for raw in [
            "", "a", "!", "/%", "/%4", "/%zz", "/%00", "/%0a", "/%7F", "/a b", "/a\0", "/\u{e9}", "/a#b", "*",
        ] {
            assert!(normalize(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn encoded_slashes_have_a_second_reading() {
        assert_eq!(folded("/a%2Fb").as_deref(), Some("/a/b"));
        assert_eq!(folded("/x/%2F..%5Cadmin").as_deref(), Some("/admin"));
        assert_eq!(folded("/a%20b"), None);
    }
}

//! Request paths in one canonical form (RFC 3986, sections 5.2.4 and 6.2.2).
//!
//! A path is normalised once, before routing and authorization, and the same bytes are forwarded. What has
//! no safe reading is refused. What some origins read otherwise, such as an encoded slash or the parameters of
//! a segment, is forwarded as it was sent, and authorization looks at each of its [`readings`].

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
    /// A dot segment with parameters, such as `..;a`: an origin that drops parameters would leave the directory.
    #[error("the path holds a dot segment with parameters")]
    Parameter,
}

/// Normalises the path of a request target (without query).
///
/// Unreserved characters are decoded, encodings are upper case, a backslash is a slash, empty and dot segments
/// are removed. Encoded slashes and backslashes stay encoded, and parameters stay: see [`readings`].
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
    let parameters = |segment: &str| matches!(without_parameters(segment), Some("." | ".."));
    if decoded.split('/').any(parameters) {
        return Err(PathError::Parameter);
    }
    Ok(Cow::Owned(remove_segments(&decoded)))
}

/// The other ways in which an origin may read a normalised path: with encoded slashes and backslashes as slashes,
/// without the parameters of its segments (RFC 3986, section 3.3: what follows a semicolon), and both. Nearly every
/// path has none.
///
/// ```
/// use mesh_model::path::readings;
/// assert_eq!(readings("/a;b=c/d"), ["/a/d"]);
/// assert!(readings("/a/d").is_empty());
/// ```
pub fn readings(normalized: &str) -> Vec<String> {
    if !normalized.bytes().any(|b| matches!(b, b'%' | b';')) {
        return Vec::new();
    }
    let slashes = normalized.replace("%2F", "/").replace("%5C", "/");
    let mut all = vec![remove_segments(&slashes)];
    for path in [normalized, slashes.as_str()] {
        let segments = path.split('/').map(|segment| without_parameters(segment).unwrap_or(segment));
        all.push(remove_segments(&segments.collect::<Vec<_>>().join("/")));
    }
    all.retain(|reading| reading != normalized);
    all.dedup();
    all
}

/// A segment up to its parameters, where it has some. The semicolon counts in its encoding, too.
fn without_parameters(segment: &str) -> Option<&str> {
    let end = segment.find(';').into_iter().chain(segment.find("%3B")).min()?;
    Some(&segment[..end])
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
    let after = rest.strip_prefix(b"..").or(rest.strip_prefix(b"."));
    matches!(after, Some([] | [b'/' | b';', ..]))
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
    fn dot_segments_with_parameters_are_refused() {
        for raw in [
            "/..;/admin",
            "/a/..;b=c/admin",
            "/a/.;/b",
            "/a/..;",
            "/a/.;b",
            "/%2e%2E;/admin",
            "/a/..%3B/admin",
            "/a/.%3b",
            "/a\\..;\\b",
        ] {
            assert_eq!(normalize(raw), Err(PathError::Parameter), "{raw:?}");
        }
        for raw in ["/...;/a", "/a..;/b", "/.a;/b", "/;/a", "/a;../b", "/a;/b"] {
            assert_eq!(normalize(raw).as_deref(), Ok(raw));
        }
    }

    #[test]
    fn every_way_to_read_a_path_is_listed() {
        let cases: [(&str, &[&str]); 12] = [
            ("/a", &[]),
            ("/a%20b", &[]),
            ("/a%2Fb", &["/a/b"]),
            ("/x/%2F..%5Cadmin", &["/admin"]),
            ("/admin;a=b", &["/admin"]),
            ("/admin;a=b/c;d", &["/admin/c"]),
            ("/admin%3Ba", &["/admin"]),
            ("/;a/admin", &["/admin"]),
            ("/a/;", &["/a/"]),
            ("/a;b%2Fc", &["/a;b/c", "/a", "/a/c"]),
            ("/x/a%2F..;%2Fadmin", &["/x/a/..;/admin", "/x/a%2F..", "/x/admin"]),
            ("/x%2F;%2F..;a%2F..%3B", &["/x/;/..;a/..%3B", "/x%2F", "/"]),
        ];
        for (path, expected) in cases {
            assert_eq!(readings(path), expected, "{path:?}");
        }
    }
}

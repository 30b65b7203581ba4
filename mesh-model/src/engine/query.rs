//! Query parameters, read without building a map.

use std::borrow::Cow;

/// The decoded value of the first parameter of this name (`application/x-www-form-urlencoded`).
pub(crate) fn value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let encoded = (*byte == b'%').then(|| hex(tail)).flatten();
        match encoded {
            Some(decoded) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            None => out.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex(tail: &[u8]) -> Option<u8> {
    let [high, low, ..] = tail else { return None };
    let digit = |b: &u8| char::from(*b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn the_first_parameter_counts_and_is_decoded() {
        assert_eq!(value("a=1&b=2&a=3", "a").as_deref(), Some("1"));
        assert_eq!(value("x%20y=a+b%2Bc", "x y").as_deref(), Some("a b+c"));
        assert_eq!(value("flag", "flag").as_deref(), Some(""));
        assert_eq!(value("a=%zz", "a").as_deref(), Some("%zz"));
        assert_eq!(value("a=1", "b"), None);
    }
}

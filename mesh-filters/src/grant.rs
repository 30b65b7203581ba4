//! What the answer of an authorization service that allows changes about the request and about the answer to the client.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::headers::may_edit;

/// A target that cannot be written with its new query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwritable;

/// How a header joins those of its name that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// Beside them.
    Append,
    /// Only where there is none.
    IfAbsent,
    /// In their place, only where there is one.
    IfPresent,
    /// In their place.
    Replace,
}

/// A header with how it joins others.
pub type Line = (HeaderName, HeaderValue, Joining);

/// The changes, in the order in which they are made.
#[derive(Debug, Default)]
pub struct Grant {
    /// Headers that go, first.
    pub remove: Vec<HeaderName>,
    /// Headers of the request.
    pub set: Vec<Line>,
    /// Headers of the answer.
    pub answer: Vec<Line>,
    /// Query parameters that go.
    pub drop_parameters: Vec<String>,
    /// Query parameters that come, in place of those of their names.
    pub set_parameters: Vec<(String, String)>,
}

impl Grant {
    /// Changes a request and returns what its answer gets. Nothing changes how the message is framed or what
    /// only the mesh may say.
    ///
    /// # Errors
    /// The new query cannot be written; the request must not pass.
    pub fn apply(self, headers: &mut HeaderMap, uri: &mut Uri) -> Result<HeaderMap, Unwritable> {
        for name in self.remove.iter().filter(|name| may_edit(name)) {
            headers.remove(name);
        }
        join(self.set, headers);
        if !(self.drop_parameters.is_empty() && self.set_parameters.is_empty()) {
            *uri = edited(uri, &self.drop_parameters, &self.set_parameters)?;
        }
        let mut answer = HeaderMap::new();
        join(self.answer, &mut answer);
        Ok(answer)
    }
}

/// Lines that replace the same name stand beside each other: an answer may hold a header twice.
pub fn join(lines: Vec<Line>, headers: &mut HeaderMap) {
    let mut replaced: Vec<HeaderName> = Vec::new();
    for (name, value, joining) in lines.into_iter().filter(|(name, ..)| may_edit(name)) {
        let present = headers.contains_key(&name);
        match joining {
            Joining::Append => _ = headers.append(name, value),
            Joining::IfAbsent if present => {}
            Joining::IfPresent if !present => {}
            _ if replaced.contains(&name) => _ = headers.append(name, value),
            _ => {
                replaced.push(name.clone());
                headers.insert(name, value);
            }
        }
    }
}

/// A target with other query parameters.
fn edited(uri: &Uri, drop: &[String], set: &[(String, String)]) -> Result<Uri, Unwritable> {
    let gone = |name: &str| {
        let name = decoded(name);
        drop.iter().map(String::as_bytes).any(|dropped| dropped == name)
            || set.iter().any(|(key, _)| key.as_bytes() == name)
    };
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let kept = kept.filter(|pair| !gone(pair.split_once('=').map_or(pair, |(name, _)| name)));
    let mut pairs: Vec<String> = kept.map(str::to_owned).collect();
    pairs.extend(set.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))));
    let target = match pairs.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), pairs.join("&")),
    };
    PathAndQuery::try_from(target).map(Uri::from).map_err(|_| Unwritable)
}

/// The bytes of a name in a query; a plus is a blank.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_dropped_by_their_meaning_and_written_escaped() {
        let cases = [
            ("/a?b=1&c=2", &["b"][..], &[][..], "/a?c=2"),
            ("/a?b=1", &["b"], &[], "/a"),
            ("/a?%62=1&d+e=2", &["b", "d e"], &[("x", "1&y=2")], "/a?x=1%26y%3D2"),
            ("/a", &[], &[("user", "anna")], "/a?user=anna"),
            ("/a?user=eve&user=eve", &[], &[("user", "anna")], "/a?user=anna"),
        ];
        for (target, drop, set, expected) in cases {
            let drop: Vec<String> = drop.iter().map(ToString::to_string).collect();
            let set: Vec<_> =
                set.iter().map(|(k, v): &(&str, &str)| (k.to_string(), v.to_string())).collect();
            let uri = edited(&Uri::from_static(target), &drop, &set).unwrap();
            assert_eq!(uri.to_string(), expected, "{target}");
        }
    }

    #[test]
    fn lines_join_as_they_say_and_never_reframe() {
        let line = |name: &'static str, value: &'static str, joining| {
            (HeaderName::from_static(name), HeaderValue::from_static(value), joining)
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("forged"));
        headers.insert("x-kept", HeaderValue::from_static("kept"));
        let lines = vec![
            line("x-user", "anna", Joining::Replace),
            line("x-user", "second", Joining::Replace),
            line("x-kept", "no", Joining::IfAbsent),
            line("x-new", "new", Joining::IfAbsent),
            line("x-none", "no", Joining::IfPresent),
            line("x-kept", "beside", Joining::Append),
            line("content-length", "7", Joining::Replace),
            line("x-mesh-http1", "1", Joining::Replace),
        ];
        join(lines, &mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-user"), ["anna", "second"]);
        assert_eq!((all("x-kept"), all("x-new")), (vec!["kept", "beside"], vec!["new"]));
        assert_eq!(headers.len(), 5);
    }
}

//! Redirects (Gateway API, `HTTPRequestRedirectFilter`): the `Location` of an answer.

use mesh_model::Authority;
use mesh_model::filter::Redirect;

/// What a redirect starts from.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// Host and port of the request.
    pub authority: &'a Authority,
    /// The port of the listener or service.
    pub port: u16,
    /// The normalised path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The prefix that the rule matched, without trailing slash.
    pub matched: &'a str,
}

/// The target of a redirect. The port is left out where it is the scheme's own.
pub fn location(redirect: &Redirect, from: From<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(from.scheme);
    let host = redirect.hostname.as_deref().unwrap_or(from.authority.host());
    let own = if scheme == "https" { 443 } else { 80 };
    let kept = if redirect.scheme.is_some() { own } else { from.port };
    let port = redirect.port.unwrap_or(kept);
    let mut location = format!("{scheme}://{host}");
    if port != own {
        location.push_str(&format!(":{port}"));
    }
    match &redirect.path {
        Some(edit) => location.push_str(&edit.apply(from.path, from.matched)),
        None => location.push_str(from.path),
    }
    if let Some(query) = from.query {
        location.push('?');
        location.push_str(query);
    }
    location
}

#[cfg(test)]
mod tests {
    use mesh_model::filter::PathEdit;

    use super::*;

    #[test]
    fn locations_follow_the_gateway_api() {
        let edit = |scheme: Option<&str>, hostname: Option<&str>, port, path| Redirect {
            scheme: scheme.map(Into::into),
            hostname: hostname.map(Into::into),
            port,
            path,
            status: 302,
        };
        let prefix = |text: &str| Some(PathEdit::Prefix(text.into()));
        let full = |text: &str| Some(PathEdit::Full(text.into()));
        let cases = [
            (edit(None, Some("b.test"), None, None), 80, "http", "http://b.test/a/b?q=1"),
            (edit(Some("https"), None, None, None), 80, "http", "https://a.test/a/b?q=1"),
            (edit(Some("https"), None, None, None), 8080, "http", "https://a.test/a/b?q=1"),
            (edit(Some("https"), None, Some(8443), None), 80, "http", "https://a.test:8443/a/b?q=1"),
            (edit(Some("https"), None, Some(443), None), 80, "http", "https://a.test/a/b?q=1"),
            (edit(Some("http"), None, Some(443), None), 443, "https", "http://a.test:443/a/b?q=1"),
            (edit(Some("http"), None, None, None), 443, "https", "http://a.test/a/b?q=1"),
            (edit(None, None, Some(8083), None), 80, "http", "http://a.test:8083/a/b?q=1"),
            (edit(None, None, None, None), 8080, "http", "http://a.test:8080/a/b?q=1"),
            (edit(None, None, Some(80), None), 8080, "http", "http://a.test/a/b?q=1"),
            (edit(None, None, None, None), 443, "https", "https://a.test/a/b?q=1"),
            (edit(None, None, None, prefix("/x")), 80, "http", "http://a.test/x/b?q=1"),
            (edit(None, None, None, full("/x")), 80, "http", "http://a.test/x?q=1"),
        ];
        let authority = "a.test".parse().expect("an authority");
        for (redirect, port, scheme, expected) in cases {
            let from =
                From { scheme, authority: &authority, port, path: "/a/b", query: Some("q=1"), matched: "/a" };
            assert_eq!(location(&redirect, from), expected);
        }
    }
}

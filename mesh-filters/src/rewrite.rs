//! Rewrites of host and path before forwarding (Gateway API, `HTTPURLRewriteFilter`).

use http::Uri;
use http::uri::PathAndQuery;
use mesh_model::Authority;
use mesh_model::filter::Rewrite;

/// Rewrites the authority and the path of a request. A value that cannot stand in a request leaves its part
/// unchanged; parsing has refused such values before.
pub fn apply(rewrite: &Rewrite, authority: &mut Authority, uri: &mut Uri, matched: &str) {
    if let Some(host) = rewrite.hostname.as_deref().and_then(|host| host.parse().ok()) {
        *authority = host;
    }
    let Some(edit) = &rewrite.path else { return };
    let path = edit.apply(uri.path(), matched);
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    if let Ok(target) = target {
        *uri = Uri::from(target);
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::filter::PathEdit;

    use super::*;

    #[test]
    fn host_and_path_are_rewritten_and_the_query_stays() {
        let rewrite =
            Rewrite { hostname: Some("b.test".into()), path: Some(PathEdit::Prefix("/new".into())) };
        let mut authority = "a.test:8080".parse().expect("an authority");
        let mut uri = Uri::from_static("/old/x?q=%20");
        apply(&rewrite, &mut authority, &mut uri, "/old");
        assert_eq!((authority.to_string().as_str(), uri.to_string().as_str()), ("b.test", "/new/x?q=%20"));
    }
}

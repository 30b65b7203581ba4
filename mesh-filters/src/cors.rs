//! Cross-origin rules (WHATWG Fetch, section 3.2): answers preflight requests, marks the others.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_model::filter::{Cors, Origin};

/// What the rules say about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request is forwarded and its answer carries these headers.
    Forward(HeaderMap),
    /// The request is a preflight: this is its answer, with status 204.
    Preflight(HeaderMap),
    /// The request crosses no origins.
    SameOrigin,
}

/// Applies the rules to a request's head.
pub fn apply(cors: &Cors, method: &Method, headers: &HeaderMap) -> Outcome {
    let Some(origin) = headers.get(ORIGIN) else { return Outcome::SameOrigin };
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = *method == Method::OPTIONS && wanted.is_some();
    let mut answer = HeaderMap::new();
    answer.insert(VARY, HeaderValue::from_static("Origin"));
    let allowed = origin.to_str().is_ok_and(|text| cors.allow_origins.iter().any(|o| admits(o, text)));
    if allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if cors.allow_credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        // Browsers read this one on the answer proper only; the Gateway API asks for it on a preflight's, too.
        list(&mut answer, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers, None);
        if let Some(method) = wanted.filter(|_| preflight) {
            permit(cors, method, headers, &mut answer);
        }
    }
    if preflight { Outcome::Preflight(answer) } else { Outcome::Forward(answer) }
}

fn permit(cors: &Cors, method: &HeaderValue, headers: &HeaderMap, answer: &mut HeaderMap) {
    list(answer, ACCESS_CONTROL_ALLOW_METHODS, &cors.allow_methods, Some(method));
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
    list(answer, ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers, wanted);
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
}

/// Names a list. A list that allows all names what was asked for, so that it also holds with credentials,
/// where `*` means nothing.
fn list(
    answer: &mut HeaderMap,
    name: HeaderName,
    entries: &[std::sync::Arc<str>],
    wanted: Option<&HeaderValue>,
) {
    let all = entries.iter().any(|entry| &**entry == "*");
    let value = match (all, wanted) {
        (true, Some(wanted)) => Ok(wanted.clone()),
        (true, None) => Ok(HeaderValue::from_static("*")),
        (false, _) if entries.is_empty() => return,
        (false, _) => HeaderValue::from_str(&entries.join(", ")),
    };
    if let Ok(value) = value {
        answer.insert(name, value);
    }
}

/// Whether an origin, as browsers write it, is of this shape.
fn admits(shape: &Origin, origin: &str) -> bool {
    let Origin::Pattern { scheme, host, port } = shape else { return true };
    let Some((sent_scheme, rest)) = origin.split_once("://") else { return false };
    let default = match sent_scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let (name, sent_port) = match rest[bracket..].split_once(':') {
        Some((tail, port)) => (&rest[..bracket + tail.len()], port.parse::<u16>().ok()),
        None => (rest, default),
    };
    *sent_scheme == **scheme && sent_port == port.or(default) && host.matches(&name.to_ascii_lowercase())
}

/// Puts the headers of [`Outcome::Forward`] into an answer, in place of what the backend said.
pub fn mark(answer: &mut HeaderMap, marks: HeaderMap) {
    for name in
        [&ACCESS_CONTROL_ALLOW_ORIGIN, &ACCESS_CONTROL_ALLOW_CREDENTIALS, &ACCESS_CONTROL_EXPOSE_HEADERS]
    {
        answer.remove(name);
    }
    for (name, value) in &marks {
        if name == VARY {
            answer.append(name, value.clone());
        } else {
            answer.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[&str], methods: &[&str], headers: &[&str], credentials: bool) -> Cors {
        let origin = |text: &&str| match *text {
            "*" => Origin::Any,
            text => {
                let (scheme, rest) = text.split_once("://").expect("an origin has a scheme");
                let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, p.parse().ok()));
                Origin::Pattern { scheme: scheme.into(), host: host.parse().expect("a host"), port }
            }
        };
        Cors {
            allow_origins: origins.iter().map(origin).collect(),
            allow_methods: methods.iter().map(|m| (*m).into()).collect(),
            allow_headers: headers.iter().map(|h| (*h).into()).collect(),
            expose_headers: vec!["x-one".into(), "x-two".into()],
            allow_credentials: credentials,
            max_age: 3600,
        }
    }

    fn preflight(cors: &Cors, origin: &str, asked: &str) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().expect("a value"));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, "PUT".parse().expect("a value"));
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, asked.parse().expect("a value"));
        let Outcome::Preflight(answer) = apply(cors, &Method::OPTIONS, &headers) else {
            panic!("a preflight")
        };
        let text =
            |(n, v): (&HeaderName, &HeaderValue)| (n.to_string(), v.to_str().expect("text").to_owned());
        answer.iter().filter(|(name, _)| *name != VARY).map(text).collect()
    }

    #[test]
    fn preflights_are_answered_by_the_table() {
        let plain = rules(&["https://a.test", "https://*.b.test"], &["GET", "PUT"], &["x-a", "x-b"], false);
        let open = rules(&["*"], &["*"], &["*"], false);
        let secret = rules(&["*"], &["*"], &["*"], true);
        let ports = rules(&["http://a.test:8080"], &["GET"], &[], false);
        let full = |origin: &str, methods: &str, headers: &str, credentials: bool| {
            let mut expected = vec![("access-control-allow-origin".to_owned(), origin.to_owned())];
            if credentials {
                expected.push(("access-control-allow-credentials".into(), "true".into()));
            }
            expected.push(("access-control-expose-headers".into(), "x-one, x-two".into()));
            expected.push(("access-control-allow-methods".into(), methods.into()));
            if !headers.is_empty() {
                expected.push(("access-control-allow-headers".into(), headers.into()));
            }
            expected.push(("access-control-max-age".into(), "3600".into()));
            expected
        };
        let cases = [
            (&plain, "https://a.test", full("https://a.test", "GET, PUT", "x-a, x-b", false)),
            (&plain, "https://a.test:443", full("https://a.test:443", "GET, PUT", "x-a, x-b", false)),
            (&plain, "https://x.b.test", full("https://x.b.test", "GET, PUT", "x-a, x-b", false)),
            (&plain, "https://x.y.b.test", full("https://x.y.b.test", "GET, PUT", "x-a, x-b", false)),
            (&plain, "https://b.test", vec![]),
            (&plain, "http://a.test", vec![]),
            (&plain, "https://a.test:8443", vec![]),
            (&plain, "https://a.test.evil.test", vec![]),
            (&plain, "https://evila.test", vec![]),
            (&plain, "null", vec![]),
            (&open, "https://any.test", full("https://any.test", "PUT", "x-q", false)),
            (&open, "null", full("null", "PUT", "x-q", false)),
            (&secret, "https://any.test", full("https://any.test", "PUT", "x-q", true)),
            (&ports, "http://a.test:8080", full("http://a.test:8080", "GET", "", false)),
            (&ports, "http://a.test", vec![]),
        ];
        for (cors, origin, expected) in cases {
            assert_eq!(preflight(cors, origin, "x-q"), expected, "{origin}");
        }
    }

    #[test]
    fn answers_are_marked_only_for_allowed_origins_and_never_keep_the_backends_marks() {
        let cors = rules(&["https://a.test"], &["GET"], &[], true);
        let with = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, origin.parse().expect("a value"));
            let Outcome::Forward(marks) = apply(&cors, &Method::GET, &headers) else { panic!("forwarded") };
            let mut answer = HeaderMap::new();
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            mark(&mut answer, marks);
            let of = |name| answer.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
            (of(ACCESS_CONTROL_ALLOW_ORIGIN), of(ACCESS_CONTROL_EXPOSE_HEADERS))
        };
        assert_eq!(with("https://a.test"), (Some("https://a.test".into()), Some("x-one, x-two".into())));
        assert_eq!(with("https://b.test"), (None, None));
        assert_eq!(apply(&cors, &Method::GET, &HeaderMap::new()), Outcome::SameOrigin);
    }
}

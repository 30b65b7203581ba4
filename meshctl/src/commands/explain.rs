//! `meshctl explain 'GET http://reviews/x' --from productpage PATH`: what the mesh would do with a request, and
//! why, without starting anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_model::engine::{Journey, Place, explain_journey};
use mesh_model::{Authority, RequestHead, path};

use crate::local::load::{Loaded, load};
use crate::local::place::Caller;
use crate::terminal::{Output, print, remark};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The request (a method, GET when left out, and a URL), unless --batch names a file of them; then the files
    /// to read: a directory, a file, or - for standard input.
    #[arg(value_names = ["REQUEST", "PATH"], required = true)]
    words: Vec<String>,
    /// The workload that sends it, as NAME or NAMESPACE/NAME. Left out: it comes from outside, to a gateway.
    #[arg(long, value_name = "WORKLOAD")]
    from: Option<String>,
    /// A header of the request, as 'name: value'; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// Explain every request of this file instead: one per line, headers after tabs. JSON is a line per request.
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Arguments {
    /// The request, which a batch leaves out, and the files.
    fn request_and_path(&self) -> anyhow::Result<(Option<&str>, &Path)> {
        match (self.words.as_slice(), &self.batch) {
            ([request, path], None) => Ok((Some(request), Path::new(path))),
            ([path], Some(_)) => Ok((None, Path::new(path))),
            (_, None) => bail!("give a request and the files: meshctl explain 'GET http://HOST/PATH' PATH"),
            (_, Some(_)) => bail!("give the files alone beside --batch: meshctl explain --batch FILE PATH"),
        }
    }
}

/// Explains requests. Exit code 0 when all would be forwarded and allowed, 3 when not.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (request, path) = arguments.request_and_path()?;
    let loaded = load(path)?;
    loaded.view.findings.iter().for_each(|finding| remark(&finding.to_string()));
    let from = arguments.from.as_deref();
    let mut served = true;
    if let Some(request) = request {
        let journey = explain(&loaded, &Request::parse(request, &arguments.headers)?, from)?;
        served = is_served(&journey);
        match arguments.output {
            Output::Json => print(&serde_json::to_string_pretty(&journey)?),
            Output::Text => print(&journey.to_string()),
        }
    }
    if let Some(file) = &arguments.batch {
        let lines = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("{}:{}", file.display(), at + 1);
            let journey = batched(&loaded, line, arguments).with_context(place)?;
            served &= is_served(&journey);
            match arguments.output {
                Output::Json => print(&serde_json::to_string(&journey)?),
                Output::Text => print(&journey.to_string()),
            }
        }
    }
    Ok(if served { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Explains a line of a batch: a request, and headers of its own after tabs.
fn batched(loaded: &Loaded, line: &str, arguments: &Arguments) -> anyhow::Result<Journey> {
    let mut parts = line.split('\t');
    let request = parts.next().unwrap_or_default();
    let headers: Vec<_> = arguments.headers.iter().cloned().chain(parts.map(str::to_owned)).collect();
    explain(loaded, &Request::parse(request, &headers)?, arguments.from.as_deref())
}

fn is_served(journey: &Journey) -> bool {
    journey.decision.status.is_none() && journey.destinations.iter().all(|d| d.allowed)
}

/// A request as written on the command line, normalised as a proxy would.
pub(crate) struct Request {
    method: Method,
    tls: bool,
    authority: Authority,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Request {
    pub(crate) fn parse(text: &str, lines: &[String]) -> anyhow::Result<Self> {
        let (method, url) = text.trim().split_once(char::is_whitespace).unwrap_or(("GET", text.trim()));
        let method: Method = method.parse().with_context(|| format!("{method:?} is not a method"))?;
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .with_context(|| format!("{url:?} has no scheme: write http://HOST/PATH"))?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => bail!("scheme {scheme:?} is neither http nor https"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest[..end].parse().with_context(|| format!("host {:?}", &rest[..end]))?;
        let target = &rest[end..];
        let (raw, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let raw = if raw.is_empty() { "/" } else { raw };
        let path = path::normalize(raw).with_context(|| format!("path {raw:?}"))?.into_owned();
        let headers = lines.iter().map(|line| header(line)).collect::<anyhow::Result<HeaderMap>>()?;
        Ok(Self { method, tls, authority, path, query: query.map(str::to_owned), headers })
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }

    fn port(&self) -> u16 {
        self.authority.port().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

fn header(line: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) =
        line.split_once(':').with_context(|| format!("header {line:?} is not 'name: value'"))?;
    let name = name.trim().parse().with_context(|| format!("header name {name:?}"))?;
    Ok((name, HeaderValue::from_str(value.trim()).with_context(|| format!("header value {value:?}"))?))
}

/// Explains a request on a loaded mesh.
pub(crate) fn explain(loaded: &Loaded, request: &Request, from: Option<&str>) -> anyhow::Result<Journey> {
    let mesh = &loaded.view.mesh;
    let host = request.authority.host();
    let Some(from) = from else {
        let (gateway, port) = crate::local::place::gateway(mesh, request.authority.port(), request.tls)?;
        let sni = request.tls.then_some(host);
        let client = crate::local::place::gateway_identity(&loaded.trust_domain, &gateway)?;
        let place = Place::Gateway { gateway: &gateway, port, sni };
        return Ok(explain_journey(mesh, place, Some(&client), &request.head()));
    };
    let caller = Caller::find(mesh, from)?;
    let (service, port) = caller.service(mesh, host, request.port())?;
    let place = Place::Service { service: &service, port, client_namespace: &caller.namespace };
    Ok(explain_journey(mesh, place, Some(&caller.identity), &request.head()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_people_write_them() {
        let request =
            Request::parse("http://Reviews/a/../b?x=1", &["X-Cohort: beta".to_owned()]).expect("good");
        let read = (
            request.method.as_str(),
            request.authority.host(),
            request.path.as_str(),
            request.query.as_deref(),
        );
        assert_eq!(read, ("GET", "reviews", "/b", Some("x=1")));
        assert_eq!((request.port(), request.headers.len()), (80, 1));
        assert_eq!(Request::parse("DELETE https://a:8443", &[]).expect("good").port(), 8443);
        for bad in ["reviews/x", "GET ftp://a/", "GET http:///x", "GET http://a/%00", "G@T http://a/"] {
            assert!(Request::parse(bad, &[]).is_err(), "{bad}");
        }
    }
}

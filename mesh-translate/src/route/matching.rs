//! What rules ask of a request: paths, methods, headers, query; gRPC methods as paths.

use std::sync::Arc;

use http::{HeaderName, Method};
use mesh_model::matcher::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use mesh_model::path::normalize;
use mesh_model::{FieldPath, Reason};

use super::super::feature::Feature;
use super::rules::Rules;
use crate::objects::grpc::GrpcMethodMatch;
use crate::objects::http::{self as object, HttpMethod, HttpPathMatch, PathMatchType};
use crate::objects::route::MatchType;
use crate::objects::{GrpcMatch, HttpMatch};

/// Any one segment of a path.
const ANY_SEGMENT: &str = "[^/]+";

impl Rules<'_, '_> {
    /// The alternatives that can be read.
    pub(super) fn http_matches(&mut self, written: &[HttpMatch], list: &FieldPath) -> Vec<Match> {
        let read = |(n, m)| self.http_match(m, &list.index(n));
        written.iter().enumerate().filter_map(read).collect()
    }

    fn http_match(&mut self, written: &HttpMatch, path: &FieldPath) -> Option<Match> {
        let location = self.path_match(&written.path, &path.field("path"));
        let headers = self.headers(&written.headers, &path.field("headers"));
        let query = self.query(&written.query_params, &path.field("queryParams"));
        if written.method.is_some() {
            self.needs(Feature::MethodMatching, &path.field("method"));
        }
        if !written.query_params.is_empty() {
            self.needs(Feature::QueryParamMatching, &path.field("queryParams"));
        }
        Some(Match { path: location?, method: written.method.map(method), headers: headers?, query: query? })
    }

    fn path_match(&mut self, written: &HttpPathMatch, path: &FieldPath) -> Option<PathMatch> {
        let value = written.value.as_str();
        if written.kind == PathMatchType::RegularExpression {
            return self.regex(value, &path.field("value")).map(PathMatch::Regex);
        }
        let normalized = match normalize(value) {
            Ok(normalized) => normalized,
            Err(error) => {
                let place = (Reason::InvalidValue, &path.field("value"));
                self.invalid(place, format!("{value:?}: {error}"), "write a path such as /cart", false);
                return None;
            }
        };
        Some(match written.kind {
            PathMatchType::Exact => PathMatch::Exact(Arc::from(&*normalized)),
            _ => PathMatch::prefix(&normalized),
        })
    }

    fn regex(&mut self, pattern: &str, path: &FieldPath) -> Option<Regex> {
        match Regex::new(pattern) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let right = "use the syntax of RE2, without look-around and back-references";
                self.invalid((Reason::UnsupportedValue, path), error.to_string(), right, false);
                None
            }
        }
    }

    fn value(&mut self, kind: MatchType, value: &str, path: &FieldPath) -> Option<ValueMatch> {
        match kind {
            MatchType::Exact => Some(ValueMatch::Exact(Arc::from(value))),
            MatchType::RegularExpression => self.regex(value, path).map(ValueMatch::Regex),
        }
    }

    /// Header conditions; the first of several with one name counts (Gateway API, HTTPHeaderMatch).
    fn headers(&mut self, written: &[object::ValueMatch], list: &FieldPath) -> Option<Vec<HeaderMatch>> {
        let mut headers: Vec<HeaderMatch> = Vec::new();
        for (n, header) in written.iter().enumerate() {
            let path = list.index(n);
            let Ok(name) = HeaderName::try_from(header.name.as_str()) else {
                let message = format!("{:?} is not a header name", header.name);
                self.invalid((Reason::InvalidValue, &path.field("name")), message, "", false);
                return None;
            };
            let value = self.value(header.kind, &header.value, &path.field("value"))?;
            if !headers.iter().any(|known| known.name == name) {
                headers.push(HeaderMatch { name, value });
            }
        }
        Some(headers)
    }

    fn query(&mut self, written: &[object::ValueMatch], list: &FieldPath) -> Option<Vec<QueryMatch>> {
        let mut query: Vec<QueryMatch> = Vec::new();
        for (n, parameter) in written.iter().enumerate() {
            let value = self.value(parameter.kind, &parameter.value, &list.index(n).field("value"))?;
            if !query.iter().any(|known| *known.name == *parameter.name) {
                query.push(QueryMatch { name: Arc::from(parameter.name.as_str()), value });
            }
        }
        Some(query)
    }

    /// gRPC conditions. A method is the path `/<service>/<method>` of its request.
    pub(super) fn grpc_matches(&mut self, written: &[GrpcMatch], list: &FieldPath) -> Vec<Match> {
        let read = |(n, m): (usize, &GrpcMatch)| {
            let path = list.index(n);
            let location = match &m.method {
                None => Some(PathMatch::default()),
                Some(method) => self.grpc_path(method, &path.field("method")),
            };
            let headers = self.headers(&m.headers, &path.field("headers"));
            Some(Match { path: location?, method: None, headers: headers?, query: Vec::new() })
        };
        written.iter().enumerate().filter_map(read).collect()
    }

    fn grpc_path(&mut self, written: &GrpcMethodMatch, path: &FieldPath) -> Option<PathMatch> {
        let part = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (service, method) = (part(&written.service), part(&written.method));
        if written.kind == MatchType::Exact {
            return match (service, method) {
                (None, None) => Some(PathMatch::default()),
                (Some(service), Some(method)) => {
                    Some(PathMatch::Exact(Arc::from(format!("/{service}/{method}"))))
                }
                (Some(service), None) => Some(PathMatch::prefix(&format!("/{service}"))),
                (None, Some(method)) => self
                    .regex(&format!("/{ANY_SEGMENT}/{}", regex::escape(&method)), path)
                    .map(PathMatch::Regex),
            };
        }
        let group = |text: Option<String>| text.map_or(ANY_SEGMENT.to_owned(), |text| format!("(?:{text})"));
        self.regex(&format!("/{}/{}", group(service), group(method)), path).map(PathMatch::Regex)
    }
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Connect => Method::CONNECT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Trace => Method::TRACE,
    }
}

//! What rules do to requests and answers. A filter that cannot be applied blocks its rule: a request must
//! never pass as if the filter were not there.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use mesh_model::filter::{
    Cors, Filter, HeaderEdit, HeaderKey, HeaderLine, Mirror, Origin, PathEdit, Redirect, Rewrite,
};
use mesh_model::{FieldPath, HostPattern, Reason};

use super::super::feature::Feature;
use super::backend::Reference;
use super::rules::Rules;
use crate::objects::grpc::GrpcFilterType;
use crate::objects::http::{self as object, HttpFilterType, PathModifier, PathModifierType, RedirectScheme};
use crate::objects::route::{Header, HeaderModifier, RequestMirror};
use crate::objects::{GrpcFilter, HttpFilter};

impl Rules<'_, '_> {
    pub(super) fn http_filters(&mut self, written: &[HttpFilter], list: &FieldPath) -> Vec<Filter> {
        let mut filters = Vec::new();
        for (n, filter) in written.iter().enumerate() {
            filters.extend(self.http_filter(filter, &list.index(n)));
        }
        let mirrors = filters.iter().filter(|filter| matches!(filter, Filter::Mirror(_))).count();
        if mirrors > 1 {
            self.needs(Feature::MultipleMirrors, list);
        }
        let redirects = filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
        if redirects && filters.iter().any(|filter| matches!(filter, Filter::Rewrite(_))) {
            let message = "a request that is redirected cannot be rewritten too".to_owned();
            self.invalid((Reason::IncompatibleFilters, list), message, "keep one of the two", true);
        }
        filters
    }

    /// Filters of one backend.
    pub(super) fn backend_filters(&mut self, written: &[HttpFilter], list: &FieldPath) -> Vec<Filter> {
        for (n, filter) in written.iter().enumerate() {
            match filter.kind {
                HttpFilterType::RequestHeaderModifier => {
                    self.needs(Feature::BackendRequestHeaders, &list.index(n));
                }
                HttpFilterType::UrlRewrite => _ = self.needs(Feature::BackendUrlRewrite, &list.index(n)),
                _ => {}
            }
        }
        self.http_filters(written, list)
    }

    fn http_filter(&mut self, filter: &HttpFilter, path: &FieldPath) -> Option<Filter> {
        match filter.kind {
            HttpFilterType::Cors => {
                self.needs(Feature::Cors, path);
                self.cors(filter.cors.as_ref()?, &path.field("cors")).map(Filter::Cors)
            }
            HttpFilterType::ExtensionRef => {
                self.refused(path.field("extensionRef"), "a filter of another kind")
            }
            HttpFilterType::ExternalAuth => {
                let auth = filter.external_auth.as_ref()?;
                self.external_auth(auth, &path.field("externalAuth")).map(Filter::ExternalAuth)
            }
            HttpFilterType::RequestHeaderModifier => {
                let edit = filter.request_header_modifier.as_ref()?;
                self.edit(edit, &path.field("requestHeaderModifier")).map(Filter::RequestHeaders)
            }
            HttpFilterType::RequestMirror => {
                let mirror = filter.request_mirror.as_ref()?;
                self.needs(Feature::Mirror, path);
                if mirror.percent.is_some() || mirror.fraction.is_some() {
                    self.needs(Feature::PercentageMirror, path);
                }
                Some(Filter::Mirror(self.mirror(mirror, &path.field("requestMirror"))))
            }
            HttpFilterType::RequestRedirect => {
                let written = filter.request_redirect.as_ref()?;
                self.redirect_features(written, path);
                Some(Filter::Redirect(redirect(written)))
            }
            HttpFilterType::ResponseHeaderModifier => {
                self.needs(Feature::ResponseHeaders, path);
                let edit = filter.response_header_modifier.as_ref()?;
                self.edit(edit, &path.field("responseHeaderModifier")).map(Filter::ResponseHeaders)
            }
            HttpFilterType::UrlRewrite => {
                let rewrite = filter.url_rewrite.as_ref()?;
                if rewrite.hostname.is_some() {
                    self.needs(Feature::HostRewrite, path);
                }
                if rewrite.path.is_some() {
                    self.needs(Feature::PathRewrite, path);
                }
                let hostname = rewrite.hostname.as_deref().map(Arc::from);
                Some(Filter::Rewrite(Rewrite { hostname, path: rewrite.path.as_ref().and_then(path_edit) }))
            }
        }
    }

    fn redirect_features(&mut self, written: &object::RequestRedirect, path: &FieldPath) {
        let needed = [
            (Feature::SchemeRedirect, written.scheme.is_some()),
            (Feature::PortRedirect, written.port.is_some()),
            (Feature::PathRedirect, written.path.is_some()),
            (Feature::Redirect303, written.status_code == 303),
            (Feature::Redirect307, written.status_code == 307),
            (Feature::Redirect308, written.status_code == 308),
        ];
        for (feature, _) in needed.into_iter().filter(|(_, needed)| *needed) {
            self.needs(feature, path);
        }
    }

    pub(super) fn grpc_filters(&mut self, written: &[GrpcFilter], list: &FieldPath) -> Vec<Filter> {
        let mut filters = Vec::new();
        for (n, filter) in written.iter().enumerate() {
            filters.extend(self.grpc_filter(filter, &list.index(n)));
        }
        filters
    }

    fn grpc_filter(&mut self, filter: &GrpcFilter, path: &FieldPath) -> Option<Filter> {
        match filter.kind {
            GrpcFilterType::ExtensionRef => {
                self.refused(path.field("extensionRef"), "a filter of another kind")
            }
            GrpcFilterType::RequestHeaderModifier => {
                self.needs(Feature::GrpcRequestHeaders, path);
                let edit = filter.request_header_modifier.as_ref()?;
                self.edit(edit, &path.field("requestHeaderModifier")).map(Filter::RequestHeaders)
            }
            GrpcFilterType::RequestMirror => {
                let mirror = filter.request_mirror.as_ref()?;
                Some(Filter::Mirror(self.mirror(mirror, &path.field("requestMirror"))))
            }
            GrpcFilterType::ResponseHeaderModifier => {
                let edit = filter.response_header_modifier.as_ref()?;
                self.edit(edit, &path.field("responseHeaderModifier")).map(Filter::ResponseHeaders)
            }
        }
    }

    fn refused(&mut self, path: FieldPath, what: &str) -> Option<Filter> {
        let message = format!("{what} is not supported, so the rule answers 500");
        self.invalid((Reason::UnsupportedValue, &path), message, "remove the filter", true);
        None
    }

    fn mirror(&mut self, mirror: &RequestMirror, path: &FieldPath) -> Mirror {
        let target = self.target(Reference::plain(&mirror.backend_ref), &path.field("backendRef"));
        let (numerator, denominator) = match (&mirror.fraction, mirror.percent) {
            (Some(fraction), _) => (fraction.numerator, fraction.denominator.max(1)),
            (None, Some(percent)) => (percent, 100),
            (None, None) => (1, 1),
        };
        Mirror { target, numerator, denominator }
    }

    pub(super) fn header_name(&mut self, text: &str, path: &FieldPath) -> Option<HeaderName> {
        let name = HeaderName::try_from(text).ok();
        if name.is_none() {
            let message = format!("{text:?} is not a header name");
            self.invalid((Reason::InvalidValue, path), message, "use letters, digits and dashes", true);
        }
        name
    }

    fn edit(&mut self, edit: &HeaderModifier, path: &FieldPath) -> Option<HeaderEdit> {
        let set = self.lines(&edit.set, &path.field("set"))?;
        let add = self.lines(&edit.add, &path.field("add"))?;
        let mut remove = Vec::new();
        for (n, name) in edit.remove.iter().enumerate() {
            remove.push(HeaderKey(self.header_name(name, &path.field("remove").index(n))?));
        }
        Some(HeaderEdit { set, add, remove })
    }

    fn lines(&mut self, headers: &[Header], list: &FieldPath) -> Option<Vec<HeaderLine>> {
        let mut lines: Vec<HeaderLine> = Vec::new();
        for (n, header) in headers.iter().enumerate() {
            let path = list.index(n);
            let name = self.header_name(&header.name, &path.field("name"))?;
            let Ok(value) = HeaderValue::try_from(header.value.as_str()) else {
                let message = format!("{:?} is not a header value", header.value);
                self.invalid(
                    (Reason::InvalidValue, &path.field("value")),
                    message,
                    "use printable ASCII",
                    true,
                );
                return None;
            };
            if !lines.iter().any(|line| line.name == name) {
                lines.push(HeaderLine { name, value });
            }
        }
        Some(lines)
    }

    fn cors(&mut self, cors: &object::Cors, path: &FieldPath) -> Option<Cors> {
        let mut origins = Vec::new();
        for (n, text) in cors.allow_origins.iter().enumerate() {
            let Some(origin) = origin(text) else {
                let path = path.field("allowOrigins").index(n);
                let message = format!("{text:?} is not an origin");
                self.invalid((Reason::InvalidValue, &path), message, "write https://shop.test or *", true);
                return None;
            };
            origins.push(origin);
        }
        let list = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
        Some(Cors {
            allow_origins: origins,
            allow_methods: list(&cors.allow_methods),
            allow_headers: list(&cors.allow_headers),
            expose_headers: list(&cors.expose_headers),
            allow_credentials: cors.allow_credentials.unwrap_or_default(),
            max_age: cors.max_age,
        })
    }
}

/// `*`, or scheme, host (perhaps with a leading `*.` or only `*`) and port.
fn origin(text: &str) -> Option<Origin> {
    if text == "*" {
        return Some(Origin::Any);
    }
    let (scheme, rest) = text.split_once("://")?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (rest, None),
    };
    let host: HostPattern = host.parse().ok()?;
    (!scheme.is_empty() && !rest.is_empty()).then(|| Origin::Pattern {
        scheme: Arc::from(scheme.to_ascii_lowercase()),
        host,
        port,
    })
}

fn redirect(redirect: &object::RequestRedirect) -> Redirect {
    let scheme = redirect.scheme.map(|scheme| match scheme {
        RedirectScheme::Http => Arc::from("http"),
        RedirectScheme::Https => Arc::from("https"),
    });
    Redirect {
        scheme,
        hostname: redirect.hostname.as_deref().map(Arc::from),
        port: redirect.port,
        path: redirect.path.as_ref().and_then(path_edit),
        status: redirect.status_code,
    }
}

fn path_edit(path: &PathModifier) -> Option<PathEdit> {
    match path.kind {
        PathModifierType::ReplaceFullPath => {
            path.replace_full_path.as_deref().map(|p| PathEdit::Full(Arc::from(p)))
        }
        PathModifierType::ReplacePrefixMatch => {
            path.replace_prefix_match.as_deref().map(|p| PathEdit::Prefix(Arc::from(p)))
        }
    }
}

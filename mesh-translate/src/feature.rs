//! The features of the Gateway API that this implementation has, as their names in `GatewayClass` statuses. What
//! a feature does is elsewhere; each place asks here whether it is switched off.

use std::fmt;
use std::str::FromStr;

use super::Settings;

macro_rules! features {
    ($( $variant:ident = $name:literal ),+ $(,)?) => {
        /// A feature, ordered by its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names are those of the Gateway API")]
        pub enum Feature { $( $variant ),+ }

        impl Feature {
            /// Every feature, in the order of the names.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The name in the status of a class.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name ),+ }
            }
        }
    };
}

features! {
    BackendTlsPolicy = "BackendTLSPolicy",
    BackendTlsPolicySan = "BackendTLSPolicySANValidation",
    ClusterTrustBundle = "ClusterTrustBundle",
    GrpcRoute = "GRPCRoute",
    GrpcNamedRule = "GRPCRouteNamedRouteRule",
    GrpcRequestHeaders = "GRPCRouteRequestHeaderModifier",
    Gateway = "Gateway",
    GatewayAddressEmpty = "GatewayAddressEmpty",
    BackendClientCertificate = "GatewayBackendClientCertificate",
    ClientValidation = "GatewayFrontendClientCertificateValidation",
    ClientValidationFallback = "GatewayFrontendClientCertificateValidationInsecureFallback",
    ListenerIsolation = "GatewayHTTPListenerIsolation",
    Misdirected = "GatewayHTTPSListenerDetectMisdirectedRequests",
    Infrastructure = "GatewayInfrastructure",
    ListenerFilters = "GatewayListenerFilters",
    Port8080 = "GatewayPort8080",
    OwnHostnamePrecedence = "GatewayRouteHostnameIntersectionPrecedence",
    StaticAddresses = "GatewayStaticAddresses",
    HttpRoute = "HTTPRoute",
    Redirect303 = "HTTPRoute303RedirectStatusCode",
    Redirect307 = "HTTPRoute307RedirectStatusCode",
    Redirect308 = "HTTPRoute308RedirectStatusCode",
    BackendH2c = "HTTPRouteBackendProtocolH2C",
    BackendWebSocket = "HTTPRouteBackendProtocolWebSocket",
    BackendRequestHeaders = "HTTPRouteBackendRequestHeaderModification",
    BackendTimeout = "HTTPRouteBackendTimeout",
    BackendUrlRewrite = "HTTPRouteBackendURLRewrite",
    Cors = "HTTPRouteCORS",
    DestinationPort = "HTTPRouteDestinationPortMatching",
    HostRewrite = "HTTPRouteHostRewrite",
    MethodMatching = "HTTPRouteMethodMatching",
    NamedRule = "HTTPRouteNamedRouteRule",
    ParentRefPort = "HTTPRouteParentRefPort",
    PathRedirect = "HTTPRoutePathRedirect",
    PathRewrite = "HTTPRoutePathRewrite",
    PortRedirect = "HTTPRoutePortRedirect",
    QueryParamMatching = "HTTPRouteQueryParamMatching",
    Mirror = "HTTPRouteRequestMirror",
    MultipleMirrors = "HTTPRouteRequestMultipleMirrors",
    PercentageMirror = "HTTPRouteRequestPercentageMirror",
    RequestTimeout = "HTTPRouteRequestTimeout",
    ResponseHeaders = "HTTPRouteResponseHeaderModification",
    RetryCodes = "HTTPRouteRetryCodes",
    RetryConnectionError = "HTTPRouteRetryConnectionError",
    SchemeRedirect = "HTTPRouteSchemeRedirect",
    ListenerSet = "ListenerSet",
    ReferenceGrant = "ReferenceGrant",
    TcpRoute = "TCPRoute",
    TlsRoute = "TLSRoute",
    TlsMixed = "TLSRouteModeMixed",
    TlsTerminate = "TLSRouteModeTerminate",
    UdpRoute = "UDPRoute",
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No feature has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a feature that can be switched off")]
pub struct UnknownFeature(String);

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(text: &str) -> Result<Self, UnknownFeature> {
        let found = Self::ALL.iter().find(|feature| feature.as_str() == text);
        found.copied().ok_or_else(|| UnknownFeature(text.to_owned()))
    }
}

impl Settings {
    /// Whether a feature is on.
    pub fn has(&self, feature: Feature) -> bool {
        !self.disabled_features.contains(&feature)
    }

    /// The features that are on, in the order of their names.
    pub fn features(&self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(|feature| self.has(*feature))
    }
}

/// What is said about an object that needs a feature that is off.
pub(super) fn off(feature: Feature) -> String {
    format!("the feature {feature} is switched off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_and_read_back() {
        let names: Vec<_> = Feature::ALL.iter().map(|feature| feature.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
        for feature in Feature::ALL {
            assert_eq!(feature.as_str().parse(), Ok(*feature));
        }
        assert!("Mesh".parse::<Feature>().is_err());
    }
}

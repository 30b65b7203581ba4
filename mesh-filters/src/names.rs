//! Header names of our own, and which names no client may send. No logic about requests.

use http::HeaderName;

/// The id of the decision, on answers we make and on hops between proxies.
pub static DECISION: HeaderName = HeaderName::from_static("x-mesh-decision");
/// On hops between proxies: the application at the other end is to be spoken to in HTTP/1.1.
pub static HTTP1: HeaderName = HeaderName::from_static("x-mesh-http1");
/// On hops between proxies: the method of a request that asks to change the protocol, where it is not GET. The hop
/// itself knows one such method, CONNECT (RFC 8441, section 4).
pub static METHOD: HeaderName = HeaderName::from_static("x-mesh-method");
/// On hops between proxies: the status of an application that was asked to change the protocol. The hop itself
/// cannot tell a change from any other success.
pub static STATUS: HeaderName = HeaderName::from_static("x-mesh-status");
/// The verified identity of the client, set at the destination only by its own proxy.
pub static CLIENT_IDENTITY: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The address of the client, set by the gateway.
pub static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used, set by the gateway.
pub static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// W3C trace context.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Part of the HTTP/2 upgrade of RFC 7540, which RFC 9113 took back.
pub static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// The old spelling of `Connection` towards proxies.
pub static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// How long an idle connection is kept.
pub static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// The deadline of a gRPC call.
pub static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Prefix of the names that only proxies of the mesh may send.
const OURS: &str = "x-mesh-";

/// Names that speak about the client on its behalf: a gateway takes them from nobody.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether only the mesh itself may send a header of this name. Underscores count as hyphens, as origins
/// may read them so.
pub fn is_ours(name: &str) -> bool {
    let ours = |name: &str| name.starts_with(OURS) || name == CLIENT_IDENTITY.as_str();
    // Most names begin otherwise, which one byte tells.
    if !name.starts_with('x') {
        return false;
    }
    if name.as_bytes().contains(&b'_') { ours(&name.replace('_', "-")) } else { ours(name) }
}

/// Whether a header of this name speaks about the client.
pub fn is_forwarded(name: &str) -> bool {
    let named = |name: &str| FORWARDED.contains(&name);
    if !name.starts_with(['f', 'x']) {
        return false;
    }
    if name.as_bytes().contains(&b'_') { named(&name.replace('_', "-")) } else { named(name) }
}

/// Whether `Connection` may not name this header: removing it would change what the request means or who
/// seems to send it.
pub fn is_reserved(name: &str) -> bool {
    const MEANING: [&str; 9] = [
        "authorization",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "origin",
        "traceparent",
        "tracestate",
        "transfer-encoding",
    ];
    is_ours(name) || is_forwarded(name) || MEANING.contains(&name)
}

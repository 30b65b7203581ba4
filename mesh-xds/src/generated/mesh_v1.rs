//! Messages of `mesh.v1`, made from `proto/mesh/v1/*.proto` by `cargo run -p mesh-xds --example generate`. Nothing else.

/// One filter of a rule or backend.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Filter {
    /// What it does. A receiver that knows none of these refuses the resource.
    #[prost(oneof = "FilterAction", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub action: Option<FilterAction>,
}

/// What it does. A receiver that knows none of these refuses the resource.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FilterAction {
    /// Cross-origin rules.
    #[prost(message, tag = "1")]
    Cors(Cors),
    /// A copy to another backend.
    #[prost(message, tag = "2")]
    Mirror(Mirror),
    /// A redirect.
    #[prost(message, tag = "3")]
    Redirect(Redirect),
    /// Edits of the request's headers.
    #[prost(message, tag = "4")]
    RequestHeaders(HeaderEdit),
    /// Edits of the answer's headers.
    #[prost(message, tag = "5")]
    ResponseHeaders(HeaderEdit),
    /// A rewrite of host and path.
    #[prost(message, tag = "6")]
    Rewrite(Rewrite),
    /// A question to an authorization service.
    #[prost(message, tag = "7")]
    ExternalAuth(ExternalAuth),
}

/// A question to an authorization service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExternalAuth {
    /// Who is asked.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// Most bytes of the body that are sent; 0 sends none.
    #[prost(uint32, tag = "2")]
    pub max_body: u32,
    /// How it is asked. A receiver that knows none of these refuses the resource.
    #[prost(oneof = "ExternalAuthProtocol", tags = "3, 4")]
    pub protocol: Option<ExternalAuthProtocol>,
}

/// How it is asked. A receiver that knows none of these refuses the resource.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ExternalAuthProtocol {
    /// By Envoy's `ext_authz`, version 3.
    #[prost(message, tag = "3")]
    Grpc(GrpcAuth),
    /// By a request with the client's method and path.
    #[prost(message, tag = "4")]
    Http(HttpAuth),
}

/// A question over gRPC.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GrpcAuth {
    /// Request headers that are sent; empty sends all.
    #[prost(string, repeated, tag = "1")]
    pub allowed: Vec<String>,
}

/// A question over HTTP.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpAuth {
    /// What is put before the client's path.
    #[prost(string, tag = "1")]
    pub prefix: String,
    /// Request headers that are sent beside the obligatory ones.
    #[prost(string, repeated, tag = "2")]
    pub allowed: Vec<String>,
    /// Headers of the answer that are taken over; empty takes all that are not about the answer itself.
    #[prost(string, repeated, tag = "3")]
    pub taken: Vec<String>,
}

/// Header edits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderEdit {
    /// Headers whose lines are replaced.
    #[prost(message, repeated, tag = "1")]
    pub set: Vec<HeaderLine>,
    /// Headers to which a line is added.
    #[prost(message, repeated, tag = "2")]
    pub add: Vec<HeaderLine>,
    /// Headers that are dropped.
    #[prost(string, repeated, tag = "3")]
    pub remove: Vec<String>,
}

/// A header line.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderLine {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A change of a path.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PathEdit {
    /// What is replaced.
    #[prost(oneof = "PathEditEdit", tags = "1, 2")]
    pub edit: Option<PathEditEdit>,
}

/// What is replaced.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PathEditEdit {
    /// The whole path.
    #[prost(string, tag = "1")]
    Full(String),
    /// The prefix that the rule matched.
    #[prost(string, tag = "2")]
    Prefix(String),
}

/// A redirect. What is absent stays as the client sent it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Redirect {
    /// `http` or `https`.
    #[prost(string, optional, tag = "1")]
    pub scheme: Option<String>,
    /// The host.
    #[prost(string, optional, tag = "2")]
    pub hostname: Option<String>,
    /// The port.
    #[prost(uint32, optional, tag = "3")]
    pub port: Option<u32>,
    /// The path.
    #[prost(message, optional, tag = "4")]
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    #[prost(uint32, tag = "5")]
    pub status: u32,
}

/// A rewrite of host and path.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rewrite {
    /// The host that the backend sees.
    #[prost(string, optional, tag = "1")]
    pub hostname: Option<String>,
    /// The path that the backend sees.
    #[prost(message, optional, tag = "2")]
    pub path: Option<PathEdit>,
}

/// A mirror of a share of the requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mirror {
    /// Where copies go.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// Numerator of the share.
    #[prost(uint32, tag = "2")]
    pub numerator: u32,
    /// Denominator of the share, at least 1.
    #[prost(uint32, tag = "3")]
    pub denominator: u32,
}

/// Cross-origin rules.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Cors {
    /// Origins that may read answers.
    #[prost(message, repeated, tag = "1")]
    pub allow_origins: Vec<AllowedOrigin>,
    /// Methods named in preflight answers.
    #[prost(string, repeated, tag = "2")]
    pub allow_methods: Vec<String>,
    /// Request headers named in preflight answers.
    #[prost(string, repeated, tag = "3")]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    #[prost(string, repeated, tag = "4")]
    pub expose_headers: Vec<String>,
    /// Whether credentials are allowed.
    #[prost(bool, tag = "5")]
    pub allow_credentials: bool,
    /// How long a preflight answer may be kept, in seconds.
    #[prost(uint32, tag = "6")]
    pub max_age: u32,
}

/// An allowed origin; every origin when it has no pattern.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AllowedOrigin {
    /// Origins of this shape only.
    #[prost(message, optional, tag = "1")]
    pub pattern: Option<OriginPattern>,
}

/// The shape of an origin.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OriginPattern {
    /// The scheme.
    #[prost(string, tag = "1")]
    pub scheme: String,
    /// The host, exact or wildcard.
    #[prost(string, tag = "2")]
    pub host: String,
    /// The port; absent for the scheme's default.
    #[prost(uint32, optional, tag = "3")]
    pub port: Option<u32>,
}

/// What a client last held, as written to disk.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LastGood {
    /// Every resource.
    #[prost(message, repeated, tag = "1")]
    pub resources: Vec<HeldResource>,
}

/// One held resource.
/// Its text form leaves out the content.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct HeldResource {
    /// The type URL.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "3")]
    pub version: String,
    /// The payload as received.
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
}

impl std::fmt::Debug for HeldResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeldResource(redacted)")
    }
}

/// One listener of a gateway or listener set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Listener {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// The gateway that serves it.
    #[prost(message, optional, tag = "2")]
    pub gateway: Option<ObjectRef>,
    /// Its name within its object.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The port that matching and redirects use.
    #[prost(uint32, tag = "4")]
    pub port: u32,
    /// The protocol.
    #[prost(enumeration = "ListenerProtocol", tag = "5")]
    pub protocol: i32,
    /// The hosts it serves: `*`, `*.name` or a name.
    #[prost(string, tag = "6")]
    pub hostname: String,
    /// TLS, for HTTPS and TLS listeners.
    #[prost(oneof = "ListenerTls", tags = "7, 8")]
    pub tls: Option<ListenerTls>,
    /// Name of the certificate that the gateway shows to backends; empty when it shows none.
    #[prost(string, tag = "9")]
    pub backend_certificate: String,
    /// What requests must pass before a route is chosen, in this order. Sent to receivers that know it.
    #[prost(message, repeated, tag = "10")]
    pub filters: Vec<ExternalAuth>,
    /// How requests are traced; absent where no policy says so. A receiver that does not know the field traces as it was
    /// started.
    #[prost(message, optional, tag = "11")]
    pub tracing: Option<Tracing>,
}

/// TLS, for HTTPS and TLS listeners.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ListenerTls {
    /// TLS passes to the backend.
    #[prost(message, tag = "7")]
    Passthrough(Passthrough),
    /// TLS ends here.
    #[prost(message, tag = "8")]
    Terminate(Terminate),
}

/// What a policy says of the traces of a gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tracing {
    /// The object that says so.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Source>,
    /// What is recorded; nothing when absent.
    #[prost(message, optional, tag = "2")]
    pub recording: Option<Recording>,
}

/// What is recorded, and who receives it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Recording {
    /// The receiver.
    #[prost(message, optional, tag = "1")]
    pub receiver: Option<Target>,
    /// Headers of every export.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderLine>,
    /// The share of new traces that are recorded.
    #[prost(message, optional, tag = "3")]
    pub sampling: Option<Share>,
    /// The share of those traces that the client records; absent when its decision does not count.
    #[prost(message, optional, tag = "4")]
    pub parents: Option<Share>,
    /// The resource's `service.name`.
    #[prost(string, tag = "5")]
    pub service_name: String,
    /// The name of spans; empty for the method.
    #[prost(string, tag = "6")]
    pub span_name: String,
    /// Further attributes of every span.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<SpanAttribute>,
}

/// A share of requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Share {
    /// The part.
    #[prost(uint32, tag = "1")]
    pub numerator: u32,
    /// The whole, at least 1.
    #[prost(uint32, tag = "2")]
    pub denominator: u32,
}

/// An attribute of every span.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpanAttribute {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where its value comes from. A receiver that knows none of these refuses the resource.
    #[prost(oneof = "SpanAttributeValue", tags = "2, 3, 4")]
    pub value: Option<SpanAttributeValue>,
}

/// Where its value comes from. A receiver that knows none of these refuses the resource.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum SpanAttributeValue {
    /// A header of the request.
    #[prost(string, tag = "2")]
    Header(String),
    /// A text.
    #[prost(string, tag = "3")]
    Literal(String),
    /// A property of the exchange, by its key.
    #[prost(string, tag = "4")]
    Property(String),
}

/// The protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ListenerProtocol {
    /// Never sent.
    Unspecified = 0,
    /// HTTP in plain text.
    Http = 1,
    /// HTTP inside TLS.
    Https = 2,
    /// Opaque TCP.
    Tcp = 3,
    /// TLS by SNI.
    Tls = 4,
    /// UDP.
    Udp = 5,
}

/// TLS that passes through.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Passthrough {}

/// TLS that ends at the listener.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Terminate {
    /// Names of the certificates; the first is the default.
    #[prost(string, repeated, tag = "1")]
    pub certificates: Vec<String>,
    /// How client certificates are checked, if at all.
    #[prost(message, optional, tag = "2")]
    pub client: Option<ClientValidation>,
}

/// How a listener checks client certificates.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientValidation {
    /// DER of the CA certificates.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub roots: Vec<Vec<u8>>,
    /// Whether a client without a valid certificate is let in.
    #[prost(bool, tag = "2")]
    pub insecure_fallback: bool,
}

/// What every resource carries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    /// The resource's name on the wire, `<cluster>/<namespace>/<Kind>/<name>[/<part>]`.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The object it was made from.
    #[prost(message, optional, tag = "2")]
    pub source: Option<Source>,
}

/// The object that a resource was made from.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Source {
    /// Kind of the object, such as `HTTPRoute`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Its namespace and name.
    #[prost(message, optional, tag = "2")]
    pub object: Option<ObjectRef>,
    /// Where its text or version is found; absent when the mesh made it.
    #[prost(oneof = "SourceOrigin", tags = "3, 4")]
    pub origin: Option<SourceOrigin>,
}

/// Where its text or version is found; absent when the mesh made it.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum SourceOrigin {
    /// Generation of an object of an API server.
    #[prost(int64, tag = "3")]
    Generation(i64),
    /// Place in a file.
    #[prost(message, tag = "4")]
    File(FilePlace),
}

/// A document in a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilePlace {
    /// The path as the user gave it.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Line of the document's first key, from 1.
    #[prost(uint32, tag = "2")]
    pub line: u32,
}

/// Namespace and name of an object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ObjectRef {
    /// The namespace; empty for a cluster-scoped object.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// A length of time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    /// Whole seconds.
    #[prost(uint64, tag = "1")]
    pub seconds: u64,
    /// Nanoseconds below one second.
    #[prost(uint32, tag = "2")]
    pub nanos: u32,
}

/// Which resources of a response a client refused; what is not listed was applied.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rejections {
    /// One entry per refused resource.
    #[prost(message, repeated, tag = "1")]
    pub rejections: Vec<Rejection>,
}

/// A refused resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rejection {
    /// The name of the resource.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Why it was refused, in one line.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// An authorization policy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Policy {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// What matching rules do.
    #[prost(enumeration = "PolicyAction", tag = "2")]
    pub action: i32,
    /// Labels that select workloads of the policy's namespace.
    #[prost(btree_map = "string, string", tag = "3")]
    pub selector: std::collections::BTreeMap<String, String>,
    /// The rules, any of which may match.
    #[prost(message, repeated, tag = "4")]
    pub rules: Vec<PolicyRule>,
}

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PolicyAction {
    /// Never sent.
    Unspecified = 0,
    /// Lets the request in.
    Allow = 1,
    /// Only recorded.
    Audit = 2,
    /// Refuses the request.
    Deny = 3,
}

/// A rule: some source, some operation, all conditions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyRule {
    /// Alternatives of the source.
    #[prost(message, repeated, tag = "1")]
    pub from: Vec<PolicySource>,
    /// Alternatives of the operation.
    #[prost(message, repeated, tag = "2")]
    pub to: Vec<PolicyOperation>,
    /// Conditions, all of them.
    #[prost(message, repeated, tag = "3")]
    pub when: Vec<PolicyCondition>,
}

/// Text patterns: one of `any` must match, none of `none`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TextPatterns {
    /// Positive patterns.
    #[prost(string, repeated, tag = "1")]
    pub any: Vec<String>,
    /// Negative patterns.
    #[prost(string, repeated, tag = "2")]
    pub none: Vec<String>,
}

/// Numbers: one of `any` must match, none of `none`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NumberPatterns {
    /// Positive numbers.
    #[prost(uint32, repeated, tag = "1")]
    pub any: Vec<u32>,
    /// Negative numbers.
    #[prost(uint32, repeated, tag = "2")]
    pub none: Vec<u32>,
}

/// Who is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicySource {
    /// Identities without scheme.
    #[prost(message, optional, tag = "1")]
    pub principals: Option<TextPatterns>,
    /// Namespaces of the verified identity.
    #[prost(message, optional, tag = "2")]
    pub namespaces: Option<TextPatterns>,
    /// Service accounts, as `namespace/account`.
    #[prost(message, optional, tag = "3")]
    pub accounts: Option<TextPatterns>,
    /// Source networks, as text.
    #[prost(message, optional, tag = "4")]
    pub addresses: Option<TextPatterns>,
}

/// What is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyOperation {
    /// Hosts.
    #[prost(message, optional, tag = "1")]
    pub hosts: Option<TextPatterns>,
    /// Methods.
    #[prost(message, optional, tag = "2")]
    pub methods: Option<TextPatterns>,
    /// Normalised paths.
    #[prost(message, optional, tag = "3")]
    pub paths: Option<TextPatterns>,
    /// Destination ports.
    #[prost(message, optional, tag = "4")]
    pub ports: Option<NumberPatterns>,
}

/// A further condition. A receiver that does not know the key or the form of the values refuses the resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyCondition {
    /// The property.
    #[prost(enumeration = "ConditionKey", tag = "1")]
    pub key: i32,
    /// The header's name, for a request header.
    #[prost(string, tag = "2")]
    pub header: String,
    /// The values.
    #[prost(oneof = "PolicyConditionValues", tags = "3, 4, 5")]
    pub values: Option<PolicyConditionValues>,
}

/// The values.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PolicyConditionValues {
    /// Networks, as text.
    #[prost(message, tag = "3")]
    Networks(TextPatterns),
    /// Ports.
    #[prost(message, tag = "4")]
    Ports(NumberPatterns),
    /// Text patterns.
    #[prost(message, tag = "5")]
    Texts(TextPatterns),
}

/// The property that a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ConditionKey {
    /// Never sent.
    Unspecified = 0,
    /// `connection.sni`.
    ConnectionSni = 1,
    /// `destination.ip`.
    DestinationIp = 2,
    /// `destination.port`.
    DestinationPort = 3,
    /// `request.headers[<name>]`.
    RequestHeader = 4,
    /// `source.ip`.
    SourceIp = 5,
    /// `source.namespace`.
    SourceNamespace = 6,
    /// `source.principal`.
    SourcePrincipal = 7,
}

/// One route object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Route {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Its kind.
    #[prost(enumeration = "RouteKind", tag = "2")]
    pub kind: i32,
    /// When the object was made, in seconds since 1970; 0 when unknown.
    #[prost(uint64, tag = "3")]
    pub created: u64,
    /// Where it is in force.
    #[prost(message, repeated, tag = "4")]
    pub attachments: Vec<Attachment>,
    /// Its own hostnames; empty takes the listener's.
    #[prost(string, repeated, tag = "5")]
    pub hostnames: Vec<String>,
    /// Its rules, in the object's order.
    #[prost(message, repeated, tag = "6")]
    pub rules: Vec<Rule>,
    /// Set while a policy of the route is not known: its requests are answered with 503.
    #[prost(bool, tag = "7")]
    pub held: bool,
}

/// The kind of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RouteKind {
    /// Never sent.
    Unspecified = 0,
    /// HTTPRoute.
    Http = 1,
    /// GRPCRoute.
    Grpc = 2,
    /// TCPRoute.
    Tcp = 3,
    /// TLSRoute.
    Tls = 4,
    /// UDPRoute.
    Udp = 5,
}

/// A place where a route is in force.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attachment {
    /// Which place.
    #[prost(oneof = "AttachmentPlace", tags = "1, 2")]
    pub place: Option<AttachmentPlace>,
}

/// Which place.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AttachmentPlace {
    /// The name of a listener.
    #[prost(string, tag = "1")]
    Listener(String),
    /// A service.
    #[prost(message, tag = "2")]
    Service(ServiceRef),
}

/// A service, or one of its ports.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServiceRef {
    /// The service.
    #[prost(message, optional, tag = "1")]
    pub service: Option<ObjectRef>,
    /// One of its ports; absent for all.
    #[prost(uint32, optional, tag = "2")]
    pub port: Option<u32>,
}

/// One rule of a route.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rule {
    /// Its name, if it has one.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The alternatives; empty matches everything.
    #[prost(message, repeated, tag = "2")]
    pub matches: Vec<Match>,
    /// What happens to requests and answers.
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
    /// Where requests go.
    #[prost(message, repeated, tag = "4")]
    pub backends: Vec<Backend>,
    /// Limit of the whole exchange.
    #[prost(message, optional, tag = "5")]
    pub request_timeout: Option<Span>,
    /// Limit of one try.
    #[prost(message, optional, tag = "6")]
    pub backend_request_timeout: Option<Span>,
    /// Retries.
    #[prost(message, optional, tag = "7")]
    pub retry: Option<Retry>,
    /// Whether requests of one client stay with an endpoint.
    #[prost(message, optional, tag = "8")]
    pub session: Option<Session>,
}

/// Retries of a rule.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Retry {
    /// Status codes that are retried.
    #[prost(uint32, repeated, tag = "1")]
    pub codes: Vec<u32>,
    /// Tries after the first.
    #[prost(uint32, tag = "2")]
    pub attempts: u32,
    /// Shortest pause between tries.
    #[prost(message, optional, tag = "3")]
    pub backoff: Option<Span>,
}

/// One alternative of a rule: everything in it must match.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Match {
    /// How the path is matched; absent for every path.
    #[prost(oneof = "MatchPath", tags = "1, 2, 3")]
    pub path: Option<MatchPath>,
    /// The method, if one is asked for.
    #[prost(string, optional, tag = "4")]
    pub method: Option<String>,
    /// The headers, all of them.
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<NamedMatch>,
    /// The query parameters, all of them.
    #[prost(message, repeated, tag = "6")]
    pub query: Vec<NamedMatch>,
}

/// How the path is matched; absent for every path.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum MatchPath {
    /// The whole path.
    #[prost(string, tag = "1")]
    Exact(String),
    /// Its leading segments.
    #[prost(string, tag = "2")]
    Prefix(String),
    /// The whole path, by expression.
    #[prost(string, tag = "3")]
    Regex(String),
}

/// A named value that must match.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamedMatch {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How the value is matched.
    #[prost(oneof = "NamedMatchValue", tags = "2, 3")]
    pub value: Option<NamedMatchValue>,
}

/// How the value is matched.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum NamedMatchValue {
    /// The whole value.
    #[prost(string, tag = "2")]
    Exact(String),
    /// The whole value, by expression.
    #[prost(string, tag = "3")]
    Regex(String),
}

/// A weighted backend of a rule.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Backend {
    /// Where it leads.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// Its share, relative to the sum of the rule.
    #[prost(uint32, tag = "2")]
    pub weight: u32,
    /// Filters for requests that choose it.
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
}

/// Where a backend reference leads.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Target {
    /// Where to.
    #[prost(oneof = "TargetTo", tags = "1, 2")]
    pub to: Option<TargetTo>,
}

/// Where to.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum TargetTo {
    /// A port of a service.
    #[prost(message, tag = "1")]
    Service(ServiceTarget),
    /// Nowhere: requests that choose it get 500.
    #[prost(message, tag = "2")]
    Invalid(InvalidTarget),
}

/// A port of a service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServiceTarget {
    /// The service.
    #[prost(message, optional, tag = "1")]
    pub service: Option<ObjectRef>,
    /// Its port.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

/// A reference that cannot be used.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InvalidTarget {
    /// The word of the reason.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// The reference as written.
    #[prost(string, tag = "2")]
    pub reference: String,
}

/// A service: a name, virtual addresses and ports.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Namespace and name.
    #[prost(message, optional, tag = "2")]
    pub name: Option<ObjectRef>,
    /// Virtual addresses, as text.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
    /// The ports.
    #[prost(message, repeated, tag = "4")]
    pub ports: Vec<ServicePort>,
    /// How many of its requests may be retries. A receiver that does not know the field keeps its own limit.
    #[prost(message, optional, tag = "5")]
    pub retry_budget: Option<RetryBudget>,
    /// Whether requests of one client stay with an endpoint. A receiver that does not know the field spreads them.
    #[prost(message, optional, tag = "6")]
    pub session: Option<Session>,
    /// A name outside of the mesh whose addresses are the endpoints; empty for none. A receiver that does not know the
    /// field finds no endpoint.
    #[prost(string, tag = "7")]
    pub hostname: String,
}

/// A limit of retries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RetryBudget {
    /// The object that says so.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Source>,
    /// The share of the requests of the interval.
    #[prost(uint32, tag = "2")]
    pub percent: u32,
    /// For how long a request counts.
    #[prost(message, optional, tag = "3")]
    pub interval: Option<Span>,
    /// Retries that are allowed in any case.
    #[prost(uint32, tag = "4")]
    pub least: u32,
    /// In how long a time.
    #[prost(message, optional, tag = "5")]
    pub least_interval: Option<Span>,
}

/// One port of a service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServicePort {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The port that clients dial.
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// TCP or UDP.
    #[prost(enumeration = "Transport", tag = "3")]
    pub transport: i32,
    /// What is spoken there.
    #[prost(enumeration = "AppProtocol", tag = "4")]
    pub protocol: i32,
}

/// The transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Transport {
    /// Never sent.
    Unspecified = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AppProtocol {
    /// Never sent.
    Unspecified = 0,
    /// Not declared.
    Detect = 1,
    /// HTTP/2 with gRPC.
    Grpc = 2,
    /// HTTP/1.1.
    Http1 = 3,
    /// HTTP/2 with prior knowledge.
    Http2 = 4,
    /// Opaque bytes.
    Tcp = 5,
    /// TLS of the application.
    Tls = 6,
    /// HTTP/1.1 with upgrades.
    WebSocket = 7,
}

/// At most 100 endpoints of one service port.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointChunk {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// The service.
    #[prost(message, optional, tag = "2")]
    pub service: Option<ObjectRef>,
    /// The service's port.
    #[prost(uint32, tag = "3")]
    pub port: u32,
    /// TCP or UDP.
    #[prost(enumeration = "Transport", tag = "4")]
    pub transport: i32,
    /// The endpoints.
    #[prost(message, repeated, tag = "5")]
    pub endpoints: Vec<Endpoint>,
}

/// One address that serves a service port.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    /// Address and port to dial, as text.
    #[prost(string, tag = "1")]
    pub address: String,
    /// The identity that must answer; absent when the endpoint is not meshed.
    #[prost(string, optional, tag = "2")]
    pub identity: Option<String>,
    /// Name of the workload behind it.
    #[prost(string, tag = "3")]
    pub workload: String,
    /// Whether new requests may go there.
    #[prost(bool, tag = "4")]
    pub ready: bool,
    /// Its zone.
    #[prost(string, optional, tag = "5")]
    pub zone: Option<String>,
    /// Its own name below that of its service in DNS.
    #[prost(string, optional, tag = "6")]
    pub hostname: Option<String>,
}

/// How requests of one client find the endpoint that served it first.
/// Its text form leaves out the content.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Session {
    /// The object that says so.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Source>,
    /// Where the client keeps it. A receiver that knows none of these refuses the resource.
    #[prost(oneof = "SessionCarrier", tags = "2, 3")]
    pub carrier: Option<SessionCarrier>,
    /// How long after its beginning it ends; absent for never.
    #[prost(message, optional, tag = "4")]
    pub absolute_timeout: Option<Span>,
    /// Keys of 32 bytes; the first one seals, all of them open.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub keys: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(redacted)")
    }
}

/// Where the client keeps it. A receiver that knows none of these refuses the resource.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum SessionCarrier {
    /// In a cookie.
    #[prost(message, tag = "2")]
    Cookie(SessionCookie),
    /// In the header of this name.
    #[prost(string, tag = "3")]
    Header(String),
}

/// A cookie that carries a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionCookie {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The paths that it is sent for.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Whether the client keeps it as long as the absolute timeout says.
    #[prost(bool, tag = "3")]
    pub permanent: bool,
}

/// A server certificate of listeners.
/// Its text form leaves out the content.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Certificate {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// DER of the chain, leaf first.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub chain: Vec<Vec<u8>>,
    /// DER of the leaf's private key.
    #[prost(bytes = "vec", tag = "3")]
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(redacted)")
    }
}

/// TLS towards the endpoints of a service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BackendTls {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// The service.
    #[prost(message, optional, tag = "2")]
    pub service: Option<ObjectRef>,
    /// One of its ports; absent for all that have no policy of their own.
    #[prost(uint32, optional, tag = "3")]
    pub port: Option<u32>,
    /// The name sent as SNI.
    #[prost(string, tag = "4")]
    pub hostname: String,
    /// Names of which one must be in the certificate.
    #[prost(message, repeated, tag = "5")]
    pub names: Vec<SubjectAltName>,
    /// The roots. A receiver that knows none of these refuses the resource.
    #[prost(oneof = "BackendTlsRoots", tags = "6, 7, 8")]
    pub roots: Option<BackendTlsRoots>,
    /// The certificate that is shown to this backend. A receiver that does not know the field shows none of the backend's
    /// own.
    #[prost(message, optional, tag = "9")]
    pub client: Option<ClientCertificate>,
}

/// The roots. A receiver that knows none of these refuses the resource.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum BackendTlsRoots {
    /// These.
    #[prost(message, tag = "6")]
    Bundle(RootBundle),
    /// None is usable: every connection fails.
    #[prost(message, tag = "7")]
    None(NoRoots),
    /// The system's.
    #[prost(message, tag = "8")]
    System(SystemRoots),
}

/// A certificate that is shown to one backend.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientCertificate {
    /// Name of the certificate.
    #[prost(string, tag = "1")]
    pub certificate: String,
    /// The gateways that have it.
    #[prost(message, repeated, tag = "2")]
    pub gateways: Vec<ObjectRef>,
}

/// A name that a backend's certificate must carry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubjectAltName {
    /// Which name.
    #[prost(oneof = "SubjectAltNameName", tags = "1, 2")]
    pub name: Option<SubjectAltNameName>,
}

/// Which name.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum SubjectAltNameName {
    /// A DNS name.
    #[prost(string, tag = "1")]
    Dns(String),
    /// A URI.
    #[prost(string, tag = "2")]
    Uri(String),
}

/// CA certificates.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RootBundle {
    /// DER of each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub certificates: Vec<Vec<u8>>,
}

/// No usable roots.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NoRoots {}

/// The system's roots.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SystemRoots {}

/// One workload: a pod, or a process of a local mesh.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Workload {
    /// Key and source.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Namespace and name.
    #[prost(message, optional, tag = "2")]
    pub name: Option<ObjectRef>,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The identity it must have.
    #[prost(string, tag = "4")]
    pub identity: String,
    /// Its addresses, as text.
    #[prost(string, repeated, tag = "5")]
    pub addresses: Vec<String>,
    /// Whether clients without mesh TLS may enter, at ports that are not listed.
    #[prost(bool, tag = "6")]
    pub plaintext: bool,
    /// Ports at which they may.
    #[prost(uint32, repeated, tag = "7")]
    pub plaintext_ports: Vec<u32>,
    /// Ports at which they may not.
    #[prost(uint32, repeated, tag = "8")]
    pub identity_ports: Vec<u32>,
    /// The node whose proxy serves it; empty when it has a proxy of its own.
    #[prost(string, tag = "9")]
    pub node: String,
    /// Whether that proxy said that it does.
    #[prost(bool, tag = "10")]
    pub node_confirmed: bool,
    /// Ports at which the node itself asks how the application is.
    #[prost(uint32, repeated, tag = "11")]
    pub probe_ports: Vec<u32>,
    /// Whether it may not reach what the mesh does not know.
    #[prost(bool, tag = "12")]
    pub outside_denied: bool,
    /// Whether the node's proxy leaves its questions for names alone.
    #[prost(bool, tag = "13")]
    pub keeps_names: bool,
}

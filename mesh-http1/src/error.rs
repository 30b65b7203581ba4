//! Why bytes are not HTTP/1. A closed list; what a peer is told about it is its caller's matter.

/// Why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The line with a chunk's size, or the end of its data.
    #[error("the framing of a chunk is broken")]
    Chunk,
    /// A name or a value holds what it must not, or a line has no colon.
    #[error("a header line is malformed")]
    Field,
    /// A line begins with a blank (RFC 9112, section 5.2).
    #[error("a header line is folded")]
    Folded,
    /// Lengths and codings that do not name exactly one end of the body (RFC 9112, section 6.3).
    #[error("the length of the body is ambiguous")]
    Framing,
    /// The connection ended within a message.
    #[error("the message is incomplete")]
    Incomplete,
    /// A line that does not end with CR LF, or CR within a line (RFC 9112, section 2.2).
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// The first line is neither a request's nor a status line.
    #[error("the first line is malformed")]
    StartLine,
    /// The target is of no form that its method may have (RFC 9112, section 3.2).
    #[error("the target of the request is malformed")]
    Target,
    /// The head or the trailers are larger than the limits.
    #[error("the head is too large")]
    TooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version of HTTP is not supported")]
    Version,
}

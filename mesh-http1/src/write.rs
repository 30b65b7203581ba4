//! Heads and framing as bytes, at the end of what is there already. Names, values and targets are written as they
//! are: that they hold nothing which ends a line is the caller's promise, which the types of the `http` crate keep.

/// The end of a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk; trailers may follow, then [`end_of_head`].
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// The first line of a request.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The first line of a response.
pub fn status_line(out: &mut Vec<u8>, status: u16, phrase: &str) {
    if status == 200 && phrase == "OK" {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(phrase.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One header line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The line that names the host that is asked for.
pub fn host(out: &mut Vec<u8>, host: &[u8], port: Option<u16>) {
    out.extend_from_slice(b"host: ");
    out.extend_from_slice(host);
    if let Some(port) = port {
        out.push(b':');
        decimal(out, port.into());
    }
    out.extend_from_slice(b"\r\n");
}

/// The line that says how long the body is.
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The line that says that the body comes in chunks.
pub fn chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The empty line that ends a head or trailers.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of so many bytes, which must not be 0: that would be the last chunk.
pub fn chunk_size(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * place) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

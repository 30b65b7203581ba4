//! HTTP/1.1 as bytes: strict readers of heads, a decoder of bodies, and their writers. No IO, no time, no types of
//! other HTTP crates; what a request means is not known here.
//!
//! ```
//! use mesh_http1::{Progress, ResponseReader, write};
//!
//! let mut bytes = Vec::new();
//! write::status_line(&mut bytes, 200, "OK");
//! write::field(&mut bytes, b"content-length", b"0");
//! write::end_of_head(&mut bytes);
//!
//! let mut reader = ResponseReader::new();
//! assert_eq!(reader.read(&bytes)?, Progress::Done(bytes.len()));
//! assert_eq!(reader.head(&bytes).status, 200);
//! # Ok::<(), mesh_http1::Error>(())
//! ```
#![doc = include_str!("../README.md")]

mod body;
mod error;
mod field;
mod head;
mod lines;
mod request;
mod response;
pub mod write;

pub use body::{Decoder, MAX_CHUNK_LINE, MAX_TRAILERS, Piece};
pub use error::Error;
pub use head::{Fields, Framing, MAX_FIELDS, MAX_HEAD, Progress, Version};
pub use request::{RequestHead, RequestReader};
pub use response::{ResponseHead, ResponseReader};

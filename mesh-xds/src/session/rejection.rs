//! How a NACK says which resources of a response were refused. Everything else about answers lives elsewhere.
//!
//! `error_detail.message` has one line `name: reason` for people; `error_detail.details` has the same as
//! `mesh.v1.Rejections` for programs. A resource that is not listed was applied.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::generated::mesh_v1::{Rejection, Rejections};
use crate::proto::{Any, Status};

/// The type URL of the details.
pub const REJECTIONS_TYPE: &str = "type.googleapis.com/mesh.v1.Rejections";
/// The longest reason that is kept, in bytes.
pub const MAX_REASON: usize = 1024;
const INVALID_ARGUMENT: i32 = 3;
/// The longest message text, in bytes; the details are complete.
const MAX_MESSAGE: usize = 16 << 10;

/// Builds the `error_detail` for refused resources.
pub fn to_status(rejected: &BTreeMap<String, String>) -> Status {
    let rejections = rejected
        .iter()
        .map(|(name, reason)| Rejection { name: name.clone(), reason: one_line(reason) })
        .collect::<Vec<_>>();
    let lines: Vec<String> = rejections.iter().map(|r| format!("{}: {}", r.name, r.reason)).collect();
    let details = Rejections { rejections };
    Status {
        code: INVALID_ARGUMENT,
        message: clip(&lines.join("\n"), MAX_MESSAGE).to_owned(),
        details: vec![Any {
            type_url: REJECTIONS_TYPE.to_owned(),
            value: Bytes::from(details.encode_to_vec()),
        }],
    }
}

/// Reads which resources a NACK refuses, with reasons. Empty when the client does not say: then the whole
/// response counts as refused.
pub fn from_status(status: &Status) -> BTreeMap<String, String> {
    let ours = status.details.iter().filter(|any| any.type_url == REJECTIONS_TYPE);
    ours.filter_map(|any| Rejections::decode(any.value.clone()).ok())
        .flat_map(|details| details.rejections)
        .map(|r| (r.name, one_line(&r.reason)))
        .collect()
}

/// A reason as one printable line of at most [`MAX_REASON`] bytes.
pub fn one_line(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clip(&printable, MAX_REASON).to_owned()
}

fn clip(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_survive_the_wire_and_stay_one_line_each() {
        let rejected = BTreeMap::from([
            ("a/b: c".to_owned(), "bad\nregex".to_owned()),
            ("long".to_owned(), "\u{e9}".repeat(MAX_REASON)),
        ]);
        let status = Status::decode(to_status(&rejected).encode_to_vec().as_slice()).expect("own bytes");
        let read = from_status(&status);
        assert_eq!(read["a/b: c"], "bad regex");
        assert_eq!(read["long"].len(), MAX_REASON);
        assert!(status.message.starts_with("a/b: c: bad regex\nlong: "));
    }

    #[test]
    fn a_foreign_status_names_no_resource() {
        let status = Status { code: 13, message: "local/shop/Route/a: no".into(), details: vec![] };
        assert!(from_status(&status).is_empty());
        let broken = Any { type_url: REJECTIONS_TYPE.into(), value: Bytes::from_static(&[0xff]) };
        assert!(from_status(&Status { details: vec![broken], ..status }).is_empty());
    }
}

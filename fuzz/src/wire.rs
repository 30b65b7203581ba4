//! Targets for what peers of the mesh send: request heads, resources on the wire, the last-good snapshot.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use mesh_model::{Endpoint, Kind, ObjectName, Origin, Session, SessionCarrier, SessionKey, SourceRef, path};
use mesh_proxy::http::head::{self, Sender};
use mesh_proxy::layers::session::{Sessions, Visit};
use mesh_xds::lastgood::{self, FormatError, Held};
use mesh_xds::{Key, native};

use crate::planted;

/// Names that speak about a connection: none of them passes.
const HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "x-mesh-http1"];

/// A request head as text, one line each: `METHOD TARGET`, then `name: value`. What is accepted is canonical and
/// says nothing about the connection.
pub fn http_head(bytes: &[u8]) {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let Some(request) = request(bytes, version) else { return };
        let (mut parts, ()) = request.into_parts();
        let Ok(accepted) = head::accept(&mut parts, Sender::Outside) else { continue };
        let target = parts.uri.path();
        assert_eq!(path::normalize(target).as_deref(), Ok(target), "the path is not canonical");
        assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none());
        assert_eq!(accepted.authority.to_string().parse().as_ref(), Ok(&accepted.authority));
        assert!(!accepted.http1, "only a peer says that");
        for name in HOP {
            assert!(!parts.headers.contains_key(*name), "{name}");
        }
        planted(parts.uri.query().is_some_and(|query| !matches!(query, "" | "x=1")));
    }
}

/// Lines of `Cookie`: nobody without the key makes a session, and what is told instead is one and short.
pub fn session(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(COOKIE, value);
    }
    let cart = ObjectName::new("shop", "cart");
    let session = Arc::new(Session {
        source: SourceRef::new("Service", cart.clone(), Origin::Builtin),
        carrier: SessionCarrier::Cookie {
            name: "s".parse().expect("a name"),
            path: "/".parse().expect("a path"),
            permanent: false,
        },
        absolute_timeout: None,
        keys: vec![SessionKey::new(*b"what no input can hold or guess!")],
    });
    let ready = [1, 2].map(|last| Endpoint {
        address: ([10, 0, 0, last], 80).into(),
        identity: None,
        workload: Arc::from("cart"),
        ready: true,
        zone: None,
        hostname: None,
    });
    let sessions = Sessions::default();
    let visit = Visit::new(&session, (&cart, 80), &headers, UNIX_EPOCH, false);
    assert_eq!(sessions.held(&visit, &Arc::from(ready.clone())), None, "somebody made a session");
    let mut answer = HeaderMap::new();
    visit.mark((ready[0].address, "cart"), &mut answer);
    let told = answer.get(SET_COOKIE).expect("a session is told");
    assert!(answer.len() == 1 && told.len() < 250 && told.to_str().is_ok());
    planted(visit.brought() > 1);
}

fn request(bytes: &[u8], version: Version) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    *request.version_mut() = version;
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// A resource on the wire, its kind in the first byte: what decodes encodes to the same resource.
pub fn native(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let Ok(resource) = native::decode(&kind.type_url(), body) else { return };
    assert_eq!(resource.key().kind, kind);
    let encoded = native::encode(&resource);
    let again = native::decode(&kind.type_url(), &encoded);
    assert_eq!(again.as_ref(), Ok(&resource));
    assert_eq!(native::encode(&resource), encoded);
    planted(&*resource.key().object.namespace != "default");
}

/// The last-good snapshot: damaged bytes are refused, and what was written is read again. Lines of the input are
/// names of resources.
pub fn last_good(bytes: &[u8]) {
    let _ = lastgood::read(bytes);
    let Some(text) = crate::text(bytes) else { return };
    let types = mesh_xds::Types::mesh();
    let held = |line: &str| {
        let key = Key::new(types.at(line.len() % 3).clone(), line);
        Held {
            key,
            version: mesh_xds::Version::of(line.as_bytes()),
            body: Bytes::copy_from_slice(line.as_bytes()),
        }
    };
    let held: Vec<Held> = text.lines().map(held).collect();
    let saved = UNIX_EPOCH + Duration::from_millis(bytes.len() as u64);
    let written = lastgood::write(saved, &held);
    match lastgood::read(&written) {
        Ok(read) => assert!(read.saved == saved && read.resources.len() == held.len()),
        Err(FormatError::Duplicate(_)) => planted(true),
        Err(error) => panic!("what was written cannot be read: {error}"),
    }
    let mut turned = written;
    let at = bytes.len() * 7 % turned.len();
    turned[at] ^= 1;
    assert!(lastgood::read(&turned).is_err(), "a turned bit at {at} is not seen");
}

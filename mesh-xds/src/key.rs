//! Names of what travels: type URLs and their order, resource keys, content versions. No resources here.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use mesh_model::{Kind, ResourceKey};

/// The type URL of a resource type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeUrl(Arc<str>);

impl TypeUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self(Arc::from(url))
    }
}

impl From<Kind> for TypeUrl {
    fn from(kind: Kind) -> Self {
        Self(Arc::from(kind.type_url()))
    }
}

impl Borrow<str> for TypeUrl {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resource types of a service, in the order in which additions travel: what is referenced comes before
/// what refers to it. Removals travel in the reverse order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Types(Arc<[TypeUrl]>);

impl Types {
    /// Types in the given order.
    pub fn new(order: impl IntoIterator<Item = TypeUrl>) -> Self {
        Self(order.into_iter().collect())
    }

    /// The mesh's own types, in the order of [`Kind::ALL`].
    pub fn mesh() -> Self {
        Self::new(Kind::ALL.map(TypeUrl::from))
    }

    /// The place of a type in the order, if the service has it.
    pub fn rank(&self, url: &str) -> Option<usize> {
        self.0.iter().position(|t| t.as_str() == url)
    }

    /// The type at a place.
    ///
    /// # Panics
    /// When the rank did not come from [`Types::rank`] of this value.
    pub fn at(&self, rank: usize) -> &TypeUrl {
        &self.0[rank]
    }

    /// Every type, in order.
    pub fn iter(&self) -> impl Iterator<Item = &TypeUrl> {
        self.0.iter()
    }
}

/// A resource on the wire: its type and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The type URL.
    pub type_url: TypeUrl,
    /// The name, unique within the type.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its two parts.
    pub fn new(type_url: TypeUrl, name: impl Into<Arc<str>>) -> Self {
        Self { type_url, name: name.into() }
    }

    /// The mesh's key, when the type is one of the mesh's and the name has its shape and kind.
    pub fn resource_key(&self) -> Option<ResourceKey> {
        let kind = Kind::from_type_url(self.type_url.as_str())?;
        self.name.parse().ok().filter(|key: &ResourceKey| key.kind == kind)
    }
}

impl From<&ResourceKey> for Key {
    fn from(key: &ResourceKey) -> Self {
        Self { type_url: key.kind.into(), name: Arc::from(key.to_string()) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_url, self.name)
    }
}

/// The version of a resource: of ours, 32 hexadecimal digits of the content's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Arc<str>);

impl Version {
    /// The version of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let hex = |byte: &u8| [byte >> 4, byte & 15].map(|n| char::from_digit(u32::from(n), 16));
        let text: String = digest.as_ref()[..16].iter().flat_map(hex).flatten().collect();
        Self(Arc::from(text))
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_half_of_the_sha256_of_the_content() {
        assert_eq!(Version::of(b"").as_str(), "e3b0c44298fc1c149afbf4c8996fb924");
        assert_ne!(Version::of(b"a"), Version::of(b"b"));
    }

    #[test]
    fn keys_of_the_mesh_travel_as_type_url_and_name() {
        let key: ResourceKey = "local/shop/Route/cart".parse().expect("a key");
        let wire = Key::from(&key);
        assert_eq!(wire.to_string(), "type.googleapis.com/mesh.v1.Route local/shop/Route/cart");
        assert_eq!(wire.resource_key(), Some(key));
        assert_eq!(Key::new(Kind::Policy.into(), "local/shop/Route/cart").resource_key(), None);
        assert_eq!(Types::mesh().rank("type.googleapis.com/mesh.v1.Workload"), Some(0));
    }
}

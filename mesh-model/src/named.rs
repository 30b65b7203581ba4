//! Keys that are a name and more, looked up without owning the name: each request does that, and a copy of a name costs
//! two counts that all threads share. Ask a map of [`Named`] for a `&dyn NameAnd<_>` made of a reference to the name.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use crate::name::ObjectName;

/// The name of something, and which part of it.
pub type Named<R> = (ObjectName, R);

/// What a key and a question for it have in common.
pub trait NameAnd<R> {
    /// The name, and which part of it.
    fn parts(&self) -> (&ObjectName, R);
}

impl<R: Copy> NameAnd<R> for Named<R> {
    fn parts(&self) -> (&ObjectName, R) {
        (&self.0, self.1)
    }
}

impl<R: Copy> NameAnd<R> for (&ObjectName, R) {
    fn parts(&self) -> (&ObjectName, R) {
        *self
    }
}

impl<'a, R: Copy + 'a> Borrow<dyn NameAnd<R> + 'a> for Named<R> {
    fn borrow(&self) -> &(dyn NameAnd<R> + 'a) {
        self
    }
}

/// As the key itself: a reference hashes as what it refers to.
impl<R: Hash> Hash for dyn NameAnd<R> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<R: PartialEq> PartialEq for dyn NameAnd<R> + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<R: Eq> Eq for dyn NameAnd<R> + '_ {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_borrowed_name_finds_what_was_kept_by_an_owned_one() {
        let name = |text: &str| ObjectName::new("shop", text);
        let mut map: HashMap<Named<Option<u16>>, u8> = HashMap::default();
        map.insert((name("cart"), Some(80)), 1);
        map.insert((name("cart"), None), 2);
        let find = |text, port: Option<u16>| {
            let key: &dyn NameAnd<_> = &(&name(text), port);
            map.get(key).copied()
        };
        assert_eq!(find("cart", Some(80)), Some(1));
        assert_eq!(find("cart", None), Some(2));
        assert_eq!(find("cart", Some(81)), None);
        assert_eq!(find("till", Some(80)), None);
    }
}

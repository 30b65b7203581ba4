//! The rules of one hostname, found by path in time that does not grow with their number.
//!
//! Exact paths and prefixes are hashed; a request costs one look-up per leading segment, up to the deepest
//! prefix that exists. Rules of one path are found by the values of what they compare. Only expressions are
//! tried one after another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::HeaderName;
use rpds::RedBlackTreeMapSync;

use super::hashed::HashTrieMapSync;
use super::table::{Candidate, Class, Rank};
use crate::engine::query;
use crate::facts::RequestHead;
use crate::matcher::{Match, PathMatch, ValueMatch, header_value};

/// Up to this many rules of one path are simply tried in order.
const FEW: usize = 8;

type Ranked = RedBlackTreeMapSync<Arc<Rank>, Candidate>;

/// The rules of one hostname.
#[derive(Debug, Clone, Default)]
pub(super) struct PathTable {
    exact: HashTrieMapSync<Arc<str>, Rules>,
    prefix: HashTrieMapSync<Arc<str>, Rules>,
    regex: Ranked,
    /// Segments of the deepest prefix ever inserted; only bounds the search.
    depth: usize,
}

impl PathTable {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.regex.is_empty()
    }

    pub(super) fn find(&self, head: &RequestHead<'_>) -> Option<&Candidate> {
        let exact = || if self.exact.is_empty() { None } else { self.exact.get(head.path)?.find(head) };
        let regex =
            || self.regex.values().find(|c| c.alternative().path.matches(head.path) && admits(c, head));
        exact().or_else(regex).or_else(|| self.find_prefix(head))
    }

    /// The first rule by precedence, whatever it asks.
    pub(super) fn first(&self) -> Option<&Candidate> {
        self.ordered().into_iter().next()
    }

    /// Every rule, best first.
    pub(super) fn ordered(&self) -> Vec<&Candidate> {
        let mut all: Vec<_> = self.exact.values().chain(self.prefix.values()).flat_map(Rules::all).collect();
        all.extend(self.regex.values());
        all.sort_by(|a, b| a.rank.cmp(&b.rank));
        all
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        let (map, path) = match &candidate.alternative().path {
            PathMatch::Exact(path) => (&mut self.exact, Arc::clone(path)),
            PathMatch::Prefix(path) => {
                self.depth = self.depth.max(path.matches('/').count());
                (&mut self.prefix, Arc::clone(path))
            }
            PathMatch::Regex(_) => return self.regex.insert_mut(Arc::clone(&candidate.rank), candidate),
        };
        let mut rules = map.get(&path).cloned().unwrap_or_default();
        rules.insert(candidate);
        map.insert_mut(path, rules);
    }

    pub(super) fn remove(&mut self, candidate: &Candidate) {
        let (map, path) = match &candidate.alternative().path {
            PathMatch::Exact(path) => (&mut self.exact, path),
            PathMatch::Prefix(path) => (&mut self.prefix, path),
            PathMatch::Regex(_) => {
                self.regex.remove_mut(&candidate.rank);
                return;
            }
        };
        let Some(mut rules) = map.get(path).cloned() else { return };
        rules.remove(candidate);
        if rules.all.is_empty() {
            map.remove_mut(path);
        } else {
            map.insert_mut(Arc::clone(path), rules);
        }
    }

    /// Tries the leading segments of the path, longest first.
    fn find_prefix(&self, head: &RequestHead<'_>) -> Option<&Candidate> {
        if self.prefix.is_empty() {
            return None;
        }
        let mut ends: [usize; 16] = [0; 16];
        let mut count = 0;
        let boundaries = head.path.match_indices('/').skip(1).map(|(at, _)| at).chain([head.path.len()]);
        let mut rest = Vec::new();
        for end in boundaries.take(self.depth) {
            if count < ends.len() {
                ends[count] = end;
                count += 1;
            } else {
                rest.push(end);
            }
        }
        let longest_first = rest.iter().rev().chain(ends[..count].iter().rev()).copied();
        let found = longest_first.filter_map(|end| self.prefix.get(&head.path[..end]));
        found.chain(self.prefix.get("")).find_map(|rules| rules.find(head))
    }
}

/// The rules of one path.
#[derive(Debug, Clone, Default)]
struct Rules {
    all: Ranked,
    shapes: Option<Shapes>,
}

impl Rules {
    fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.all.values()
    }

    fn find(&self, head: &RequestHead<'_>) -> Option<&Candidate> {
        match &self.shapes {
            None => self.all.values().find(|candidate| admits(candidate, head)),
            Some(shapes) => shapes.find(head),
        }
    }

    fn insert(&mut self, candidate: Candidate) {
        self.all.insert_mut(Arc::clone(&candidate.rank), candidate.clone());
        match &mut self.shapes {
            Some(shapes) => shapes.insert(candidate),
            None if self.all.size() > FEW => {
                let mut shapes = Shapes::default();
                self.all.values().cloned().for_each(|c| shapes.insert(c));
                self.shapes = Some(shapes);
            }
            None => {}
        }
    }

    fn remove(&mut self, candidate: &Candidate) {
        self.all.remove_mut(&candidate.rank);
        if let Some(shapes) = &mut self.shapes {
            shapes.remove(candidate);
        }
    }
}

/// What the equal-only rules of one form compare: which names, and whether the method.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    class: Class,
    method: bool,
    headers: Vec<Arc<str>>,
    query: Vec<Arc<str>>,
}

/// The rules of one path by shape and hashed values; rules with expressions apart, in order.
#[derive(Debug, Clone, Default)]
struct Shapes {
    equal: RedBlackTreeMapSync<Arc<Shape>, HashTrieMapSync<u64, Ranked>>,
    other: Ranked,
}

impl Shapes {
    fn find(&self, head: &RequestHead<'_>) -> Option<&Candidate> {
        let mut best: Option<&Candidate> = None;
        for (shape, values) in self.equal.iter() {
            if best.is_some_and(|b| b.rank.class < shape.class) {
                break;
            }
            let found = shape.hash_request(head).and_then(|hash| values.get(&hash));
            let found = found.and_then(|ranked| ranked.values().find(|c| admits(c, head)));
            best = better(best, found);
        }
        let before = |c: &&Candidate| best.is_none_or(|b| c.rank < b.rank);
        let other = self.other.values().take_while(before).find(|c| admits(c, head));
        better(best, other)
    }

    fn insert(&mut self, candidate: Candidate) {
        let Some((shape, hash)) = Shape::of(candidate.alternative()) else {
            return self.other.insert_mut(Arc::clone(&candidate.rank), candidate);
        };
        let shape = Arc::new(shape);
        let mut values = self.equal.get(&shape).cloned().unwrap_or_default();
        let ranked = values.get(&hash).cloned().unwrap_or_default();
        values.insert_mut(hash, ranked.insert(Arc::clone(&candidate.rank), candidate));
        self.equal.insert_mut(shape, values);
    }

    fn remove(&mut self, candidate: &Candidate) {
        let Some((shape, hash)) = Shape::of(candidate.alternative()) else {
            self.other.remove_mut(&candidate.rank);
            return;
        };
        let Some(values) = self.equal.get(&shape) else { return };
        let rest = values.get(&hash).map(|ranked| ranked.remove(&candidate.rank)).unwrap_or_default();
        let values = if rest.is_empty() { values.remove(&hash) } else { values.insert(hash, rest) };
        if values.is_empty() {
            self.equal.remove_mut(&shape);
        } else {
            self.equal.insert_mut(Arc::new(shape), values);
        }
    }
}

impl Shape {
    /// The shape of an alternative and the hash of its values; `None` when it holds an expression.
    fn of(m: &Match) -> Option<(Self, u64)> {
        let exact = |value: &ValueMatch| match value {
            ValueMatch::Exact(text) => Some(Arc::clone(text)),
            ValueMatch::Regex(_) => None,
        };
        let mut headers = Vec::new();
        for header in &m.headers {
            headers.push((Arc::<str>::from(header.name.as_str()), exact(&header.value)?));
        }
        let mut query = Vec::new();
        for parameter in &m.query {
            query.push((Arc::clone(&parameter.name), exact(&parameter.value)?));
        }
        headers.sort();
        query.sort();
        let mut hasher = DefaultHasher::new();
        m.method.as_ref().map(http::Method::as_str).hash(&mut hasher);
        headers.iter().chain(&query).for_each(|(_, value)| (**value).hash(&mut hasher));
        let shape = Self {
            class: Class::of(m),
            method: m.method.is_some(),
            headers: headers.into_iter().map(|(name, _)| name).collect(),
            query: query.into_iter().map(|(name, _)| name).collect(),
        };
        Some((shape, hasher.finish()))
    }

    /// The hash of what a request holds in the places of this shape; `None` when something is missing.
    fn hash_request(&self, head: &RequestHead<'_>) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        self.method.then(|| head.method.as_str()).hash(&mut hasher);
        for name in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            (*header_value(head.headers, &name)?).hash(&mut hasher);
        }
        for name in &self.query {
            (*query::value(head.query?, name)?).hash(&mut hasher);
        }
        Some(hasher.finish())
    }
}

fn better<'c>(a: Option<&'c Candidate>, b: Option<&'c Candidate>) -> Option<&'c Candidate> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.rank <= b.rank { a } else { b }),
        (one, other) => one.or(other),
    }
}

/// Whether everything but the path matches.
fn admits(candidate: &Candidate, head: &RequestHead<'_>) -> bool {
    let m = candidate.alternative();
    m.method.as_ref().is_none_or(|method| method == head.method)
        && m.headers.iter().all(|header| header.matches(head.headers))
        && m.query.iter().all(|q| {
            head.query
                .and_then(|text| query::value(text, &q.name))
                .is_some_and(|value| q.value.matches(&value))
        })
}

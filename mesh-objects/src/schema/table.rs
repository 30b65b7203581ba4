//! The schemas, read once per process: those generated from the Gateway API and our own. No checking.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value as Json;

use super::format::Format;

const GENERATED: &str = include_str!("../generated/schemas.json");
const OWN: &str = include_str!("own.json");

/// The number of a schema.
pub(super) type Id = usize;

/// One schema node. Bounds that are absent do not bind.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) all_of: Vec<Id>,
    pub(super) any_of: Vec<Id>,
    pub(super) bounds: Bounds,
    pub(super) default: Option<Json>,
    pub(super) items: Option<Id>,
    pub(super) key_format: Option<Format>,
    /// Fields that make an item of a list unique.
    pub(super) keys: Vec<String>,
    pub(super) kind: Option<Kind>,
    pub(super) negated: Option<Id>,
    pub(super) one_of: Vec<Id>,
    /// Any further fields are allowed and kept.
    pub(super) open: bool,
    /// Written by hand, for an object whose absent and null fields mean the same.
    pub(super) own: bool,
    pub(super) pattern: Option<Pattern>,
    pub(super) properties: BTreeMap<String, Id>,
    pub(super) required: Vec<String>,
    pub(super) rules: Vec<Rule>,
    /// Values are not repeated in messages.
    pub(super) secret: bool,
    /// Items of the list are unique.
    pub(super) set: bool,
    pub(super) values: Option<Id>,
}

/// Limits of a value.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Bounds {
    #[serde(rename = "enum")]
    pub(super) allowed: Vec<Json>,
    pub(super) format: Option<Format>,
    pub(super) max_items: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) max_properties: Option<usize>,
    pub(super) maximum: Option<i64>,
    pub(super) min_items: usize,
    pub(super) min_length: usize,
    pub(super) min_properties: usize,
    pub(super) minimum: Option<i64>,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    Array,
    Boolean,
    IntOrString,
    Integer,
    Object,
    String,
}

/// A pattern, compiled when it is first needed.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Whether a text matches. A pattern that cannot be compiled matches nothing; a test compiles all.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    pub(super) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&self.text).ok()).as_ref()
    }
}

/// A rule that spans several fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) message: String,
    pub(super) rule: String,
    #[serde(skip)]
    pub(super) program: OnceLock<Option<cel::Program>>,
}

/// Every schema.
#[derive(Debug, Default)]
pub(super) struct Registry {
    nodes: Vec<Schema>,
    kinds: BTreeMap<String, Id>,
}

/// The schemas of this build.
pub(super) fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        Registry::load(GENERATED, OWN).expect("the schemas of the build are well formed: a test reads them")
    });
    &REGISTRY
}

impl Registry {
    /// The schema of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<Id> {
        self.kinds.get(&format!("{api_version} {kind}")).copied()
    }

    /// The schema of a number.
    pub(super) fn schema(&self, id: Id) -> &Schema {
        &self.nodes[id]
    }

    /// Every schema.
    #[cfg(test)]
    pub(super) fn schemas(&self) -> &[Schema] {
        &self.nodes
    }

    fn load(generated: &str, own: &str) -> Result<Self, serde_json::Error> {
        let generated: GeneratedFile = serde_json::from_str(generated)?;
        let own: OwnFile = serde_json::from_str(own)?;
        let mut registry = Self { nodes: Vec::new(), kinds: generated.kinds };
        for raw in generated.nodes {
            let schema = registry.schema_of(raw, &BTreeMap::new());
            registry.nodes.push(schema);
        }
        let names = registry.own_definitions(own.defs);
        for (name, raw) in own.kinds {
            let id = registry.add_own(raw, &names);
            registry.kinds.insert(name, id);
        }
        registry.overlay(&names);
        Ok(registry)
    }

    /// Adds named schemas. A name may be used before its definition, so numbers are given out first.
    fn own_definitions(&mut self, defs: BTreeMap<String, Raw>) -> BTreeMap<String, Id> {
        let names: BTreeMap<_, _> = defs.keys().cloned().zip(self.nodes.len()..).collect();
        self.nodes.resize_with(self.nodes.len() + defs.len(), Schema::default);
        for (name, raw) in defs {
            let schema = self.schema_of(raw, &names);
            self.nodes[names[&name]] = Schema { own: true, ..schema };
        }
        names
    }

    fn add_own(&mut self, raw: Raw, names: &BTreeMap<String, Id>) -> Id {
        let schema = self.schema_of(raw, names);
        self.nodes.push(Schema { own: true, ..schema });
        self.nodes.len() - 1
    }

    /// What resource definitions leave to the API server: metadata, `apiVersion` and `kind`, and the
    /// operators of label selectors, which upstream checks in code only.
    fn overlay(&mut self, names: &BTreeMap<String, Id>) {
        let roots: Vec<Id> = self.kinds.values().copied().collect();
        for id in roots {
            let root = &mut self.nodes[id];
            root.properties.insert("metadata".to_owned(), names["ObjectMeta"]);
            root.required.extend(["apiVersion", "kind", "metadata"].map(str::to_owned));
            root.required.sort();
            root.required.dedup();
        }
        for schema in &mut self.nodes {
            if schema.properties.keys().map(String::as_str).eq(["key", "operator", "values"]) {
                schema.properties.insert("operator".to_owned(), names["LabelOperator"]);
            }
        }
    }

    fn schema_of(&mut self, raw: Raw, names: &BTreeMap<String, Id>) -> Schema {
        let mut id = |nested: Nested| self.resolve(nested, names);
        Schema {
            all_of: raw.all_of.into_iter().map(&mut id).collect(),
            any_of: raw.any_of.into_iter().map(&mut id).collect(),
            items: raw.items.map(&mut id),
            negated: raw.not.map(&mut id),
            one_of: raw.one_of.into_iter().map(&mut id).collect(),
            properties: raw.properties.into_iter().map(|(name, nested)| (name, id(nested))).collect(),
            values: raw.values.map(&mut id),
            bounds: raw.bounds,
            default: raw.default,
            key_format: raw.key_format,
            set: raw.list.as_deref() == Some("set"),
            keys: raw.keys,
            kind: raw.kind,
            open: raw.open,
            own: false,
            pattern: raw.pattern.map(|text| Pattern { text, compiled: OnceLock::new() }),
            required: raw.required,
            rules: raw.rules,
            secret: raw.secret,
        }
    }

    fn resolve(&mut self, nested: Nested, names: &BTreeMap<String, Id>) -> Id {
        match nested {
            Nested::Inline(raw) => {
                let schema = self.schema_of(*raw, names);
                self.nodes.push(Schema { own: true, ..schema });
                self.nodes.len() - 1
            }
            Nested::Name(name) => names[&name],
            Nested::Number(id) => id,
        }
    }
}

#[derive(Deserialize)]
struct GeneratedFile {
    kinds: BTreeMap<String, Id>,
    nodes: Vec<Raw>,
}

#[derive(Deserialize)]
struct OwnFile {
    defs: BTreeMap<String, Raw>,
    kinds: BTreeMap<String, Raw>,
}

/// A schema as written in a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    all_of: Vec<Nested>,
    #[serde(default)]
    any_of: Vec<Nested>,
    #[serde(flatten)]
    bounds: Bounds,
    default: Option<Json>,
    items: Option<Nested>,
    key_format: Option<Format>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    list: Option<String>,
    not: Option<Nested>,
    #[serde(default)]
    one_of: Vec<Nested>,
    #[serde(default)]
    open: bool,
    pattern: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, Nested>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    secret: bool,
    values: Option<Nested>,
}

/// A schema inside of another: by number, by name, or written out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Number(Id),
    Name(String),
    Inline(Box<Raw>),
}

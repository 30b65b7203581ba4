//! One text to objects and findings. One bad document never takes another one with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mesh_model::{Finding, Origin, Position, Severity, SourceRef};

use super::aim::{self, Aims, add};
use super::document::{self, Parsed};
use crate::store::{ObjectKey, Place, Stored, shifted};
use mesh_objects::ObjectKind;
use mesh_objects::schema::Violation;
use mesh_yaml as yaml;

/// What a text holds.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The objects, in the order of the text.
    pub objects: Vec<Arc<Stored>>,
    /// What is wrong, in the order of the text.
    pub findings: Vec<Finding>,
    /// Objects that are named in the text and not usable.
    pub failed: Vec<SourceRef>,
    /// Whether some document could not be read so far that its object is known.
    pub unreadable: bool,
    /// What policies are about that cannot be used.
    pub aims: Aims,
}

/// Reads every object of a text. Of two documents for the same object the first one counts.
///
/// ```
/// let text = b"kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n---\nkind: Servise\napiVersion: v1\n";
/// let loaded = mesh_source::load(text, &"a.yaml".into());
/// assert_eq!(loaded.objects.len(), 1);
/// assert_eq!(
///     loaded.findings[0].to_string(),
///     "error[MESH0103] a.yaml:5:7: kind: the kind Servise of v1 is not known; did you mean Service?",
/// );
/// ```
pub fn load(text: &[u8], file: &Arc<str>) -> Loaded {
    Cache::default().load(text, file)
}

/// Documents that were parsed before, by their text. Only those of the last load are kept.
#[derive(Default)]
pub struct Cache {
    documents: BTreeMap<String, Arc<Vec<Parsed>>>,
}

impl fmt::Debug for Cache {
    /// Without the texts, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents", self.documents.len())
    }
}

impl Cache {
    /// As [`load`], without parsing again what was parsed the last time.
    pub fn load(&mut self, text: &[u8], file: &Arc<str>) -> Loaded {
        let mut loaded = Loaded::default();
        let chunks = match yaml::chunks(text) {
            Ok(chunks) => chunks,
            Err(error) => {
                loaded.unreadable = true;
                loaded.findings.push(whole_text(&error, file));
                return loaded;
            }
        };
        let mut documents = BTreeMap::new();
        for chunk in chunks {
            let known =
                self.documents.remove(chunk.text).or_else(|| documents.get(chunk.text).map(Arc::clone));
            let parsed = known.unwrap_or_else(|| Arc::new(document::parse(chunk)));
            for object in parsed.iter() {
                loaded.add(object, file, chunk.line_offset);
            }
            documents.insert(chunk.text.to_owned(), parsed);
        }
        self.documents = documents;
        let mut seen = BTreeMap::new();
        let (objects, duplicates) = deduplicated(std::mem::take(&mut loaded.objects), &mut seen);
        loaded.objects = objects;
        loaded.findings.extend(duplicates);
        loaded
    }
}

impl Loaded {
    fn add(&mut self, parsed: &Parsed, file: &Arc<str>, line_offset: u32) {
        let source = parsed.label.as_ref().map(|(kind, name)| {
            let line = parsed.root.as_ref().map_or(1, |root| root.position.line).saturating_add(line_offset);
            SourceRef::new(Arc::clone(kind), name.clone(), Origin::File { path: Arc::clone(file), line })
        });
        for violation in &parsed.violations {
            let mut finding = placed(violation, source.clone(), file, line_offset);
            if let Some(first) = parsed.first_key {
                finding.message = format!("{}, first at {}", finding.message, shifted(first, line_offset));
            }
            self.findings.push(finding);
        }
        match (&parsed.object, &parsed.root, source) {
            (Some(object), Some(root), _) => {
                let place = Place { file: Arc::clone(file), line_offset, root: Arc::clone(root) };
                self.objects.push(Arc::new(Stored::from_file(Arc::clone(object), place)));
            }
            (_, root, Some(source)) => {
                if *source.kind == *ObjectKind::BackendTlsPolicy.as_str() {
                    add(&mut self.aims, source.object.clone(), root.as_deref().and_then(aim::of_document));
                }
                self.failed.push(source);
            }
            _ => self.unreadable = true,
        }
    }
}

/// Leaves out objects that were seen before, with a finding for each.
pub(super) fn deduplicated(
    objects: Vec<Arc<Stored>>,
    seen: &mut BTreeMap<ObjectKey, Arc<Stored>>,
) -> (Vec<Arc<Stored>>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut kept = Vec::with_capacity(objects.len());
    for stored in objects {
        let key = ObjectKey::new(stored.object().kind(), stored.name().clone());
        match seen.get(&key) {
            Some(first) => findings.push(duplicate(&stored, first)),
            None => {
                seen.insert(key, Arc::clone(&stored));
                kept.push(stored);
            }
        }
    }
    (kept, findings)
}

fn duplicate(second: &Stored, first: &Stored) -> Finding {
    let path = mesh_model::FieldPath::root().field("metadata").field("name");
    let place = match &first.source().origin {
        Origin::File { path, line } => format!("{path}:{line}"),
        other => format!("{other:?}"),
    };
    let message = format!("this object is already described at {place}, and that one counts");
    second
        .finding(mesh_model::Reason::DuplicateObject, path, message)
        .suggest("rename or remove one of the two")
}

fn placed(violation: &Violation, source: Option<SourceRef>, file: &Arc<str>, line_offset: u32) -> Finding {
    Finding {
        severity: violation.severity,
        reason: violation.reason,
        object: source,
        file: Some(Arc::clone(file)),
        position: Some(shifted(violation.position, line_offset)),
        path: violation.path.clone(),
        message: violation.message.clone(),
        suggestion: violation.suggestion.clone(),
    }
}

fn whole_text(error: &yaml::SyntaxError, file: &Arc<str>) -> Finding {
    at_file(mesh_model::Reason::InvalidSyntax, file, Some(error.position), error.to_string())
}

/// An error of a whole file.
pub(super) fn at_file(
    reason: mesh_model::Reason,
    file: &Arc<str>,
    position: Option<Position>,
    message: String,
) -> Finding {
    Finding {
        severity: Severity::Error,
        reason,
        object: None,
        file: Some(Arc::clone(file)),
        position,
        path: mesh_model::FieldPath::root(),
        message,
        suggestion: None,
    }
}

#[cfg(test)]
mod tests;

//! Rules that span several fields, written in CEL. Only evaluation: the rules come with the schemas.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use cel::extractors::This;
use cel::objects::{OptionalValue, Value as CelValue};
use cel::{Context, Env, ExecutionError, Program};
use mesh_model::{FieldPath, Reason, Severity};
use serde_json::Value as Json;

use super::Violation;
use super::accept;
use super::format;
use super::table::{Id, Registry, Rule, Schema};
use mesh_yaml::Node;

/// Evaluates every rule of a value that has passed the check of its shape.
pub(super) fn check(registry: &Registry, schema: Id, value: &Json, root: &Node) -> Vec<Violation> {
    let mut rules = Rules { registry, root, context: context(), found: Vec::new() };
    rules.value(schema, value, &FieldPath::root());
    rules.found
}

struct Rules<'r> {
    registry: &'r Registry,
    root: &'r Node,
    context: Context<'static, 'static>,
    found: Vec<Violation>,
}

impl Rules<'_> {
    fn value(&mut self, id: Id, value: &Json, path: &FieldPath) {
        let schema = self.registry.schema(id);
        if !schema.rules.is_empty() {
            self.evaluate(id, schema, value, path);
        }
        match value {
            Json::Array(items) => {
                let Some(item) = schema.items else { return };
                for (index, value) in items.iter().enumerate() {
                    self.value(item, value, &path.index(index));
                }
            }
            Json::Object(fields) => {
                for (name, value) in fields {
                    let Some(child) = schema.properties.get(name).or(schema.values.as_ref()) else {
                        continue;
                    };
                    self.value(*child, value, &path.field(name));
                }
            }
            _ => {}
        }
    }

    fn evaluate(&mut self, id: Id, schema: &Schema, value: &Json, path: &FieldPath) {
        let holds = |rule: &&Rule| {
            rule.is_transition() || rule.program().is_some_and(|p| accept::holds(&p.expression().expr, value))
        };
        let doubtful: Vec<&Rule> = schema.rules.iter().filter(|rule| !holds(rule)).collect();
        if doubtful.is_empty() {
            return;
        }
        self.context.add_variable_from_value("self", cel_value(self.registry, id, value));
        for rule in doubtful {
            let outcome = rule.program().map(|program| program.execute(&self.context));
            let problem = match outcome {
                Some(Ok(CelValue::Bool(true))) => continue,
                Some(Ok(_)) => rule.message.clone(),
                // What is missing is what the message is about.
                Some(Err(ExecutionError::NoSuchKey(_))) => rule.message.clone(),
                Some(Err(error)) => format!("{} (the rule cannot be evaluated: {error})", rule.message),
                None => format!("{} (the rule cannot be compiled)", rule.message),
            };
            self.found.push(Violation {
                severity: Severity::Error,
                reason: Reason::RuleViolation,
                path: path.clone(),
                position: self.root.position(path),
                message: problem,
                suggestion: None,
            });
        }
    }
}

impl Rule {
    /// Whether the rule compares with an earlier version of the object, which a file does not have.
    fn is_transition(&self) -> bool {
        self.rule.contains("oldSelf")
    }

    /// The compiled rule; none if it is not CEL, which a test excludes.
    pub(super) fn program(&self) -> Option<&Program> {
        self.program.get_or_init(|| environment().compile(&self.rule).ok()).as_ref()
    }
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        env.add_extension(cel::extensions::strings).expect("the library of texts is added once");
        Arc::new(env)
    });
    &ENVIRONMENT
}

/// The functions that Kubernetes adds to CEL, as far as the rules use them. A named format is the text of
/// its name here; `validate` answers with the complaints, or with nothing.
fn context() -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(environment()));
    let mut add = || -> Result<(), cel::DeclarationError> {
        context.add_function("isIP", |text: Arc<String>| format::is_ip(&text))?;
        context.add_function("isIPv4", |text: Arc<String>| text.parse::<Ipv4Addr>().is_ok())?;
        context.add_function("isIPv6", |text: Arc<String>| text.parse::<Ipv6Addr>().is_ok())?;
        context.add_function("dns1123Subdomain", || Arc::new("dns1123Subdomain".to_owned()))?;
        context.add_function("qualifiedName", || Arc::new("qualifiedName".to_owned()))?;
        context.add_function("validate", |format: This<Arc<String>>, text: Arc<String>| {
            let fits = match format.0.as_str() {
                "qualifiedName" => format::is_label_key(&text),
                _ => format::is_dns_subdomain(&text),
            };
            CelValue::Opaque(Arc::new(match fits {
                true => OptionalValue::none(),
                false => OptionalValue::of(CelValue::Bool(false)),
            }))
        })
    };
    add().expect("no function is there twice");
    context.add_variable_from_value("format", CelValue::Null);
    context
}

/// A value for CEL.
fn cel_value(registry: &Registry, id: Id, value: &Json) -> CelValue {
    let schema = registry.schema(id);
    match value {
        Json::Array(items) => {
            let item = |value| schema.items.map_or(CelValue::Null, |item| cel_value(registry, item, value));
            CelValue::List(Arc::new(items.iter().map(item).collect()))
        }
        Json::Object(fields) => {
            let mut entries = HashMap::with_capacity(fields.len());
            for (name, value) in fields {
                let Some(child) = schema.properties.get(name).or(schema.values.as_ref()) else { continue };
                let value = cel_value(registry, *child, value);
                if let (true, Some(escaped)) = (schema.values.is_none(), escaped(name)) {
                    entries.insert(escaped, value.clone());
                }
                entries.insert(name.clone(), value);
            }
            CelValue::from(entries)
        }
        Json::Bool(value) => CelValue::Bool(*value),
        Json::Null => CelValue::Null,
        Json::Number(number) => match number.as_i64() {
            Some(number) => CelValue::Int(number),
            None => CelValue::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => CelValue::String(Arc::new(text.clone())),
    }
}

/// The other name of a field in rules, if it is a word of the language: it stands between double underscores.
/// The rules of the Gateway API use both.
fn escaped(name: &str) -> Option<String> {
    const WORDS: &str = "as break const continue else false for function if import in let loop namespace null \
                         package return true var void while";
    WORDS.split(' ').any(|word| word == name).then(|| format!("__{name}__"))
}

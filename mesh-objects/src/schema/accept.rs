//! A quick look at a rule: `true` where it certainly holds, without copying the value for the interpreter.
//!
//! It knows the part of CEL that the rules use most. Whatever it does not know, and every rule that does not
//! hold, goes to the interpreter, whose word counts: nothing is ever refused here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, operators};
use regex::Regex;
use serde_json::Value as Json;

/// Whether a rule certainly holds for a value.
pub(super) fn holds(rule: &Expr, value: &Json) -> bool {
    let scope = Scope { name: "self", value: Value::Json(value), outer: None };
    evaluate(rule, &scope).and_then(|value| value.truth()) == Some(true)
}

#[derive(Clone)]
enum Value<'v> {
    Bool(bool),
    Int(i64),
    Json(&'v Json),
    List(Vec<Self>),
    Text(&'v str),
}

/// A name with its value, and the names around it.
struct Scope<'s, 'v> {
    name: &'v str,
    value: Value<'v>,
    outer: Option<&'s Self>,
}

impl<'v> Value<'v> {
    const fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) | Self::Json(Json::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Json(Json::Number(number)) => number.as_i64(),
            _ => None,
        }
    }

    const fn text(&self) -> Option<&'v str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(Json::String(text)) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The items of a list, or the keys of a mapping.
    fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::Json(Json::Array(items)) => Some(items.iter().map(Self::Json).collect()),
            Self::Json(Json::Object(fields)) => Some(fields.keys().map(|key| Self::Text(key)).collect()),
            Self::List(items) => Some(items.clone()),
            _ => None,
        }
    }

    fn size(&self) -> Option<i64> {
        let size = match self {
            Self::Json(Json::Array(items)) => items.len(),
            Self::Json(Json::Object(fields)) => fields.len(),
            Self::List(items) => items.len(),
            _ => self.text()?.chars().count(),
        };
        i64::try_from(size).ok()
    }

    /// Equality of scalars of one type; nothing else is compared here.
    fn equals(&self, other: &Self) -> Option<bool> {
        if let (Some(one), Some(two)) = (self.text(), other.text()) {
            return Some(one == two);
        }
        if let (Some(one), Some(two)) = (self.int(), other.int()) {
            return Some(one == two);
        }
        Some(self.truth()? == other.truth()?)
    }
}

fn evaluate<'v>(expr: &'v Expr, scope: &Scope<'_, 'v>) -> Option<Value<'v>> {
    match expr {
        Expr::Call(call) => evaluate_call(call, scope),
        Expr::Comprehension(comprehension) => evaluate_comprehension(comprehension, scope),
        Expr::Ident(name) => look_up(name, scope),
        Expr::List(list) => {
            let items = list.elements.iter().map(|item| evaluate(&item.expr, scope));
            Some(Value::List(items.collect::<Option<_>>()?))
        }
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(value) => Some(Value::Bool(*value.inner())),
            LiteralValue::Int(value) => Some(Value::Int(*value.inner())),
            LiteralValue::String(text) => Some(Value::Text(text.inner())),
            _ => None,
        },
        Expr::Select(select) => evaluate_select(select, scope),
        _ => None,
    }
}

fn look_up<'v>(name: &str, scope: &Scope<'_, 'v>) -> Option<Value<'v>> {
    let mut scope = scope;
    loop {
        if scope.name == name {
            return Some(scope.value.clone());
        }
        scope = scope.outer?;
    }
}

fn evaluate_select<'v>(select: &'v SelectExpr, scope: &Scope<'_, 'v>) -> Option<Value<'v>> {
    let Value::Json(Json::Object(fields)) = evaluate(&select.operand.expr, scope)? else { return None };
    let plain = select.field.strip_prefix("__").and_then(|name| name.strip_suffix("__"));
    let found = fields.get(plain.unwrap_or(&select.field));
    if select.test {
        return Some(Value::Bool(found.is_some()));
    }
    found.map(Value::Json)
}

fn evaluate_call<'v>(call: &'v CallExpr, scope: &Scope<'_, 'v>) -> Option<Value<'v>> {
    let arguments: Vec<&'v Expr> = call
        .target
        .iter()
        .map(|target| &target.expr)
        .chain(call.args.iter().map(|argument| &argument.expr))
        .collect();
    let value = |index: usize| evaluate(arguments.get(index)?, scope);
    let truth = |index: usize| value(index)?.truth();
    match call.func_name.as_str() {
        operators::LOGICAL_AND => Some(Value::Bool(truth(0)? && truth(1)?)),
        operators::LOGICAL_OR => Some(Value::Bool(truth(0)? || truth(1)?)),
        operators::LOGICAL_NOT => Some(Value::Bool(!truth(0)?)),
        operators::NOT_STRICTLY_FALSE => Some(Value::Bool(truth(0)?)),
        operators::CONDITIONAL => value(if truth(0)? { 1 } else { 2 }),
        operators::INDEX => {
            let (Value::Json(Json::Array(items)), index) = (value(0)?, value(1)?.int()?) else { return None };
            items.get(usize::try_from(index).ok()?).map(Value::Json)
        }
        name => apply(name, &value(0)?, value(1)),
    }
}

/// Operators and functions of one or two evaluated arguments.
fn apply<'v>(name: &str, first: &Value<'v>, second: Option<Value<'v>>) -> Option<Value<'v>> {
    if name == "size" {
        return first.size().map(Value::Int);
    }
    let second = second?;
    let truth = match name {
        operators::EQUALS => first.equals(&second)?,
        operators::NOT_EQUALS => !first.equals(&second)?,
        operators::GREATER_EQUALS => first.int()? >= second.int()?,
        operators::LESS_EQUALS => first.int()? <= second.int()?,
        operators::GREATER => first.int()? > second.int()?,
        operators::LESS => first.int()? < second.int()?,
        operators::IN => {
            let equal = second.items()?.iter().map(|item| item.equals(first)).collect::<Option<Vec<_>>>()?;
            equal.contains(&true)
        }
        operators::ADD => return add(first, &second),
        "contains" => first.text()?.contains(second.text()?),
        "endsWith" => first.text()?.ends_with(second.text()?),
        "startsWith" => first.text()?.starts_with(second.text()?),
        "matches" => pattern(second.text()?)?.is_match(first.text()?),
        _ => return None,
    };
    Some(Value::Bool(truth))
}

fn add<'v>(first: &Value<'v>, second: &Value<'v>) -> Option<Value<'v>> {
    match (first, second) {
        (Value::List(first), Value::List(second)) => {
            Some(Value::List([first.clone(), second.clone()].concat()))
        }
        _ => Some(Value::Int(first.int()?.checked_add(second.int()?)?)),
    }
}

/// A pattern of a rule; there are as many as rules with patterns.
fn pattern(text: &str) -> Option<Arc<Regex>> {
    static PATTERNS: Mutex<Option<HashMap<String, Arc<Regex>>>> = Mutex::new(None);
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let patterns = patterns.get_or_insert_default();
    if let Some(known) = patterns.get(text) {
        return Some(Arc::clone(known));
    }
    let compiled = Arc::new(Regex::new(text).ok()?);
    patterns.insert(text.to_owned(), Arc::clone(&compiled));
    Some(compiled)
}

fn evaluate_comprehension<'v>(
    comprehension: &'v ComprehensionExpr,
    scope: &Scope<'_, 'v>,
) -> Option<Value<'v>> {
    if comprehension.iter_var2.is_some() {
        return None;
    }
    let mut result = evaluate(&comprehension.accu_init.expr, scope)?;
    for item in evaluate(&comprehension.iter_range.expr, scope)?.items()? {
        let accumulated = Scope { name: &comprehension.accu_var, value: result.clone(), outer: Some(scope) };
        let inner = Scope { name: &comprehension.iter_var, value: item, outer: Some(&accumulated) };
        if !evaluate(&comprehension.loop_cond.expr, &inner)?.truth()? {
            break;
        }
        result = evaluate(&comprehension.loop_step.expr, &inner)?;
    }
    let scope = Scope { name: &comprehension.accu_var, value: result, outer: Some(scope) };
    evaluate(&comprehension.result.expr, &scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quick(rule: &str, value: &Json) -> bool {
        let program = cel::Program::compile(rule).expect("a rule");
        holds(&program.expression().expr, value)
    }

    #[test]
    fn what_is_known_to_hold_is_accepted_and_nothing_else() {
        let value = json!({
            "type": "Exact", "port": 80, "namespace": "a", "list": [{"n": "x"}, {"n": "y"}], "labels": {"a": "b"}
        });
        let holding = [
            "self.type == 'Exact'",
            "!has(self.other) || self.other == 'x'",
            "has(self.__namespace__) && self.__namespace__ == 'a'",
            "self.port in [80, 81] ? self.type.startsWith('E') : false",
            "self.list.all(a, self.list.exists_one(b, a.n == b.n))",
            "self.list.filter(a, a.n == 'x').size() <= 1",
            "size(self.list) + self.list.size() == 4",
            "self.list[1].n.matches('^y$')",
            "self.labels.all(key, key.matches('^[a-z]$'))",
            "!('z' in self.labels)",
        ];
        for rule in holding {
            assert!(quick(rule, &value), "{rule}");
        }
        let not_known_to_hold = [
            "self.type == 'Other'",
            "self.other == 'x'",
            "!(self.other == 'x')",
            "self.list[2].n == 'x'",
            "self.list.exists_one(a, true)",
            "self.list.all(a, a.n == 'x')",
            "self.type == 1",
            "duration('1s') == duration('1s')",
            "unknown(self.type)",
        ];
        for rule in not_known_to_hold {
            assert!(!quick(rule, &value), "{rule}");
        }
    }
}

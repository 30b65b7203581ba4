//! Rules about the shape of one Rust file: sizes, nesting, parameters, item names, reads of the environment.
//! Works on the syntax tree; words in comments and strings are another file's business.

use std::ops::RangeInclusive;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Ident, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use super::Violation;
use super::tree::File;

/// The rule that no allow-list lifts.
pub(super) const HARD_LIMIT: &str = "file-lines-hard";

const FUNCTION_LINES: usize = 60;
const TEST_FUNCTION_LINES: usize = 120;
const FILE_LINES: usize = 400;
const FILE_LINES_HARD: usize = 500;
const PARAMETERS: usize = 5;
const NESTING: usize = 4;

/// Words that name nothing.
const BANNED: &[&str] = &["manager", "helper", "helpers", "util", "utils", "common", "base", "info", "data"];

/// Functions of `std::env` that read what the caller of the process set.
const READERS: &[&str] = &["var", "var_os", "vars", "vars_os"];

/// What one file is made of.
pub(super) struct Shape {
    functions: Vec<Function>,
    names: Vec<(String, usize)>,
    environment: Vec<usize>,
    tests: Vec<RangeInclusive<usize>>,
    unreadable: Option<(usize, String)>,
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
    nesting: usize,
    /// Its signature is somebody else's: an implementation of a trait.
    bound: bool,
}

impl Shape {
    pub(super) fn of(file: &File) -> Self {
        let mut shape =
            Self { functions: vec![], names: vec![], environment: vec![], tests: vec![], unreadable: None };
        match syn::parse_file(&file.text) {
            Ok(tree) => Walk { shape: &mut shape, bound: false }.visit_file(&tree),
            Err(error) => shape.unreadable = Some((error.span().start().line, error.to_string())),
        }
        shape
    }

    /// Lines outside `#[cfg(test)]`; none for a file of tests.
    pub(super) fn product_lines(&self, file: &File) -> usize {
        if file.is_test() {
            return 0;
        }
        (1..=file.text.lines().count()).filter(|line| !self.in_tests(*line)).count()
    }

    /// Whether a line belongs to a `#[cfg(test)]` item.
    pub(super) fn in_tests(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    pub(super) fn violations(&self, file: &File) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut push = |line, rule, item: &str, message| {
            let (path, item) = (file.path.clone(), item.to_owned());
            found.push(Violation { path, line, rule, item, message });
        };
        if let Some((line, error)) = &self.unreadable {
            push(*line, "syntax", "", error.clone());
        }
        let lines = self.product_lines(file);
        if lines > FILE_LINES {
            let rule = if lines > FILE_LINES_HARD { HARD_LIMIT } else { "file-lines" };
            push(0, rule, "", format!("{lines} lines without tests, at most {FILE_LINES}: split by idea"));
        }
        for function in &self.functions {
            let test = file.is_test() || self.in_tests(function.line);
            for (rule, message) in function.complaints(test) {
                push(function.line, rule, &function.name, message);
            }
        }
        for (name, line) in &self.names {
            if let Some(word) = banned(name) {
                let message = format!("`{name}`: {word:?} names nothing; say what it is or does");
                push(*line, "banned-name", name, message);
            }
        }
        for line in &self.environment {
            if file.is_product() && !file.path.ends_with("config.rs") && !self.in_tests(*line) {
                let message = "the environment is read in a `config.rs` only".to_owned();
                push(*line, "environment", "", message);
            }
        }
        found
    }
}

impl Function {
    fn complaints(&self, test: bool) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let limit = if test { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
        let Self { name, lines, parameters, nesting, .. } = self;
        if *lines > limit {
            found.push(("function-lines", format!("`{name}` has {lines} lines, at most {limit}")));
        }
        if *parameters > PARAMETERS && !self.bound {
            found.push((
                "parameters",
                format!("`{name}` takes {parameters} parameters, at most {PARAMETERS}"),
            ));
        }
        if *nesting > NESTING {
            found.push(("nesting", format!("`{name}` nests {nesting} deep, at most {NESTING}")));
        }
        found
    }
}

/// The banned word in an identifier, if it has one.
pub(super) fn banned(name: &str) -> Option<&'static str> {
    if matches!(name, "handler" | "Handler") {
        return Some("handler");
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() || c == '_' {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    let shouting = name.chars().all(|c| !c.is_lowercase());
    let words = if shouting { name.to_lowercase().replace('_', " ") } else { words.replace('_', " ") };
    let mut words = words.split(' ');
    words.find_map(|word| BANNED.iter().copied().find(|banned| *banned == word))
}

/// Whether an attribute is `#[cfg(test)]` or one that needs `test` among others.
fn is_test_only(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let Ok(list) = attribute.meta.require_list() else { return false };
    let text = list.tokens.to_string();
    list.path.is_ident("cfg")
        && (text == "test" || text.starts_with("all (test") || text.starts_with("all(test"))
}

struct Walk<'a> {
    shape: &'a mut Shape,
    bound: bool,
}

impl Walk<'_> {
    fn function(&mut self, signature: &Signature, block: &Block) {
        let start = signature.span().start().line;
        let mut depth = Depth::default();
        depth.visit_block(block);
        self.name(&signature.ident);
        self.shape.functions.push(Function {
            name: signature.ident.to_string(),
            line: start,
            lines: block.span().end().line + 1 - start,
            parameters: signature.inputs.len(),
            nesting: depth.deepest,
            bound: self.bound,
        });
    }

    fn name(&mut self, name: &Ident) {
        if !self.bound {
            self.shape.names.push((name.to_string(), name.span().start().line));
        }
    }

    fn test_only(&mut self, attributes: &[Attribute], span: Span) {
        if attributes.iter().any(is_test_only) {
            let lines = span.start().line..=span.end().line;
            self.shape.tests.push(lines);
        }
    }

    fn item_name(&mut self, item: &Item) {
        match item {
            Item::Const(item) => self.name(&item.ident),
            Item::Enum(item) => self.name(&item.ident),
            Item::Mod(item) => self.name(&item.ident),
            Item::Static(item) => self.name(&item.ident),
            Item::Struct(item) => self.name(&item.ident),
            Item::Trait(item) => self.name(&item.ident),
            Item::Type(item) => self.name(&item.ident),
            _ => {}
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        self.test_only(attributes(item), item.span());
        self.item_name(item);
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.bound, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.bound = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.test_only(&item.attrs, item.span());
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names = path.segments.iter().rev().map(|segment| segment.ident.to_string());
        let (last, before) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        if before == "env" && READERS.contains(&last.as_str()) {
            self.shape.environment.push(path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        let mut named = Used::default();
        named.visit_use_tree(&path.tree);
        if path.ident == "env" && named.reader {
            self.shape.environment.push(path.span().start().line);
        }
        visit::visit_use_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let Ok(list) = attribute.meta.require_list() else { return };
        let mut tokens = list.tokens.clone().into_iter();
        let reads = tokens.any(|token| token.to_string() == "env");
        if list.path.is_ident("arg") && reads {
            self.shape.environment.push(attribute.span().start().line);
        }
    }
}

#[derive(Default)]
struct Used {
    reader: bool,
}

impl<'ast> Visit<'ast> for Used {
    fn visit_use_name(&mut self, name: &'ast syn::UseName) {
        self.reader |= READERS.contains(&name.ident.to_string().as_str());
    }
}

/// How deep branches, loops and closures with a body lie in each other.
#[derive(Default)]
struct Depth {
    now: usize,
    deepest: usize,
}

impl Depth {
    fn inside(&mut self, visit: impl FnOnce(&mut Self)) {
        self.now += 1;
        self.deepest = self.deepest.max(self.now);
        visit(self);
        self.now -= 1;
    }
}

impl<'ast> Visit<'ast> for Depth {
    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.visit_expr(&branch.cond);
        self.inside(|depth| depth.visit_block(&branch.then_branch));
        match branch.else_branch.as_ref().map(|(_, expr)| expr.as_ref()) {
            Some(Expr::If(next)) => self.visit_expr_if(next),
            Some(other) => self.inside(|depth| depth.visit_expr(other)),
            None => {}
        }
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        self.visit_expr(&choice.expr);
        self.inside(|depth| choice.arms.iter().for_each(|arm| depth.visit_arm(arm)));
    }

    fn visit_expr_for_loop(&mut self, repeat: &'ast syn::ExprForLoop) {
        self.visit_expr(&repeat.expr);
        self.inside(|depth| depth.visit_block(&repeat.body));
    }

    fn visit_expr_while(&mut self, repeat: &'ast syn::ExprWhile) {
        self.visit_expr(&repeat.cond);
        self.inside(|depth| depth.visit_block(&repeat.body));
    }

    fn visit_expr_loop(&mut self, repeat: &'ast syn::ExprLoop) {
        self.inside(|depth| depth.visit_block(&repeat.body));
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        match closure.body.as_ref() {
            Expr::Block(body) => self.inside(|depth| depth.visit_expr_block(body)),
            other => self.visit_expr(other),
        }
    }

    /// A function within a function counts by itself.
    fn visit_item_fn(&mut self, _: &'ast ItemFn) {}
}

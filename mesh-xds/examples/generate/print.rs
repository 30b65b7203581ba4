//! Reads the subset of proto3 that `mesh.v1` uses and prints prost messages: one declaration per line, every
//! declaration with a comment, nothing nested but `oneof`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Messages whose text form must not show their content.
const SECRET: [&str; 3] = ["Certificate", "HeldResource", "Session"];

/// The Rust text of all messages in a folder.
///
/// # Panics
/// When a file cannot be read or holds something outside the subset.
pub(crate) fn messages(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the folder of the proto files");
    let paths: BTreeSet<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let text: String = paths.iter().map(|p| std::fs::read_to_string(p).expect("a proto file")).collect();
    let enums = text.lines().filter_map(|line| line.strip_prefix("enum ")).map(first_word).collect();
    let mut printer = Printer { enums, out: HEAD.to_owned(), ..Printer::default() };
    text.lines().for_each(|line| printer.line(line.trim()));
    indented(&printer.out)
}

fn indented(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.trim_end().lines() {
        inside &= line != "}";
        let margin = if inside && !line.starts_with(' ') { "    " } else { "" };
        inside |= line.ends_with('{');
        writeln!(out, "{margin}{line}").expect("text grows");
    }
    out
}

const HEAD: &str = "//! Messages of `mesh.v1`, made from `proto/mesh/v1/*.proto` by `cargo run -p mesh-xds --example \
                    generate`. Nothing else.\n\n";

#[derive(Default)]
struct Printer<'a> {
    enums: BTreeSet<&'a str>,
    out: String,
    comment: Vec<&'a str>,
    scope: Vec<Scope<'a>>,
    oneofs: String,
}

#[derive(Clone)]
enum Scope<'a> {
    Enum(&'a str),
    Message(&'a str),
    Oneof { name: String, field: &'a str, comment: Vec<&'a str>, tags: Vec<&'a str>, body: String },
}

fn first_word(line: &str) -> &str {
    line.split([' ', '{']).next().unwrap_or_default()
}

fn camel(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split('_').map(word).collect()
}

impl<'a> Printer<'a> {
    fn line(&mut self, line: &'a str) {
        let ignored = ["syntax ", "package ", "import "].iter().any(|word| line.starts_with(word));
        if let Some(comment) = line.strip_prefix("//") {
            self.comment.push(comment.trim());
        } else if line.is_empty() || ignored {
            self.comment.clear();
        } else if let Some(name) = line.strip_prefix("message ").map(first_word) {
            self.open_message(name, line.ends_with("{}"));
        } else if let Some(name) = line.strip_prefix("enum ").map(first_word) {
            self.docs();
            let derive = "Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration";
            self.print(&format!("#[derive({derive})]\n#[repr(i32)]\npub enum {name} {{"));
            self.scope.push(Scope::Enum(name));
        } else if let Some(field) = line.strip_prefix("oneof ").map(first_word) {
            self.open_oneof(field);
        } else if line == "}" {
            self.close();
        } else {
            self.declaration(line.strip_suffix(';').expect("a declaration ends in a semicolon"));
        }
    }

    fn print(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn docs(&mut self) {
        assert!(
            !self.comment.is_empty(),
            "a declaration without comment after: {:?}",
            self.out.lines().last()
        );
        let docs: Vec<String> = self.comment.drain(..).map(|line| format!("/// {line}")).collect();
        self.print(&docs.join("\n"));
    }

    fn open_message(&mut self, name: &'a str, empty: bool) {
        self.docs();
        self.print("#[derive(Clone, PartialEq, prost::Message)]");
        if SECRET.contains(&name) {
            self.print("#[prost(skip_debug)]");
        }
        self.print(&format!("pub struct {name} {{{}", if empty { "}\n" } else { "" }));
        if !empty {
            self.scope.push(Scope::Message(name));
        }
    }

    fn open_oneof(&mut self, field: &'a str) {
        let Some(Scope::Message(message)) = self.scope.last() else { panic!("a oneof outside a message") };
        let name = format!("{message}{}", camel(field));
        let comment = std::mem::take(&mut self.comment);
        let scope = Scope::Oneof { name, field, comment, tags: Vec::new(), body: String::new() };
        self.scope.push(scope);
    }

    fn close(&mut self) {
        match self.scope.pop().expect("something is open") {
            Scope::Enum(_) => self.print("}\n"),
            Scope::Message(name) => {
                self.print("}\n");
                if SECRET.contains(&name) {
                    let text = format!(
                        "impl std::fmt::Debug for {name} {{\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> \
                         std::fmt::Result {{\n        f.write_str(\"{name}(redacted)\")\n    }}\n}}\n"
                    );
                    self.print(&text);
                }
                let oneofs = std::mem::take(&mut self.oneofs);
                self.out.push_str(&oneofs);
            }
            Scope::Oneof { name, field, comment, tags, body } => {
                self.comment = comment.clone();
                self.docs();
                self.print(&format!("#[prost(oneof = \"{name}\", tags = \"{}\")]", tags.join(", ")));
                self.print(&format!("pub {field}: Option<{name}>,"));
                let docs: Vec<String> = comment.iter().map(|line| format!("/// {line}\n")).collect();
                let head = format!("{}#[derive(Clone, PartialEq, prost::Oneof)]", docs.concat());
                write!(self.oneofs, "{head}\npub enum {name} {{\n{body}}}\n\n").expect("text grows");
            }
        }
    }

    fn declaration(&mut self, line: &'a str) {
        let (left, number) = line.split_once(" = ").expect("a declaration has a number");
        match self.scope.last().cloned().expect("a declaration is inside something") {
            Scope::Enum(name) => {
                self.docs();
                let variant = camel(left).replacen(name, "", 1);
                self.print(&format!("{variant} = {number},"));
            }
            Scope::Message(_) => {
                self.docs();
                let (kind, name) = left.rsplit_once(' ').expect("a field has a type");
                let (attribute, rust) = self.field(kind);
                self.print(&format!("#[prost({attribute}, tag = \"{number}\")]\npub {name}: {rust},"));
            }
            Scope::Oneof { .. } => self.alternative(left, number),
        }
    }

    fn alternative(&mut self, left: &'a str, number: &'a str) {
        let (kind, name) = left.split_once(' ').expect("a field has a type");
        let (attribute, rust) = self.single(kind);
        let docs: Vec<String> = self.comment.drain(..).map(|line| format!("/// {line}\n")).collect();
        let variant = camel(name);
        let Some(Scope::Oneof { tags, body, .. }) = self.scope.last_mut() else {
            unreachable!("matched above")
        };
        tags.push(number);
        let text =
            format!("{}#[prost({attribute}, tag = \"{number}\")]\n{variant}({rust}),\n", docs.concat());
        body.push_str(&text);
    }

    fn field(&self, kind: &str) -> (String, String) {
        if kind == "map<string, string>" {
            let map = "std::collections::BTreeMap<String, String>";
            return ("btree_map = \"string, string\"".to_owned(), map.to_owned());
        }
        if let Some(kind) = kind.strip_prefix("repeated ") {
            let (attribute, rust) = self.single(kind);
            return (format!("{attribute}, repeated"), format!("Vec<{rust}>"));
        }
        let optional = kind.strip_prefix("optional ");
        let (attribute, rust) = self.single(optional.unwrap_or(kind));
        match optional.is_some() || attribute == "message" {
            true => (format!("{attribute}, optional"), format!("Option<{rust}>")),
            false => (attribute, rust),
        }
    }

    fn single(&self, kind: &str) -> (String, String) {
        let (attribute, rust) = match kind {
            "bool" => ("bool", "bool"),
            "bytes" => ("bytes = \"vec\"", "Vec<u8>"),
            "int64" => ("int64", "i64"),
            "string" => ("string", "String"),
            "uint32" => ("uint32", "u32"),
            "uint64" => ("uint64", "u64"),
            name if self.enums.contains(name) => {
                return (format!("enumeration = \"{name}\""), "i32".to_owned());
            }
            name => ("message", name),
        };
        (attribute.to_owned(), rust.to_owned())
    }
}

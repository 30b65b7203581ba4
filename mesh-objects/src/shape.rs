//! How the types of this folder are written: one form for all, so that a field is its text, its name and its
//! type. Only the macro lives here.

/// Structs and enums as manifests have them: camel case, no unknown fields, and what is absent is not printed.
///
/// A field of type `Option`, `Vec`, `TextMap` or `BTreeMap` may be absent, unless `required` stands before its
/// type. All fields of a `default struct` may be absent.
macro_rules! shapes {
    () => {};
    ($(#[$meta:meta])* pub default struct $name:ident { $($fields:tt)* } $($rest:tt)*) => {
        shapes!(@fields [
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
            pub struct $name
        ] [] $($fields)*);
        shapes!($($rest)*);
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($fields:tt)* } $($rest:tt)*) => {
        shapes!(@fields [
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            pub struct $name
        ] [] $($fields)*);
        shapes!($($rest)*);
    };
    ($(#[$meta:meta])* pub enum $name:ident { $($variants:tt)* } $($rest:tt)*) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($variants)* }
        shapes!($($rest)*);
    };
    (@fields [$($head:tt)*] [$($done:tt)*]) => { $($head)* { $($done)* } };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : required $type:ty, $($rest:tt)*) => {
        shapes!(@fields $head [$($done)* $(#[$meta])* pub $field: $type,] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : Option<$type:ty>, $($rest:tt)*) => {
        shapes!(@fields $head [
            $($done)* $(#[$meta])*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,
        ] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : Vec<$type:ty>, $($rest:tt)*) => {
        shapes!(@fields $head [
            $($done)* $(#[$meta])*
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub $field: Vec<$type>,
        ] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : TextMap, $($rest:tt)*) => {
        shapes!(@fields $head [
            $($done)* $(#[$meta])*
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub $field: TextMap,
        ] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : BTreeMap<String, $type:ty>, $($rest:tt)*) => {
        shapes!(@fields $head [
            $($done)* $(#[$meta])*
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub $field: BTreeMap<String, $type>,
        ] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident : $type:ty, $($rest:tt)*) => {
        shapes!(@fields $head [$($done)* $(#[$meta])* pub $field: $type,] $($rest)*);
    };
}

pub(crate) use shapes;

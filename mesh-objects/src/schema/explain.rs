//! Words for what would be right: the nearest known name, and known patterns in plain language.

use serde_json::Value as Json;

/// The known name that a misspelled one probably means.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = (name.chars().count() / 3).max(1);
    let distances = known.map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known));
    distances.min().filter(|(distance, _)| *distance <= allowed).map(|(_, known)| known)
}

/// Insertions, deletions and replacements between two texts. Long texts are not compared.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A list of allowed values.
pub(super) fn one_of(allowed: &[Json]) -> String {
    let words: Vec<String> = allowed.iter().map(plain).collect();
    format!("one of {}", words.join(", "))
}

/// A value as a person would write it; long ones are cut.
pub(super) fn plain(value: &Json) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    shorten(&text)
}

/// A text of at most 60 characters.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a pattern of the Gateway API asks for, in words; the pattern itself where it has none.
pub(super) fn pattern(pattern: &str) -> String {
    const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    let dns = format!("{LABEL}(\\.{LABEL})*");
    let words = if pattern == format!("^{dns}$") {
        "a lower-case DNS name"
    } else if pattern == format!("^(\\*\\.)?{dns}$") {
        "a lower-case DNS name, with `*.` in front for all names below it"
    } else if pattern == format!("^$|^{dns}$") {
        "empty for core objects, or a lower-case DNS name"
    } else if pattern == format!("^{LABEL}$") {
        "lower-case letters, digits and '-', with a letter or digit at both ends"
    } else if pattern == "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$" {
        "a kind such as Service"
    } else if pattern == "^([0-9]{1,5}(h|m|s|ms)){1,4}$" {
        "a duration such as 1h30m, 10s or 500ms"
    } else if pattern.starts_with(&format!("^{dns}\\/")) {
        "a DNS name, '/' and a path, such as mesh.io/gateway-controller"
    } else if pattern == "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$" {
        "a header name (RFC 9110, section 5.1)"
    } else if pattern == "^[!-~]+([\\t ]?[!-~]+)*$" {
        "a header value of printable ASCII, with single blanks inside"
    } else {
        return format!("a text that matches {pattern}");
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let known = ["backendRefs", "filters", "matches", "name", "timeouts"];
        let table = [
            ("backendRef", Some("backendRefs")),
            ("backendrefs", Some("backendRefs")),
            ("timeout", Some("timeouts")),
            ("nmae", None),
            ("matchs", Some("matches")),
            ("zzz", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(shorten(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
    }
}

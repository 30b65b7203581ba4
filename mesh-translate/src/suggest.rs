//! What a reader probably meant: the closest of the names that exist. No findings.

/// The name nearest to `wanted` by edit distance, if one is near enough to be a slip.
pub(super) fn closest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + wanted.len() / 4;
    let measured = names.into_iter().map(|name| (distance(wanted, name), name));
    measured.filter(|(d, _)| *d <= limit).min().map(|(_, name)| name)
}

/// A suggestion with the closest name, or else the list of names, or else nothing.
pub(super) fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = closest(wanted, names.clone()) {
        return format!("did you mean {name:?}?");
    }
    let mut known: Vec<&str> = names.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    known.truncate(8);
    if known.is_empty() { String::new() } else { format!("there is {}", known.join(", ")) }
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = ["reviews", "ratings", "details"];
        assert_eq!(closest("review", names), Some("reviews"));
        assert_eq!(closest("raitngs", names), Some("ratings"));
        assert_eq!(closest("checkout", names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(did_you_mean("reviws", names), "did you mean \"reviews\"?");
        assert_eq!(did_you_mean("nothing", names), "there is details, ratings, reviews");
        assert_eq!(did_you_mean("x", []), "");
    }
}

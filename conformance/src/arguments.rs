//! The words after a task's name. What a task does with them is decided there.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::cluster::{Channel, Place};
use crate::config::Config;
use crate::images::Profile;

/// Options that stand alone.
const SWITCHES: &[&str] = &["absent", "attended", "release", "mesh", "node", "short"];

/// Options by name, and the words that are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    options: BTreeMap<String, String>,
    pub(crate) rest: Vec<String>,
}

impl Arguments {
    /// Reads `--name value`, `--name=value` and switches.
    ///
    /// # Errors
    /// For an option that the task does not know, and for a missing value.
    pub(crate) fn read(words: &[String], known: &[&str]) -> anyhow::Result<Self> {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                read.rest.push(word.clone());
                continue;
            };
            let (name, given) =
                option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            if !known.contains(&name) {
                bail!("no option `--{name}` here; there are: {}", known.join(", "));
            }
            let value = match given {
                Some(value) => value.to_owned(),
                None if SWITCHES.contains(&name) => String::new(),
                None => words.next().cloned().ok_or_else(|| anyhow::anyhow!("`--{name}` needs a value"))?,
            };
            read.options.insert(name.to_owned(), value);
        }
        Ok(read)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The cluster that is meant.
    pub(crate) fn place(&self, config: &Config) -> Place {
        Place::new(config, self.get("name").unwrap_or(&config.cluster))
    }

    /// # Errors
    /// For a channel that does not exist.
    pub(crate) fn channel(&self) -> anyhow::Result<Channel> {
        self.get("channel").map_or(Ok(Channel::Standard), Channel::parse)
    }

    pub(crate) fn has(&self, switch: &str) -> bool {
        self.options.contains_key(switch)
    }

    pub(crate) fn profile(&self) -> Profile {
        if self.has("release") { Profile::Release } else { Profile::Debug }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn read(line: &str) -> anyhow::Result<Arguments> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Arguments::read(&words, &["name", "release"])
    }

    #[test]
    fn options_may_be_written_both_ways() {
        assert_eq!(read("--name a x").unwrap(), read("x --name=a").unwrap());
        assert_eq!(read("--name a x").unwrap().rest, ["x"]);
        assert_eq!(read("--release x").unwrap().rest, ["x"]);
    }

    #[test]
    fn what_a_task_does_not_know_is_refused() {
        assert!(read("--color red").is_err());
        assert!(read("--name").is_err());
    }
}

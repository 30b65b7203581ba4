//! The hosts file of a workload: its text, and its replacement while the workload runs.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

/// The hosts file of a running workload. It is the same file all the time (a bind mount has no other choice), so a
/// reader that comes in the very moment of a replacement may see both halves.
#[derive(Debug)]
pub struct HostsFile {
    file: File,
}

impl HostsFile {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// Replaces all names; the next look-up sees them.
    ///
    /// # Errors
    /// The error of the write, such as a full memory file system (16 MiB).
    pub fn replace(&self, hosts: &[(IpAddr, Vec<String>)]) -> io::Result<()> {
        let text = text(hosts);
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

/// Writes a hosts file: loopback, this machine's own name, then the given names, one line for each address.
pub(super) fn text(hosts: &[(IpAddr, Vec<String>)]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let taken = hosts.iter().any(|(_, names)| names.contains(&own));
    if !taken && own != "localhost" && is_name(&own) {
        text.push_str(&format!("{} {own}\n", super::link::WORKLOAD_V4));
    }
    for (address, names) in hosts {
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_name(name)).collect();
        if !names.is_empty() {
            text.push_str(&format!("{address} {}\n", names.join(" ")));
        }
    }
    text
}

/// Whether this can stand in a hosts file without becoming something else.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_bring_a_line_of_its_own() {
        let hosts = vec![([240, 0, 0, 1].into(), vec!["a\n1.2.3.4 b".to_owned(), "reviews".to_owned()])];
        let text = text(&hosts);
        assert!(text.ends_with("\n240.0.0.1 reviews\n"), "{text}");
        assert!(!text.contains("1.2.3.4"));
    }
}

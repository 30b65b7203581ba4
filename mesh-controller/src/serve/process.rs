//! What the system says of this process, for `/metrics`. Where it says nothing, nothing is shown.

use std::fmt::Write as _;

/// Clock ticks in a second, as the kernel counts for programs.
const TICKS: f64 = 100.0;

/// The usual two, by their usual names.
pub(super) fn write(text: &mut String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(kilobytes) = resident(&read("/proc/self/status")) {
        let name = "process_resident_memory_bytes";
        let _ =
            writeln!(text, "# HELP {name} Memory in use.\n# TYPE {name} gauge\n{name} {}", kilobytes * 1024);
    }
    if let Some(ticks) = ticks(&read("/proc/self/stat")) {
        let name = "process_cpu_seconds_total";
        let seconds = ticks / TICKS;
        let _ = writeln!(text, "# HELP {name} Processor time.\n# TYPE {name} counter\n{name} {seconds}");
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Those of the program and those of the kernel for it. The name before them may hold anything but ends in `)`.
fn ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let value = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(value(11)? + value(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_read_as_the_kernel_writes_them() {
        assert_eq!(resident("Name:\ta\nVmRSS:\t    1234 kB\nVmSwap:\t0 kB\n"), Some(1234));
        assert_eq!(resident("Name:\ta\n"), None);
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 1 0 5 1000 200";
        assert_eq!(ticks(stat), Some(42.0));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}

//! What the daemon's own process takes, as the kernel says in `/proc`.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What it takes; what cannot be read is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) cpu: Duration,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        // The directory that is being read is open too.
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1));
        Self {
            // By the C library: rustix looks for it by a call that the sandbox denies.
            cpu: clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
                .map_or(Duration::ZERO, Into::into),
            resident_bytes: status.as_deref().and_then(resident),
            open_files: files.and_then(|files| files.try_into().ok()),
        }
    }
}

/// The line `VmRSS:     1234 kB`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_memory_and_open_files() {
        let Process { cpu, resident_bytes, open_files } = Process::read();
        assert!(!cpu.is_zero());
        assert!(resident_bytes.unwrap() > 100_000, "{resident_bytes:?}");
        assert!((3..10_000).contains(&open_files.unwrap()), "{open_files:?}");
    }

    #[test]
    fn memory_is_in_bytes_and_nothing_where_the_line_is_another() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t    12 kB\n"), Some(12_288));
        assert_eq!(resident("VmRSS:\t 12 MB\n"), None);
        assert_eq!(resident(""), None);
    }
}

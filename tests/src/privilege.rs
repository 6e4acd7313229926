//! Whether this test may run: root, and a skip that cannot go unnoticed where root was promised.

use std::io::{self, Write as _};

use anyhow::{Result, ensure};

/// Set to `1` by whoever runs the tests as root on purpose, so that no skip passes for a success.
pub const REQUIRE_ROOT: &str = "EBPF_NETNS_REQUIRE_ROOT";

/// Whether a privileged test can run; false after printing that it is skipped.
///
/// # Errors
///
/// When privilege was promised with [`REQUIRE_ROOT`] and is not there.
pub fn have_root() -> Result<bool> {
    let root = nix::unistd::geteuid().is_root();
    let promised = std::env::var_os(REQUIRE_ROOT).is_some_and(|value| value == "1");
    decide(root, promised)?;
    if !root {
        writeln!(io::stderr().lock(), "skipped: needs root")?;
    }
    Ok(root)
}

fn decide(root: bool, promised: bool) -> Result<()> {
    ensure!(root || !promised, "{REQUIRE_ROOT}=1 promises root, but this is not root");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_promise_is_an_error() {
        for (root, promised, ok) in
            [(true, true, true), (true, false, true), (false, false, true), (false, true, false)]
        {
            assert_eq!(decide(root, promised).is_ok(), ok, "root {root}, promised {promised}");
        }
    }
}

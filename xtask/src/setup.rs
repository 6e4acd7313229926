//! `cargo xtask setup`: the packages that building and testing need.

use anyhow::Result;

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    anyhow::bail!("setup: under construction")
}

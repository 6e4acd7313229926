//! `cargo xtask demo`: the main job on a real Docker engine, narrated and checked.

use anyhow::Result;

/// What `cargo xtask demo` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave the engine and its containers running at the end.
    #[arg(long)]
    keep: bool,
}

/// Runs the demonstration.
pub(crate) fn run(options: &Options) -> Result<()> {
    anyhow::bail!("demo: under construction ({options:?})")
}

//! `cargo xtask test`: every check and every test, the way CI runs them.

use anyhow::Result;

use crate::ui;

/// What `cargo xtask test` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
}

/// Runs the stages.
pub(crate) fn run(options: &Options) -> Result<()> {
    ui::heading("test");
    ui::line(format_args!("filter {:?}", options.filter));
    anyhow::bail!("test: under construction")
}

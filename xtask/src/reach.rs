//! `cargo xtask reach`: who reaches whom in `compose/demo.yaml`, measured.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{chaos::report::Section, newer::Newer, reach};

use crate::{setup, ui};

/// Start the containers of compose/demo.yaml on a Docker engine without a way out, and measure which
/// of them reaches whom (root).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Put the table into this document, for example README.md.
    #[arg(long, value_name = "DOCUMENT")]
    write: Option<PathBuf>,
}

/// Measures.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(setup::is_root(), "the engine takes root: sudo -E cargo xtask reach");
    let find = |document: &PathBuf| Section::find(document, &crate::root(), reach::SECTION);
    let section = args.write.as_ref().map(find).transpose()?;
    setup::run()?;
    let newer = Newer::find()?.context("there is no Docker Compose")?;
    let table = reach::measure(&newer)?;
    ui::line(&table);
    section.map_or(Ok(()), |section| section.write(&table))
}

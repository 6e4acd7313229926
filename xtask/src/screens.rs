//! `cargo xtask screens`: what the commands show, for documents that show it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ebpf_netns_tests::{chaos::report::Section, screens};

use crate::{setup, ui};

/// Run the commands that documents show screens of, with containers and traffic on a Docker engine
/// without a way out (root).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Put those into this document that it has sections for, for example README.md; may be given
    /// several times.
    #[arg(long, value_name = "DOCUMENT")]
    write: Vec<PathBuf>,
}

/// A screen's place in a document, which need not have every one.
fn find(document: &Path, name: &str) -> Option<Section> {
    Section::find(document, &crate::root(), name).ok()
}

/// Takes them.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(setup::is_root(), "the engine takes root: sudo -E cargo xtask screens");
    setup::run()?;
    for (name, screen) in screens::take()? {
        ui::heading(name);
        ui::line(&screen);
        let sections = args.write.iter().filter_map(|document| find(document, name));
        for section in sections {
            section.write(&format!("```text\n{}\n```", screen.trim_end()))?;
        }
    }
    Ok(())
}

//! `cargo xtask soak`: everything comes and goes at random, for as long as one likes.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::chaos::{
    report::Section,
    soak::{Soak, Stop, run as soak},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{setup, ui};

/// Let containers, networks, the daemon and the engine come and go at random, and watch (root).
///
/// A line each minute, and a table in the end, also after Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For how long; a fraction will do, such as 0.5.
    #[arg(long, default_value_t = 0.5)]
    hours: f64,
    /// Makes the same choices as an earlier run of this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Put the table into this document, for example docs/reliability.md.
    #[arg(long, value_name = "DOCUMENT")]
    write: Option<PathBuf>,
}

/// Runs the soak.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(setup::is_root(), "the soak takes root: sudo -E cargo xtask soak");
    ensure!(args.hours.is_finite() && args.hours > 0.0, "--hours is more than 0");
    let find = |document: &PathBuf| Section::find(document, &crate::root(), "soak");
    let section = args.write.as_ref().map(find).transpose()?;
    setup::run()?;
    let stop = CtrlC::new()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(now.as_secs());
    ui::line(format_args!("seed {seed}"));
    let duration = Duration::from_secs_f64(args.hours * 3600.0);
    let summary = soak(&Soak { duration, seed, stop: &stop }, &|line| ui::line(line))?;
    let table = summary.table();
    ui::heading("Measured");
    ui::line(&table);
    section.map_or(Ok(()), |section| section.write(&table))
}

/// SIGINT and SIGTERM, which are noted. They are not blocked: programs that are started would
/// inherit that, and a daemon could not be stopped.
#[derive(Debug)]
struct CtrlC(Arc<AtomicBool>);

impl CtrlC {
    fn new() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&asked)).context("listen for Ctrl-C")?;
        }
        Ok(Self(asked))
    }
}

impl Stop for CtrlC {
    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! `cargo xtask bench`: measurements, each a benchmark of the `tests` crate.

use std::process::Command;

use anyhow::Result;

use crate::{setup, ui};

/// What `cargo xtask bench` was asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Loading, attaching and detaching; memory; from a link event to an attached program.
    Attach {
        /// How many veths, from 1 to 1000; may be several.
        #[arg(value_name = "VETHS", default_values_t = [1, 100, 1000])]
        veths: Vec<u32>,
    },
    /// Strict mode's gate: letting ports through, closing them, and what it costs a frame.
    Gate,
    /// Starting a container: with runc and with our runtime, without and with the daemon.
    Run {
        /// How many containers of each kind.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
}

/// Runs a benchmark, built for release.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    setup::run()?;
    let (name, arguments): (_, Vec<String>) = match bench {
        Bench::Attach { veths } => ("attach", veths.iter().map(u32::to_string).collect()),
        Bench::Run { rounds } => ("run_latency", vec![rounds.to_string()]),
        Bench::Gate => ("gate", Vec::new()),
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "ebpf-netns-tests", "--bench", name, "--"]);
    cargo.args(arguments).current_dir(crate::root());
    ui::run(&mut cargo)
}

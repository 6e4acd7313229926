//! `cargo xtask bench`: measurements, each a benchmark of the `tests` crate.

use std::{path::PathBuf, process::Command};

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
    /// The datapath: a packet, forwarding, dropping, bulk, many containers, memory.
    Datapath {
        /// What of it; all if nothing is named.
        #[arg(value_enum)]
        sections: Vec<Section>,
        /// Just see that it works, in seconds: no figures to rely on.
        #[arg(long)]
        quick: bool,
        /// Load the programs of `verdict` without `CAP_PERFMON`, of which the verifier makes other code.
        #[arg(long)]
        least: bool,
        /// Put what was found into this document, and plots beside it.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// Strict mode's gate: letting ports through, closing them, and what it costs a frame.
    Gate,
    /// TCP between two containers on a network of the driver, against Docker's own bridge.
    Network {
        /// How many rounds.
        #[arg(long, default_value_t = 30)]
        rounds: u32,
    },
    /// Starting a container: with runc and with our runtime, without and with the daemon.
    Run {
        /// How many containers of each kind.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
}

/// A part of the datapath's benchmark.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Section {
    /// Nanoseconds a packet, by the kernel's own measure.
    Verdict,
    /// What forwarding a packet costs, beside nftables and iptables.
    Forward,
    /// How many packets a second are dropped, beside them.
    Drop,
    /// What a capture costs, beside none.
    Capture,
    /// Throughput of one TCP connection.
    Bulk,
    /// Many containers.
    Scale,
    /// What it all takes of memory.
    Memory,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Forward => "forward",
            Self::Drop => "drop",
            Self::Capture => "capture",
            Self::Bulk => "bulk",
            Self::Scale => "scale",
            Self::Memory => "memory",
        }
    }
}

/// Runs a benchmark, built for release.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    setup::run()?;
    let (name, arguments): (_, Vec<String>) = match bench {
        Bench::Attach { veths } => ("attach", veths.iter().map(u32::to_string).collect()),
        Bench::Run { rounds } => ("run_latency", vec![rounds.to_string()]),
        Bench::Gate => ("gate", Vec::new()),
        Bench::Network { rounds } => ("network", vec![rounds.to_string()]),
        Bench::Datapath { sections, quick, least, write } => {
            let mut arguments: Vec<_> = sections.iter().map(|it| it.name().to_owned()).collect();
            arguments.extend(quick.then(|| "--quick".to_owned()));
            arguments.extend(least.then(|| "--least".to_owned()));
            if let Some(document) = write {
                let document = std::path::absolute(document)?;
                arguments.extend(["--write".to_owned(), document.display().to_string()]);
            }
            ("datapath", arguments)
        }
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "ebpf-netns-tests", "--bench", name, "--"]);
    cargo.args(arguments).current_dir(crate::root());
    ui::run(&mut cargo)
}

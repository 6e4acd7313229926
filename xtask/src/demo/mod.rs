//! `cargo xtask demo`: the main job on a real Docker engine, narrated and checked.
//!
//! What is shown is what happens: each command is printed, run, and its own output printed below
//! it. Every expectation is checked, and the command fails when one is not met.

mod scene;
mod story;

use std::{io, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::{Engine, binaries};

use self::scene::Scene;
use crate::{setup, ui};

/// What `cargo xtask demo` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The Docker engine to use.
    #[arg(long, value_enum, default_value_t = Host::Private)]
    engine: Host,
    /// Before cleaning up, wait for Enter, with all still running.
    #[arg(long)]
    keep: bool,
}

/// Whose engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Host {
    /// One of the demonstration's own, without a network uplink.
    Private,
    /// This machine's, at $`DOCKER_HOST` or the usual socket; only what the demo made is removed.
    Host,
}

/// Runs the demonstration.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        setup::is_root(),
        "the demo attaches eBPF programs: run it as root, for example `sudo -E cargo xtask demo`"
    );
    setup::run()?;
    ui::heading("Building ebpf-netns");
    ui::run(Command::new("cargo").arg("build").args(binaries::PRODUCT).current_dir(crate::root()))?;

    let engine = scene::open(options.engine)?;
    let mut scene = Scene::new(&engine, options.engine);
    let told = story::tell(&mut scene);
    if options.keep {
        keep(&engine)?;
    }
    ui::heading("Cleaning up");
    let closed = scene.close();
    let directory = engine.machine().directory().to_path_buf();
    drop(engine);
    let differences = told.and(closed)?;
    ensure!(!directory.exists(), "{} is left", directory.display());
    if differences.is_empty() {
        ui::line("Everything was as expected, and nothing is left of it.");
        return Ok(());
    }
    bail!("this was not as expected:\n  {}", differences.join("\n  "))
}

fn keep(engine: &Engine) -> Result<()> {
    ui::heading("Still running: press Enter to clean up");
    if let Some(init) = engine.machine().init() {
        ui::line("To look around, in another terminal:");
        ui::typed(format_args!("nsenter --target {init} --net --mount --pid bash"));
    }
    io::stdin().read_line(&mut String::new()).context("wait for Enter").map(drop)
}

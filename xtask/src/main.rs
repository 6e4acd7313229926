//! Every command that people and CI run on this repository: `cargo xtask COMMAND`.
//!
//! This file only wires: one module a command, and what it returns becomes the exit code.
#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod demo;
mod dev;
mod dist;
#[cfg(test)]
mod documents;
mod ebpf;
mod fuzz;
mod kernels;
mod newer;
mod reach;
mod remap;
mod screens;
mod setup;
mod soak;
mod test;
mod tidy;
mod ui;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks and shows ebpf-netns.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Bench),
    Chaos(chaos::Args),
    /// Install the packages that building and testing need (Debian, root).
    Setup,
    /// Show the main job on a real Docker engine, step by step, and check every step.
    Demo(demo::Options),
    DevContainer(dev::Args),
    Dist(dist::Args),
    Ebpf(ebpf::Args),
    Fuzz(fuzz::Args),
    Kernels(kernels::Args),
    Plugin(dist::plugin::Args),
    Reach(reach::Args),
    Screens(screens::Args),
    Soak(soak::Args),
    /// Check the rules of this repository that a program can check.
    Tidy,
    /// Run every check and every test, the way CI does.
    Test(test::Options),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Bench(bench) => bench::run(&bench),
        Command::Chaos(args) => chaos::run(&args),
        Command::Setup => setup::run(),
        Command::Demo(options) => demo::run(&options),
        Command::DevContainer(args) => dev::run(&args, &root()),
        Command::Dist(args) => dist::run(&args, &root()),
        Command::Ebpf(args) => ebpf::run(&args, &root()),
        Command::Fuzz(args) => fuzz::run(&args, &root()),
        Command::Kernels(args) => kernels::run(&args, &root()),
        Command::Plugin(args) => dist::plugin::run(&args, &root()),
        Command::Reach(args) => reach::run(&args),
        Command::Screens(args) => screens::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Tidy => tidy::run(&root()),
        Command::Test(options) => test::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::failure(&error);
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: cargo tells, so that a copy of the program never works elsewhere.
fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = xtask.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_owned)
}

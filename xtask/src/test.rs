//! `cargo xtask test`: every check and every test, the way CI runs them.
//!
//! All stages run, also after one has failed, so that one run shows all that is wrong.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ebpf_netns_tests::{binaries, privilege};

use crate::{dist, setup, ui};

/// Tests start Docker engines, which are busy themselves.
const THREADS: &str = "2";

/// What `cargo xtask test` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this, and none of the other checks.
    #[arg(long)]
    filter: Option<String>,
}

/// One check: its name, and how to run it.
struct Stage {
    name: &'static str,
    action: Action,
}

enum Action {
    Setup,
    /// `cargo` with these arguments and environment.
    Cargo(Vec<String>, Vec<(&'static str, &'static str)>),
    /// The programs of this machine as they are packed.
    Standalone,
    /// `cargo xtask` with these arguments.
    Own(&'static [&'static str]),
}

/// How a stage went.
struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<anyhow::Error>,
}

/// Runs the stages.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let root = setup::is_root();
    if !root {
        ui::line("not root: the tests that need it are skipped");
    }
    let outcomes: Vec<_> = stages(options.filter.as_deref(), root).iter().map(perform).collect();

    ui::heading(format_args!("Summary, after {:.0} s", start.elapsed().as_secs_f64()));
    for Outcome { name, took, error } in &outcomes {
        let (took, word) = (took.as_secs_f64(), if error.is_none() { "ok" } else { "FAILED" });
        ui::line(format_args!("{word:<6} {took:>6.1} s  {name}"));
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} stages failed", outcomes.len());
    }
    Ok(())
}

fn stages(filter: Option<&str>, root: bool) -> Vec<Stage> {
    let mut stages = Vec::new();
    if root {
        stages.push(Stage { name: "programs that the tests need", action: Action::Setup });
    }
    if filter.is_none() {
        stages.extend(checks());
    }
    // One build for the programs and the tests, so that dependencies are compiled once for both.
    let build = "build --workspace --exclude plugin-ebpf --bins --tests";
    stages.push(cargo("build the programs and the tests", &words(build)));
    // As they are packed: tests of packages install and run them.
    stages.push(Stage {
        name: "build the programs that need no library",
        action: Action::Standalone,
    });
    stages.push(test_stage(filter, root));
    if filter.is_none() && root {
        // As the tests are built, and just to see that it works.
        let bench = "bench --profile dev --package ebpf-netns-tests --bench datapath -- --quick";
        stages.push(cargo("the datapath's benchmark", &words(bench)));
    }
    if filter.is_none() {
        let doc = cargo("documentation", &words("doc --no-deps --workspace --exclude plugin-ebpf"));
        stages.push(with_environment(doc, ("RUSTDOCFLAGS", "-D warnings")));
    }
    stages
}

/// What needs no test to run.
fn checks() -> Vec<Stage> {
    let fuzz = "fetch --locked --manifest-path tests/fuzz/Cargo.toml";
    let clippy = "clippy --workspace --exclude plugin-ebpf --all-targets -- -D warnings";
    vec![
        cargo("formatting", &words("fmt --all -- --check")),
        Stage { name: "rules of the house", action: Action::Own(&["tidy"]) },
        Stage { name: "committed kernel programs", action: Action::Own(&["ebpf", "--check"]) },
        // They are no part of the workspace, and so nothing else would notice that it is out of date.
        cargo("lock file of the fuzz targets", &words(fuzz)),
        cargo("clippy", &words(clippy)),
    ]
}

fn test_stage(filter: Option<&str>, root: bool) -> Stage {
    let mut arguments = words("test --workspace --exclude plugin-ebpf --no-fail-fast --");
    arguments.extend(["--test-threads", THREADS]);
    arguments.extend(filter);
    let stage = with_environment(cargo("tests", &arguments), (binaries::PREBUILT, "1"));
    if root { with_environment(stage, (privilege::REQUIRE_ROOT, "1")) } else { stage }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn cargo(name: &'static str, arguments: &[&str]) -> Stage {
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    Stage { name, action: Action::Cargo(arguments, Vec::new()) }
}

fn with_environment(mut stage: Stage, variable: (&'static str, &'static str)) -> Stage {
    if let Action::Cargo(_, environment) = &mut stage.action {
        environment.push(variable);
    }
    stage
}

fn perform(stage: &Stage) -> Outcome {
    ui::heading(stage.name);
    let start = Instant::now();
    let result = act(&stage.action);
    if let Err(error) = &result {
        ui::failure(error);
    }
    Outcome { name: stage.name, took: start.elapsed(), error: result.err() }
}

fn act(action: &Action) -> Result<()> {
    match action {
        Action::Setup => setup::run(),
        Action::Standalone => {
            // Where Rust's standard library for it is out of reach, the tests of packages are skipped.
            if let Err(error) = dist::setup::provide(&[std::env::consts::ARCH]) {
                ui::line(format_args!("the tests of packages are skipped: {error:#}"));
                return Ok(());
            }
            let arguments = binaries::standalone_arguments();
            ui::run(Command::new("cargo").arg("build").args(arguments).current_dir(crate::root()))
        }
        Action::Cargo(arguments, environment) => {
            let mut cargo = Command::new("cargo");
            cargo.args(arguments).envs(environment.iter().copied());
            // The test programs may be started from anywhere; the workspace may not.
            ui::run(cargo.current_dir(crate::root()).stdin(Stdio::null()))
        }
        Action::Own(arguments) => {
            let program = std::env::current_exe().context("find the running program")?;
            let mut xtask = Command::new(program);
            ui::run(xtask.args(*arguments).current_dir(crate::root()).stdin(Stdio::null()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_runs_the_tests_and_no_other_check() {
        let names: Vec<_> = stages(Some("veth"), true).iter().map(|stage| stage.name).collect();
        assert_eq!(
            names,
            [
                "programs that the tests need",
                "build the programs and the tests",
                "build the programs that need no library",
                "tests"
            ]
        );
    }

    #[test]
    fn root_is_promised_to_the_tests_only_when_it_is_there() {
        for root in [true, false] {
            let Stage { action: Action::Cargo(_, environment), .. } = test_stage(None, root) else {
                panic!("the tests are run by cargo");
            };
            assert_eq!(environment.contains(&(privilege::REQUIRE_ROOT, "1")), root, "root {root}");
        }
    }
}

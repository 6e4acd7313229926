//! `cargo xtask fuzz`: what people, Docker and containers send, made up by libFuzzer.
//!
//! The programs are built with LLVM's own coverage, which stable Rust has a flag for, and without a
//! sanitizer: nothing that they reach has unsafe code.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ui;

/// Where the programs and their corpora are, from the root.
const PLACE: &str = "tests/fuzz";
/// What the compiler adds for the fuzzer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// The longest input, in bytes: more than a label may have.
const LONGEST: u32 = 8192;
/// The longest that one input may take, in seconds.
const SLOWEST: u32 = 10;

/// Feed the parsers and the datapath with what libFuzzer makes up, and count what breaks.
///
/// What it finds on its way is kept below target/fuzz. An input that breaks something belongs into
/// tests/fuzz/corpus/TARGET: `cargo xtask test` runs all that is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these targets, for example labels rules.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long for each; a fraction will do.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// How a target went.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    runs: Option<u64>,
    coverage: Option<u64>,
}

/// Runs the targets.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    ensure!(args.minutes.is_finite() && args.minutes > 0.0, "--minutes is more than 0");
    let place = root.join(PLACE);
    let targets = selected(&args.targets, &all(&place)?)?;
    let programs = build(root)?;
    let mut broken = Vec::new();
    let mut lines = Vec::new();
    for target in &targets {
        ui::heading(format_args!("{target}, for {} minutes", args.minutes));
        let found = root.join("target/fuzz/found").join(target);
        let crashes = root.join("target/fuzz/crashes").join(target);
        for directory in [&found, &crashes] {
            fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        let mut fuzzer = Command::new(programs.join(target));
        let seconds = args.minutes * 60.0;
        fuzzer.arg(&found).arg(place.join("corpus").join(target));
        fuzzer.args([
            format!("-max_total_time={seconds:.0}"),
            format!("-max_len={LONGEST}"),
            format!("-timeout={SLOWEST}"),
            format!("-artifact_prefix={}/", crashes.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        let (outcome, ended) = watch(&mut fuzzer)?;
        let Outcome { runs, coverage } = outcome;
        let shown = |number: Option<u64>| number.map_or("?".to_owned(), |it| it.to_string());
        let word = if ended { "ok" } else { "BROKEN" };
        lines.push(format!(
            "{word:<7} {target:<8} runs {}, coverage {}",
            shown(runs),
            shown(coverage)
        ));
        if !ended {
            broken.push(format!("{target} (see {})", crashes.display()));
        }
    }
    ui::heading("Summary");
    lines.iter().for_each(ui::line);
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

/// Every target: a file each.
fn all(place: &Path) -> Result<Vec<String>> {
    let directory = place.join("targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// The targets that were asked for, all of them when none was.
fn selected(wanted: &[String], all: &[String]) -> Result<Vec<String>> {
    for target in wanted {
        ensure!(all.contains(target), "there is no target {target}: there are {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { wanted }.to_vec())
}

/// Builds the programs; returns where they are.
fn build(root: &Path) -> Result<PathBuf> {
    ui::heading("Build");
    let target = host()?;
    let directory = root.join("target/fuzz");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--bins", "--target", &target]);
    cargo.arg("--manifest-path").arg(root.join(PLACE).join("Cargo.toml"));
    // With a target, build scripts and macros are built without the flags.
    cargo.arg("--target-dir").arg(&directory).env("RUSTFLAGS", FLAGS).env("CARGO_INCREMENTAL", "0");
    ui::run(&mut cargo)?;
    Ok(directory.join(target).join("release"))
}

/// What this machine is to the compiler.
fn host() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// Runs a fuzzer to its end and shows what it says; whether it found nothing.
fn watch(fuzzer: &mut Command) -> Result<(Outcome, bool)> {
    let mut child = fuzzer
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", fuzzer.get_program().display()))?;
    let mut outcome = Outcome::default();
    let said = child.stderr.take().context("the fuzzer's output")?;
    for line in BufReader::new(said).split(b'\n') {
        let line = line.context("read what the fuzzer says")?;
        let line = String::from_utf8_lossy(&line);
        outcome.hear(&line);
        ui::line(&line);
    }
    Ok((outcome, child.wait().context("wait for the fuzzer")?.success()))
}

impl Outcome {
    /// Takes what a line of libFuzzer's tells.
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().ok().or(self.runs);
        } else if let Some(number) = words.next().and_then(|word| word.strip_prefix('#')) {
            self.runs = number.parse().ok().or(self.runs);
            let mut rest = words.skip_while(|word| *word != "cov:").skip(1);
            self.coverage = rest.next().and_then(|it| it.parse().ok()).or(self.coverage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_there_is_none_of_is_named() {
        let all = ["labels", "rules"].map(str::to_owned);
        let error = selected(&["label".to_owned()], &all).unwrap_err().to_string();
        assert!(error.contains("label: there are labels, rules"), "{error}");
        assert_eq!(selected(&[], &all).unwrap(), all);
        assert_eq!(selected(&all[1..], &all).unwrap(), ["rules"]);
    }

    #[test]
    fn runs_and_coverage_are_told_by_the_last_line_that_has_them() {
        let mut outcome = Outcome::default();
        for line in [
            "INFO: seed corpus: files: 25",
            "#26\tINITED cov: 1200 ft: 2300 corp: 24/3Kb exec/s: 0 rss: 40Mb",
            "#65536\tpulse  cov: 1523 ft: 2300 corp: 24/3Kb",
            "stat::number_of_executed_units: 70001",
            "stat::peak_rss_mb: 300",
        ] {
            outcome.hear(line);
        }
        assert_eq!(outcome, Outcome { runs: Some(70_001), coverage: Some(1523) });
    }
}

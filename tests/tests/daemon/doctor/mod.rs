//! `ebpf-netns doctor` on machines of every kind: what it says is true there, and it changes nothing.

mod machines;
mod rights;

use std::process::Output;

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{
    DEADLINE, Machine,
    binaries::{self, Binary},
    command::output_of,
};
use serde_json::Value;

/// The exit codes that it promises.
const FIT: i32 = 0;
const UNKNOWN: i32 = 77;
const UNFIT: i32 = 78;

/// What it said.
struct Report {
    code: i32,
    json: Value,
}

impl Report {
    /// Of a machine, as root.
    fn of(machine: &Machine) -> Result<Self> {
        Self::with(machine, &[], &[])
    }

    /// Behind a wrapper, with more arguments.
    fn with(machine: &Machine, wrapper: &[&str], arguments: &[&str]) -> Result<Self> {
        let output = doctor(machine, wrapper, &[&["--format", "json"], arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let json = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the report is JSON; {}: {said}", output.status))?;
        let code = output.status.code().context("it exits")?;
        let report = Self { code, json };
        assert_eq!(report.json["verdict"]["exit_code"], code, "the report has the exit code");
        Ok(report)
    }

    /// The findings of a check.
    fn of_check(&self, check: &str) -> Vec<&Value> {
        self.findings().filter(|finding| finding["check"] == check).collect()
    }

    /// The checks at a level.
    fn at(&self, level: &str) -> Vec<&str> {
        let at = self.findings().filter(|finding| finding["level"] == level);
        at.filter_map(|finding| finding["check"].as_str()).collect()
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.json["findings"].as_array().into_iter().flatten()
    }

    /// The check is told at this level, with these words.
    #[track_caller]
    fn check(&self, check: &str, level: &str, words: &[&str]) {
        let found = self.of_check(check);
        let all: Vec<String> = found
            .iter()
            .filter(|finding| finding["level"] == level)
            .map(ToString::to_string)
            .collect();
        assert!(
            all.iter().any(|one| words.iter().all(|word| one.contains(word))),
            "{check} is told as {level} with {words:?}, not {found:?}"
        );
    }
}

/// Runs it to its end, which it must come to by itself.
fn doctor(machine: &Machine, wrapper: &[&str], arguments: &[&str]) -> Result<Output> {
    let copy = machine.outside(COPY).exists();
    let program = if copy { COPY.into() } else { binaries::path(Binary::Plugin)? };
    let mut command = machine.command("timeout");
    command.arg(DEADLINE.as_secs().to_string()).args(wrapper).arg(program).arg("doctor");
    output_of(command.args(arguments).env_remove("DOCKER_HOST"))
}

/// Where a program is that everybody may run.
const COPY: &str = "/run/ebpf-netns-plugin";

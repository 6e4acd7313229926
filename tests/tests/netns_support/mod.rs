//! Running `ebpf-netns` in an engine's machine, as its user would.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    Engine,
    binaries::{self, Binary},
    command,
};
use serde_json::Value;

/// What came of running `ebpf-netns`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails unless it ended with this code and said this on stderr.
    pub(crate) fn failed(&self, code: i32, said: &str) -> Result<()> {
        let expected = self.code == code && self.stderr.contains(said);
        ensure!(expected, "expected code {code} and {said:?}, got {self:?}");
        Ok(())
    }
}

/// `ebpf-netns ARGUMENTS…`.
pub(crate) fn run(engine: &Engine, arguments: &[&str]) -> Result<Ran> {
    run_by(engine, &[], arguments)
}

/// As [`run`], started by another program, such as one that takes capabilities away.
pub(crate) fn run_by(engine: &Engine, by: &[&str], arguments: &[&str]) -> Result<Ran> {
    let binary = binaries::path(Binary::Netns)?;
    let mut words: Vec<PathBuf> = by.iter().map(PathBuf::from).collect();
    words.push(binary);
    let (program, rest) = words.split_first().context("there is a program")?;
    let mut command = engine.machine().command(program);
    command.args(rest).args(arguments).env("DOCKER_HOST", engine.docker_host());
    ran(&mut command)
}

/// What it wrote to stdout; it must succeed.
pub(crate) fn text(engine: &Engine, arguments: &[&str]) -> Result<String> {
    let ran = run(engine, arguments)?;
    ensure!(ran.code == 0, "{arguments:?} failed: {ran:?}");
    Ok(ran.stdout)
}

/// What it wrote to stdout with `--format json`; it must succeed.
pub(crate) fn json(engine: &Engine, arguments: &[&str]) -> Result<Value> {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    let text = text(engine, &all)?;
    serde_json::from_str(&text).with_context(|| format!("read {text:?}"))
}

fn ran(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } = command::output_of(command)?;
    Ok(Ran {
        code: status.code().context("it was not killed")?,
        stdout: String::from_utf8(stdout)?,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

//! Prometheus' text format, as much of it as tests look at, and the reference parser.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{Daemon, command::stdout_of};

/// Values by name and labels, as they are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exposition(BTreeMap<String, f64>);

impl Exposition {
    /// What `ebpf-netns-plugin metrics` prints.
    pub(crate) fn of(daemon: &Daemon<'_>) -> Result<Self> {
        Self::read(&text(daemon)?)
    }

    pub(crate) fn read(text: &str) -> Result<Self> {
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((series.to_owned(), value.parse().with_context(|| line.to_owned())?))
        });
        Ok(Self(series.collect::<Result<_>>()?))
    }

    /// The value of a series, which is written as it is in the text.
    pub(crate) fn get(&self, series: &str) -> Result<f64> {
        let value = self.0.get(series).copied();
        value.with_context(|| format!("there is no {series} in {:?}", self.0))
    }

    /// The series whose text begins so.
    pub(crate) fn beginning<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let found = self.0.iter().filter(move |(series, _)| series.starts_with(text));
        found.map(|(series, value)| (series.as_str(), *value))
    }
}

/// The text that `ebpf-netns-plugin metrics` prints.
pub(crate) fn text(daemon: &Daemon<'_>) -> Result<String> {
    stdout_of(daemon.plugin()?.arg("metrics")).map(|text| text + "\n")
}

/// `promtool check metrics`, which has nothing to say of what is right.
pub(crate) fn check_metrics(text: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start promtool: run `cargo xtask setup`")?;
    promtool.stdin.take().context("promtool reads")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.is_empty(), "promtool: {said}\n{text}");
    Ok(())
}

/// `promtool check WHAT FILE`.
pub(crate) fn check_file(what: &str, file: &Path) -> Result<()> {
    stdout_of(Command::new("promtool").args(["check", what]).arg(file)).map(drop)
}

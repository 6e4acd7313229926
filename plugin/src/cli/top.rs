//! `top`: on a terminal a view that lives, elsewhere a table or a line of JSON an interval.

use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;

use super::verbs::{Failure, runtime};
use super::watch::{Turn, every};
use super::{Format, table};
use crate::control::{self, DEFAULT_SOCKET};
use crate::error::chain;
use crate::top::{self, Interval, Report, Sample};

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// How often to ask the daemon, in seconds: from 0.2 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t)]
    interval: Interval,
    /// Show it once, without taking the terminal: rates are over one interval.
    #[arg(long, conflicts_with = "iterations")]
    once: bool,
    /// Show it so many times, one after the other, without taking the terminal.
    #[arg(long, value_name = "NUMBER")]
    iterations: Option<NonZeroU32>,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    /// How to show it. As JSON it is an object a line, and never takes the terminal.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

pub(super) fn run(args: &TopArgs) -> Result<(), Failure> {
    let TopArgs { interval, once, iterations, control_socket, format } = args;
    let times = if *once { Some(1) } else { iterations.map(NonZeroU32::get) };
    let takes = times.is_none() && *format == Format::Table && io::stdout().is_terminal();
    if takes {
        // https://no-color.org: whatever it is, as long as it is something.
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        return Ok(runtime()?.block_on(top::run(control_socket, *interval, colours))?);
    }
    runtime()?.block_on(plain(args, times))
}

/// A block an interval. Without an end, a daemon that goes away is waited for.
async fn plain(args: &TopArgs, times: Option<u32>) -> Result<(), Failure> {
    let TopArgs { interval, control_socket, format, .. } = args;
    let mut earlier: Option<Sample> = None;
    let mut shown = 0;
    every(*interval, async || {
        let status = match control::status(control_socket, false).await {
            Ok(status) => status,
            Err(error) if earlier.is_some() && times.is_none() => {
                // There is nowhere left to say that standard error is closed.
                writeln!(io::stderr().lock(), "ebpf-netns-plugin: {}", chain(&error)).ok();
                return Ok(Turn::Next);
            }
            Err(error) => return Err(error.into()),
        };
        let now = Sample { at: Instant::now(), status };
        if let Some(earlier) = &earlier {
            let report = Report::new(earlier, &now, SystemTime::now());
            write(*format, &report, shown > 0)?;
            shown += 1;
        }
        earlier = Some(now);
        Ok(if times == Some(shown) { Turn::Last } else { Turn::Next })
    })
    .await
}

/// An object a line, or a table, which an empty line separates from the one before.
fn write(format: Format, report: &Report, follows: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let line = serde_json::to_string(report).map_err(io::Error::from)?;
            writeln!(out, "{line}")?;
        }
        Format::Table => {
            let separator = if follows { "\n" } else { "" };
            write!(out, "{separator}{}", table::top(report))?;
        }
    }
    out.flush()?;
    Ok(())
}

//! What a header says, and one answer as JSON. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::rates::{Sample, rows};
use super::row::Row;
use crate::status::{DockerStatus, State, Status};

/// The rows of one answer, and what is to be known of the whole.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// In seconds since 1970.
    pub(crate) time: f64,
    /// Over how long the rates are.
    pub(crate) seconds: f64,
    /// The daemon's version.
    pub(crate) version: String,
    pub(crate) docker: DockerStatus,
    pub(crate) strict: Option<bool>,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    pub(crate) interfaces: Vec<Row>,
}

/// How many containers are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) enforced: usize,
    pub(crate) closed: usize,
    /// Interfaces that are closed until it is known whose they are.
    pub(crate) waiting: usize,
    /// Not all is stopped that should be.
    pub(crate) open: usize,
}

impl Report {
    pub(crate) fn new(earlier: &Sample, now: &Sample, clock: SystemTime) -> Self {
        let since: Duration = clock.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            time: since.as_secs_f64(),
            seconds: now.at.saturating_duration_since(earlier.at).as_secs_f64(),
            version: now.status.version.clone(),
            docker: now.status.docker.clone(),
            strict: now.status.strict,
            tally: Tally::of(&now.status),
            interfaces: rows(Some(earlier), now),
        }
    }

    /// The header in one line.
    pub(crate) fn header(&self) -> String {
        header(&self.version, &self.docker, self.strict, self.tally)
    }
}

impl Tally {
    pub(super) fn of(status: &Status) -> Self {
        let count = |state| status.containers.iter().filter(|one| one.state == state).count();
        Self {
            enforced: count(State::Enforced),
            closed: count(State::Closed),
            waiting: status.quarantined.len(),
            open: count(State::Open),
        }
    }
}

/// The state of the whole, in one line.
pub(super) fn header(
    version: &str,
    docker: &DockerStatus,
    strict: Option<bool>,
    tally: Tally,
) -> String {
    let docker = match docker {
        DockerStatus::Connected { .. } => "ok",
        DockerStatus::Unknown => "not reached yet",
        DockerStatus::Unreachable { .. } => "UNREACHABLE",
    };
    let Tally { enforced, closed, waiting, open } = tally;
    let open = if open > 0 { format!(", {open} OPEN") } else { String::new() };
    format!(
        "daemon {version}, Docker {docker}, {}: {enforced} enforced, {closed} closed, {waiting} waiting{open}",
        strictness(strict)
    )
}

/// The same for a narrow terminal.
pub(super) fn short_header(docker: &DockerStatus, strict: Option<bool>, tally: Tally) -> String {
    let docker = match docker {
        DockerStatus::Connected { .. } => "Docker",
        DockerStatus::Unknown | DockerStatus::Unreachable { .. } => "NO Docker",
    };
    let strict = if strict == Some(true) { ", strict" } else { "" };
    let Tally { enforced, closed, waiting, open } = tally;
    let open = if open > 0 { format!("{open} OPEN ") } else { String::new() };
    format!("{docker}{strict}, {open}{enforced} enf {closed} closed {waiting} wait")
}

const fn strictness(strict: Option<bool>) -> &'static str {
    match strict {
        Some(true) => "strict",
        Some(false) => "not strict",
        None => "strict unknown",
    }
}

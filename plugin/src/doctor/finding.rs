//! What is to be said of a machine, as data: for people and, by its field names, for programs.

use ebpf_netns::exit;
use serde::Serialize;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The kernel.
    Kernel,
    /// What this process may.
    Rights,
    /// Docker.
    Docker,
    /// Bridges, veths and what is attached to them.
    Networks,
    /// Containers.
    Containers,
    /// The daemon, and what an earlier one left.
    Daemon,
}

impl Area {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Kernel, Self::Rights, Self::Docker, Self::Networks, Self::Containers, Self::Daemon];
}

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know; nothing has to be done.
    Note,
    /// Something does not work, or not as well as it could.
    Warning,
    /// Enforcement does not work like this.
    Failure,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One thing that is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// What was looked at, by a name that stays.
    pub check: &'static str,
    /// How good or bad it is.
    pub level: Level,
    /// False when it could not be looked at: nothing is known then.
    pub looked: bool,
    /// What was found, and what it means.
    pub what: String,
    /// What to do about it.
    pub way_out: Option<String>,
    /// The containers or interfaces that it is about.
    pub subjects: Vec<String>,
}

/// Whether the machine is fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// All that is needed is there.
    Yes,
    /// Enforcement would not work here.
    No,
    /// Something that is needed could not be looked at.
    Unknown,
}

/// What it amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the machine is fit.
    pub fit: Fit,
    /// In a sentence.
    pub summary: String,
    /// The exit code of the command.
    pub exit_code: u8,
}

/// Everything that is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of the command.
    pub version: &'static str,
    /// What it amounts to.
    pub verdict: Verdict,
    /// The findings, by area.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of these findings.
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), verdict: Verdict::of(&findings), findings }
    }
}

impl Verdict {
    fn of(findings: &[Finding]) -> Self {
        let checks = |wanted: &dyn Fn(&Finding) -> bool| -> Vec<&str> {
            let mut names: Vec<&str> =
                findings.iter().filter(|one| wanted(one)).map(|one| one.check).collect();
            names.dedup();
            names
        };
        let failed = checks(&|one| one.level == Level::Failure);
        // What is not needed and could not be looked at is a note.
        let unseen = checks(&|one| !one.looked && one.level > Level::Note);
        let warnings = findings.iter().filter(|one| one.level == Level::Warning && one.looked);
        if !failed.is_empty() {
            let summary = format!("enforcement would not work here: {}", failed.join(", "));
            return Self { fit: Fit::No, summary, exit_code: exit::UNFIT };
        }
        if !unseen.is_empty() {
            let unseen = unseen.join(", ");
            let summary = format!("some of what is needed could not be looked at: {unseen}");
            return Self { fit: Fit::Unknown, summary, exit_code: exit::NOT_PERMITTED };
        }
        let summary = match warnings.count() {
            0 => "all that enforcement needs is there".to_owned(),
            1 => "all that enforcement needs is there; one warning is above".to_owned(),
            more => format!("all that enforcement needs is there; {more} warnings are above"),
        };
        Self { fit: Fit::Yes, summary, exit_code: exit::OK }
    }
}

/// The findings of one area, while they are made.
#[derive(Debug)]
pub(super) struct Findings {
    area: Area,
    made: Vec<Finding>,
}

impl Findings {
    pub(super) const fn about(area: Area) -> Self {
        Self { area, made: Vec::new() }
    }

    pub(super) fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Level::Ok, what.into(), None);
    }

    /// Good to know. The way out is for who would like it otherwise.
    pub(super) fn note(&mut self, check: &'static str, what: impl Into<String>, way_out: &str) {
        self.add(check, Level::Note, what.into(), Some(way_out));
    }

    pub(super) fn warning(&mut self, check: &'static str, what: impl Into<String>, way_out: &str) {
        self.add(check, Level::Warning, what.into(), Some(way_out));
    }

    pub(super) fn failure(&mut self, check: &'static str, what: impl Into<String>, way_out: &str) {
        self.add(check, Level::Failure, what.into(), Some(way_out));
    }

    /// It could not be looked at: a warning where it is needed.
    pub(super) fn unseen(
        &mut self,
        check: &'static str,
        needed: bool,
        what: &str,
        unseen: &super::Unseen,
    ) {
        let level = if needed { Level::Warning } else { Level::Note };
        let way_out = unseen.denied.then_some("run this as root");
        self.add(check, level, format!("not looked at: {what} ({unseen})"), way_out);
        if let Some(last) = self.made.last_mut() {
            last.looked = false;
        }
    }

    /// The last one is about these.
    pub(super) fn subjects<S: IntoIterator<Item = String>>(&mut self, subjects: S) {
        if let Some(last) = self.made.last_mut() {
            last.subjects = subjects.into_iter().collect();
        }
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.made
    }

    fn add(&mut self, check: &'static str, level: Level, what: String, way_out: Option<&str>) {
        let way_out = way_out.filter(|way_out| !way_out.is_empty()).map(str::to_owned);
        let (area, subjects) = (self.area, Vec::new());
        self.made.push(Finding { area, check, level, looked: true, what, way_out, subjects });
    }
}

//! The soak: containers, networks, the daemon and the engine come and go at random for hours.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    arena::{Arena, CONVERGENCE, LAN, OTHER, engine_options},
    fault::GUARDED,
    policy::Policy,
    report,
    residue::Residue,
    vitals::Vitals,
};
use crate::{Engine, wait::DEADLINE};

/// Containers that run at the same time, beside those that are always there.
const CROWD: usize = 6;
/// How often everything is looked at, and told.
const LOOK: Duration = Duration::from_mins(1);

/// What is to be done.
#[derive(Debug)]
pub struct Soak<'a> {
    /// For how long.
    pub duration: Duration,
    /// The same seed makes the same choices.
    pub seed: u64,
    /// Whether to end early, in order.
    pub stop: &'a dyn Stop,
}

/// Something that can ask for an early end.
pub trait Stop: std::fmt::Debug {
    /// Whether it does.
    fn is_asked(&self) -> bool;
}

/// What was done and seen.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    done: BTreeMap<&'static str, u64>,
    took: Duration,
    slowest: Duration,
    innocent: u64,
    most_resident: u64,
    growth: u64,
    seed: u64,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Start,
    Remove,
    Restart,
    Connect,
    RestartDaemon,
    KillDaemon,
    RestartEngine,
}

/// What happens how often, of a hundred times.
const ODDS: [(Act, u64); 7] = [
    (Act::Start, 40),
    (Act::Remove, 28),
    (Act::Restart, 12),
    (Act::Connect, 14),
    (Act::RestartDaemon, 2),
    (Act::KillDaemon, 3),
    (Act::RestartEngine, 1),
];

const POLICIES: [Policy; 5] =
    [Policy::XdpDropUdp, Policy::TcDropUdp, Policy::DropAll, Policy::Invalid, Policy::None];

/// Runs the soak; `tell` gets a line each minute.
///
/// # Errors
///
/// When an oracle is not content.
pub fn run(soak: &Soak<'_>, tell: &dyn Fn(&str)) -> Result<Summary> {
    let engine = Engine::start_with(engine_options(&["--live-restore"]))?;
    let mut arena = Arena::new(&engine)?;
    let before = Residue::of(arena.machine())?;
    arena.start_daemon()?;
    arena.invite_innocents()?;
    arena.run(GUARDED, Policy::XdpDropUdp)?;
    arena.converged(DEADLINE)?;
    let mut churn = Churn {
        baseline: Vitals::of(arena.daemon()?)?.resident,
        arena,
        random: soak.seed,
        crowd: Vec::new(),
        summary: Summary { seed: soak.seed, ..Summary::default() },
    };
    let start = Instant::now();
    let mut told = start;
    while start.elapsed() < soak.duration && !soak.stop.is_asked() {
        if let Err(error) = churn.step() {
            // Ctrl-C at a terminal ends the command that was just running, too.
            ensure!(soak.stop.is_asked(), error.context(format!("with seed {}", soak.seed)));
            break;
        }
        churn.summary.took = start.elapsed();
        if told.elapsed() >= LOOK {
            told = Instant::now();
            churn.look()?;
            tell(&churn.summary.line());
        }
    }
    churn.end(&before)
}

/// The soak while it runs.
struct Churn<'a> {
    arena: Arena<'a>,
    random: u64,
    crowd: Vec<String>,
    /// The daemon's memory when it was new.
    baseline: u64,
    summary: Summary,
}

impl Churn<'_> {
    /// One random act, and whether everything is as it should be after it.
    fn step(&mut self) -> Result<()> {
        let act = self.choose();
        let what = self.perform(act).with_context(|| format!("{act:?}"))?;
        *self.summary.done.entry(what).or_default() += 1;
        let took =
            self.arena.converged(5 * CONVERGENCE).with_context(|| format!("after {act:?}"))?;
        self.summary.slowest = self.summary.slowest.max(took);
        Ok(())
    }

    fn choose(&mut self) -> Act {
        let mut left = self.below(100);
        for (act, odds) in ODDS {
            if left < odds {
                return act;
            }
            left -= odds;
        }
        Act::Start
    }

    fn perform(&mut self, act: Act) -> Result<&'static str> {
        match act {
            Act::RestartDaemon => {
                self.note_growth()?;
                self.arena.take_daemon()?.stop()?;
                self.begin_daemon()?;
                Ok("daemon restarts")
            }
            Act::KillDaemon => {
                self.note_growth()?;
                self.arena.kill_daemon()?;
                self.begin_daemon()?;
                Ok("daemon kills")
            }
            Act::RestartEngine => {
                self.arena.engine().restart()?;
                Ok("engine restarts")
            }
            Act::Remove | Act::Restart | Act::Connect if !self.crowd.is_empty() => {
                let size = u64::try_from(self.crowd.len())?;
                let chosen = usize::try_from(self.below(size))?;
                self.happens_to(act, chosen)
            }
            _ if self.crowd.len() >= CROWD => self.happens_to(Act::Remove, 0),
            _ => self.start(),
        }
    }

    fn start(&mut self) -> Result<&'static str> {
        let life = self.summary.done.get("lives").copied().unwrap_or_default();
        let name = format!("life-{life}");
        let chosen = usize::try_from(self.below(5))?;
        let policy = POLICIES.get(chosen).copied().unwrap_or(Policy::None);
        self.crowd.push(name.clone());
        self.arena.run_on(&name, policy, &["--network", LAN])?;
        Ok("lives")
    }

    /// Something happens to one of the crowd.
    fn happens_to(&mut self, act: Act, chosen: usize) -> Result<&'static str> {
        let name = self.crowd.get(chosen).context("it is one of them")?.clone();
        let engine = self.arena.engine();
        match act {
            Act::Restart => {
                engine.docker(["restart", &name])?;
                Ok("restarts")
            }
            Act::Connect => {
                let of =
                    engine.docker(["inspect", "--format", "{{json .NetworkSettings}}", &name])?;
                let there = of.contains(&format!("\"{OTHER}\":"));
                let verb = if there { "disconnect" } else { "connect" };
                engine.docker(["network", verb, OTHER, &name])?;
                Ok("connects and disconnects")
            }
            _ => {
                // What it sent is judged before it is forgotten.
                self.judge()?;
                self.crowd.remove(chosen);
                self.arena.remove(&[&name])?;
                self.arena.forget(&name);
                Ok("removals")
            }
        }
    }

    fn begin_daemon(&mut self) -> Result<()> {
        self.arena.start_daemon()?;
        self.arena.converged(DEADLINE)?;
        self.baseline = Vitals::of(self.arena.daemon()?)?.resident;
        Ok(())
    }

    fn note_growth(&mut self) -> Result<()> {
        let resident = self.arena.check_vitals()?.resident;
        self.summary.most_resident = self.summary.most_resident.max(resident);
        let grown = resident.saturating_sub(self.baseline);
        self.summary.growth = self.summary.growth.max(grown);
        Ok(())
    }

    /// Nothing leaked, and nobody lost anything who has no label.
    fn judge(&mut self) -> Result<()> {
        let leaks = self.arena.leaks()?;
        ensure!(leaks.is_empty(), "forbidden frames came through: {leaks:?}");
        let innocents = self.arena.innocents()?;
        ensure!(innocents.lost == 0, "those without a label: {innocents:?}");
        self.summary.innocent = self.summary.innocent.max(innocents.sent);
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        self.judge()?;
        self.note_growth()
    }

    fn end(mut self, before: &Residue) -> Result<Summary> {
        self.look()?;
        self.arena.check(before)?;
        Ok(self.summary)
    }

    /// A number below `limit`: `SplitMix64`, which is all the chance that this takes.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl Summary {
    /// A line for now and then.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = format!("{:>4} min", self.took.as_secs() / 60);
        for (what, count) in &self.done {
            // Writing to a string cannot fail.
            write!(text, ", {count} {what}").ok();
        }
        let Self { slowest, most_resident, .. } = self;
        write!(text, "; slowest {} ms, {most_resident} KiB", slowest.as_millis()).ok();
        text
    }

    /// The table in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { done, took, slowest, innocent, most_resident, growth, seed } = self;
        let minutes = took.as_secs() / 60;
        let lives = done.get("lives").copied().unwrap_or_default();
        let restarts = done.get("restarts").copied().unwrap_or_default();
        let hourly = (lives + restarts) * 3600 / took.as_secs().max(1);
        let mut text = format!("{minutes} min, seed {seed}. {}\n\n", report::machine());
        text.push_str("| what | measured |\n|---|---|\n");
        let rows = [
            ("lives of containers in an hour".to_owned(), hourly.to_string()),
            ("forbidden frames that came through".to_owned(), "0".to_owned()),
            ("packets that unlabelled containers lost".to_owned(), format!("0 of {innocent}")),
            ("slowest to agree with the labels".to_owned(), format!("{} ms", slowest.as_millis())),
            ("most memory of the daemon".to_owned(), format!("{most_resident} KiB")),
            ("growth of it over a daemon's life".to_owned(), format!("{growth} KiB")),
            ("left behind in the end".to_owned(), "nothing".to_owned()),
        ];
        let counted = done.iter().map(|(what, count)| ((*what).to_owned(), count.to_string()));
        for (what, measured) in counted.chain(rows) {
            writeln!(text, "| {what} | {measured} |").ok();
        }
        text
    }
}

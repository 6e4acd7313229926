//! What a fault is, and how one is tried: an arena of its own, the fault, and then every oracle.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{
    arena::{Arena, CONVERGENCE, OTHER, engine_options},
    counter,
    policy::Policy,
    residue::Residue,
};
use crate::Engine;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Enough to see it fail, in seconds: a test.
    Quick,
    /// Some minutes for all faults together.
    Short,
    /// What `docs/reliability.md` is about.
    Full,
}

impl Size {
    /// The number that goes with each size.
    #[must_use]
    pub const fn of(self, quick: usize, short: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Short => short,
            Self::Full => full,
        }
    }
}

impl Size {
    /// How long one fault may take: several times what it does on a machine that is busy.
    const fn limit(self) -> Duration {
        match self {
            Self::Quick => Duration::from_mins(5),
            Self::Short => Duration::from_mins(15),
            Self::Full => Duration::from_mins(90),
        }
    }
}

/// What came of a fault that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything held; the figures say of how much.
    Passed(String),
    /// It cannot be tried on this machine, and why.
    NotHere(String),
}

/// A fault: what is done, and what has to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// For example `F13`.
    pub id: &'static str,
    /// In one line.
    pub name: &'static str,
    /// What has to hold beside the oracles.
    pub expected: &'static str,
    /// More arguments of `dockerd`.
    pub engine: &'static [&'static str],
    /// Injects it.
    pub run: fn(&mut Arena<'_>, Size) -> Result<Outcome>,
}

/// How a fault went.
#[derive(Debug)]
pub struct Row {
    /// The fault.
    pub fault: Fault,
    /// What came of it.
    pub result: Result<Outcome>,
    /// How long it took.
    pub took: Duration,
}

/// The labelled container that is there before each fault.
pub(super) const GUARDED: &str = "guarded";

impl Fault {
    /// Tries it in a machine of its own, and waits for the end for so long as it may take at most.
    #[must_use]
    pub fn attempt(&self, size: Size) -> Row {
        let (fault, start) = (*self, Instant::now());
        let (tell, told) = mpsc::channel();
        // What hangs is left to itself; its machine ends with this process.
        let name = format!("{}.{}", thread::current().name().unwrap_or("chaos"), fault.id);
        let tried = thread::Builder::new().name(name).spawn(move || {
            // Nobody waits any more where time was up.
            tell.send(fault.in_arena(size)).ok();
        });
        let limit = size.limit();
        let result = match tried.map(|_running| told.recv_timeout(limit)) {
            Ok(Ok(result)) => result,
            Ok(Err(RecvTimeoutError::Timeout)) => Err(anyhow!("it did not end within {limit:?}")),
            Ok(Err(RecvTimeoutError::Disconnected)) => Err(anyhow!("it panicked")),
            Err(error) => Err(error).context("start a thread"),
        };
        Row { fault, result, took: start.elapsed() }
    }

    fn in_arena(&self, size: Size) -> Result<Outcome> {
        let engine = Engine::start_with(engine_options(self.engine))?;
        let mut arena = Arena::new(&engine)?;
        let before = Residue::of(arena.machine())?;
        arena.start_daemon()?;
        arena.invite_innocents()?;
        let guarded = arena.run(GUARDED, Policy::XdpDropUdp)?;
        arena.converged(CONVERGENCE)?;
        arena.wait_received(guarded.id, 1)?;
        let done = self.injected(&mut arena, &before, size);
        if let (Err(_), Ok(daemon)) = (&done, arena.daemon()) {
            daemon.show_log();
        }
        done
    }

    fn injected(&self, arena: &mut Arena<'_>, before: &Residue, size: Size) -> Result<Outcome> {
        let outcome = (self.run)(arena, size)?;
        match &outcome {
            Outcome::Passed(_) => arena.check(before)?,
            Outcome::NotHere(_) => {}
        }
        Ok(outcome)
    }
}

impl Arena<'_> {
    /// Every oracle, and then the end.
    ///
    /// # Errors
    ///
    /// When one of them is not content.
    pub fn check(&mut self, before: &Residue) -> Result<()> {
        if self.daemon().is_err() {
            self.start_daemon()?;
        }
        self.converged(CONVERGENCE)?;
        self.check_docker().context("Docker still works")?;
        self.check_frames()?;
        self.check_vitals()?;
        self.leave_nothing(before)
    }

    /// Oracle 6: a labelled container starts, gets a second network, and goes.
    fn check_docker(&mut self) -> Result<()> {
        let late = self.run("late", Policy::TcDropUdp)?;
        self.engine().docker(["network", "connect", OTHER, "late"])?;
        self.converged(CONVERGENCE)?;
        self.wait_received(late.id, 1)?;
        self.engine().docker(["network", "disconnect", OTHER, "late"])?;
        self.remove(&["late"])
    }

    /// Oracles 1 and 3: nothing forbidden came through, something allowed did, and those without
    /// a label lost nothing.
    ///
    /// # Errors
    ///
    /// When that is not so.
    pub fn check_frames(&self) -> Result<()> {
        let leaks = self.leaks()?;
        ensure!(leaks.is_empty(), "forbidden frames came through: {leaks:?}");
        let table = self.counter().settled()?;
        for (name, sender) in self.senders() {
            let allowed = counter::received(&table, sender.id, |kind| !sender.policy.forbids(kind));
            let silent = sender.policy.lets_some_out() && allowed == 0 && !sender.excused;
            ensure!(!silent, "{name}: none of the frames that it may send came through");
        }
        if self.innocents_suffer {
            return Ok(());
        }
        let innocents = self.innocents()?;
        ensure!(innocents.sent > 0 && innocents.lost == 0, "those without a label: {innocents:?}");
        Ok(())
    }
}

//! A program running inside a machine, reached by its own pid and not by its wrapper's.

use std::{
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command,
    wait::{DEADLINE, wait_for, wait_until},
};

/// A started program; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    what: String,
}

impl Process {
    /// Starts `command`, whose program is a child of `nsenter` when `behind_nsenter`.
    pub(crate) fn spawn(command: &mut Command, behind_nsenter: bool) -> Result<Self> {
        Self::spawn_reading(command, Stdio::null(), behind_nsenter)
    }

    /// As [`Self::spawn`], with something to read.
    pub(crate) fn spawn_reading(
        command: &mut Command,
        input: Stdio,
        behind_nsenter: bool,
    ) -> Result<Self> {
        let what = command::shown(command);
        let child =
            // A Ctrl-C at the terminal is for the owner, which then ends what it started.
            command.stdin(input).process_group(0).spawn().with_context(|| format!("start {what}"))?;
        let wrapper = pid_of(&child)?;
        let mut process = Self { child, pid: wrapper, what };
        if behind_nsenter {
            process.pid = process.wrapped_pid(wrapper)?;
        }
        Ok(process)
    }

    /// The program's pid as the machine's outside sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Sends a signal to the program itself.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("send {signal} to {}", self.what))?;
        self.wake_wrapper(signal);
        Ok(())
    }

    /// `nsenter` stops itself when its program is stopped, and would not notice its end.
    fn wake_wrapper(&self, signal: Signal) {
        if signal != Signal::SIGSTOP
            && let Ok(wrapper) = pid_of(&self.child)
            && wrapper != self.pid
        {
            // It may have ended already.
            kill(wrapper, Signal::SIGCONT).ok();
        }
    }

    /// Whether the program still runs.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    ///
    /// When it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut status = None;
        wait_until(deadline, &format!("the end of {}", self.what), || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        status.with_context(|| format!("no status of {} after {:?}", self.what, start.elapsed()))
    }

    /// Asks the program to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    ///
    /// When it is gone already, or still runs at the deadline.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(DEADLINE)
    }

    /// Ends the program at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it ended otherwise before.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait(DEADLINE)?;
        match status.signal() {
            Some(signal) if signal == Signal::SIGKILL as i32 => Ok(()),
            _ => bail!("{} ended by itself: {status}", self.what),
        }
    }

    /// The only child of `nsenter`, which forks to enter a process namespace.
    fn wrapped_pid(&mut self, wrapper: Pid) -> Result<Pid> {
        let what = format!("nsenter to start {}", self.what);
        wait_for(DEADLINE, &what, || {
            if let Some(child) = children_of(wrapper).first() {
                return Ok(Some(*child));
            }
            // A program may be over before it was seen; its status says how that went.
            if self.child.try_wait()?.is_some() {
                return Ok(None);
            }
            bail!("no child of {wrapper}")
        })
        .map(|child| child.unwrap_or(wrapper))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The wrapper ends with its program; it is killed too in case there is none yet.
            kill(self.pid, Signal::SIGKILL).ok();
            self.wake_wrapper(Signal::SIGKILL);
            drop(self.child.wait());
        }
    }
}

/// The pid of a child of this process.
pub(crate) fn pid_of(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).context("a pid fits an i32")?))
}

/// The processes whose parent is `parent`.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

/// The parent, from `/proc/PID/stat`: the second field after the name, which is in parentheses and
/// may hold anything.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

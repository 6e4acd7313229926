//! A terminal that a program runs in, and what is on its screen.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::OwnedFd,
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    signal::Signal,
    termios::{Termios, tcgetattr},
};
use rustix::{
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use vt100::Parser;

use crate::{
    machine::Machine,
    process::Process,
    wait::{DEADLINE, wait_for},
};

/// A program in a terminal of its own; killed when dropped.
pub struct Terminal {
    process: Process,
    keyboard: File,
    /// The program's side: while it is open, the screen is read.
    side: Option<OwnedFd>,
    before: Termios,
    screen: Arc<Mutex<Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs a program of a machine in a terminal of this size.
    ///
    /// # Errors
    ///
    /// When there is no terminal to be had, or the program does not start.
    pub fn start(machine: &Machine, words: &[&str], columns: u16, lines: u16) -> Result<Self> {
        // No other program that a test starts may keep it open.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).context("open a terminal")?;
        unlockpt(&master)?;
        let side = ioctl_tiocgptpeer(&master, flags).context("open the terminal's other side")?;
        tcsetwinsize(&master, size(columns, lines))?;
        let before = tcgetattr(&side)?;
        let screen = Arc::new(Mutex::new(Parser::new(some(lines)?, some(columns)?, 0)));
        let (master, shown) = (File::from(master), Arc::clone(&screen));
        let keyboard = master.try_clone()?;
        // In a session without a terminal: the kernel resets the one that a session had at its end, and
        // who runs this may have one.
        let mut command: Command = machine.command("setsid");
        command.args(words).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdout(side.try_clone()?).stderr(side.try_clone()?);
        let process =
            Process::spawn_reading(&mut command, side.try_clone()?.into(), machine.wraps())?;
        let reader = thread::spawn(move || follow(master, &shown));
        let (side, reader) = (Some(side), Some(reader));
        Ok(Self { process, keyboard, side, before, screen, reader })
    }

    /// Types it.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("type")
    }

    /// Makes it another size, which the program is told.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        self.parser().screen_mut().set_size(some(lines)?, some(columns)?);
        tcsetwinsize(&self.keyboard, size(columns, lines)).context("resize the terminal")?;
        // What the kernel does for a session's terminal.
        self.signal(Signal::SIGWINCH)
    }

    /// What is on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.parser().screen().contents()
    }

    /// Waits until the screen is as it should be, and returns what is on it.
    ///
    /// # Errors
    ///
    /// When it is not in time; the error shows what is on it instead.
    pub fn wait_screen(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(DEADLINE, what, || {
            let screen = self.screen();
            ensure!(is(&screen), "the screen is\n{screen}");
            Ok(screen)
        })
    }

    /// Whether the program has the screen for itself.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.parser().screen().alternate_screen()
    }

    /// Sends a signal to the program.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for the program's end, after which the terminal must be as it was before.
    ///
    /// # Errors
    ///
    /// When it does not end, or leaves the terminal otherwise.
    pub fn wait_restored(mut self) -> Result<ExitStatus> {
        let status = self.process.wait(DEADLINE)?;
        let after = tcgetattr(self.side.as_ref().context("it is open")?)?;
        ensure!(after == self.before, "the settings are {after:?}, and were {:?}", self.before);
        self.hang_up();
        let parser = self.parser();
        let screen = parser.screen();
        ensure!(!screen.alternate_screen(), "the screen is still the program's");
        ensure!(!screen.hide_cursor(), "the cursor is still hidden");
        drop(parser);
        Ok(status)
    }

    /// Without the program and its side of the terminal, the reader comes to an end.
    fn hang_up(&mut self) {
        drop(self.side.take());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }

    fn parser(&self) -> MutexGuard<'_, Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.process.is_running().is_ok_and(|running| running) {
            // It may have ended meanwhile.
            self.process.kill().ok();
        }
        self.hang_up();
    }
}

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal has at least one line and one column.
fn some(number: u16) -> Result<NonZero<u16>> {
    NonZero::new(number).context("a terminal has a size")
}

/// Puts on the screen what the program writes, until nobody has the other side.
fn follow(mut master: File, screen: &Mutex<Parser>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        let written = buffer.get(..length).unwrap_or_default();
        screen.lock().unwrap_or_else(PoisonError::into_inner).process(written);
    }
}

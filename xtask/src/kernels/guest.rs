//! Booting a kernel in qemu and hearing its report to the end. The guest has no disk and no
//! network, and is gone when this returns.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::report::{Checked, Report};
use crate::ui;

/// How much of the kernel's own messages is shown when it did not come to its end.
const CONSOLE_LINES: usize = 40;

/// What is booted, and for how long.
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// The file that the kernel's messages go to.
    pub(super) console: &'a Path,
    pub(super) timeout: Duration,
}

/// Boots, prints how each check went, and returns what the guest said.
pub(super) fn run(boot: &Boot<'_>) -> Result<Report> {
    let mut guest = Guest::start(boot)?;
    let deadline = Instant::now() + boot.timeout;
    let lines = lines(guest.0.stdout.take().context("qemu has no output")?);
    let mut report = Report::default();
    let ended = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(check) = report.line(&line) {
                    show(check);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    drop(guest);
    let (at, seconds) = (report.running().unwrap_or("its boot"), boot.timeout.as_secs());
    if !ended {
        bail!("no end after {seconds} s, at {at}; the kernel's messages:\n{}", console(boot)?);
    }
    if report.running().is_some() || report.is_empty() {
        bail!("the guest died at {at}; the kernel's messages:\n{}", console(boot)?);
    }
    Ok(report)
}

/// Prints how a check went, and what it said if it failed.
fn show(check: &Checked) {
    let Checked { name, passed, output } = check;
    if *passed {
        ui::line(format_args!("ok      {name}"));
    } else {
        ui::line(format_args!("FAILED  {name}\n{output}"));
    }
}

/// The end of the kernel's messages.
fn console(boot: &Boot<'_>) -> Result<String> {
    let text = fs::read(boot.console).context("read the kernel's messages")?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default();
    Ok(last.join("\n"))
}

/// A running qemu, which ends with this.
struct Guest(Child);

impl Guest {
    fn start(boot: &Boot<'_>) -> Result<Self> {
        let Boot { kernel, initrd, console, timeout: _ } = boot;
        let mut qemu = Command::new("qemu-system-x86_64");
        // Emulated everywhere, so that it is the same everywhere.
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults", "-no-reboot"]);
        qemu.args(["-display", "none", "-serial"]).arg(format!("file:{}", console.display()));
        qemu.args(["-serial", "stdio", "-kernel"]).arg(kernel).arg("-initrd").arg(initrd);
        qemu.args(["-append", "console=ttyS0 panic=-1 loglevel=7"]);
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        child.map(Self).context("start qemu-system-x86_64")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It is gone already unless it was too slow.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The lines of the guest's report as they come.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            // A serial line ends with a carriage return.
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

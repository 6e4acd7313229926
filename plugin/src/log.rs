//! The daemon's log, on standard error. Nobody who logs waits for whoever reads it: a thread of its
//! own writes the lines, and what it cannot take is lost and told.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::sandbox::come_in_turn;
use crate::tally::Tally;

/// How many bytes wait to be written: thousands of lines. Beyond, lines are lost.
const MOST: usize = 1 << 20;

/// How long an orderly end waits for whoever reads the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text for each event.
    #[default]
    Text,
    /// A JSON object for each event.
    Json,
}

/// The log. Dropping it waits, for a while, until everything is written.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Arc<Queue>,
    detached: bool,
}

/// Lines on their way.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that were lost and are not told yet.
    lost: u64,
    tally: Arc<Tally>,
    /// Whether lines are being written.
    under_way: bool,
}

impl Log {
    /// Starts the log. Nothing of it is written yet: that takes a second thread.
    pub(crate) fn start(format: LogFormat, tally: Arc<Tally>) -> Self {
        let filter = EnvFilter::builder()
            .with_default_directive(tracing::Level::INFO.into())
            .from_env_lossy();
        let state = Mutex::new(State { tally, ..State::default() });
        let queue = Arc::new(Queue { state, ..Queue::default() });
        let lines = Arc::clone(&queue);
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || Lines(Arc::clone(&lines)))
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        match format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Self { queue, detached: false }
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    ///
    /// When the thread that writes cannot be started.
    pub(crate) fn detach(&mut self) -> io::Result<()> {
        let queue = Arc::clone(&self.queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            come_in_turn();
            queue.run(io::stderr());
        })?;
        self.detached = true;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // What cannot be written now cannot be told either.
        if self.detached {
            self.queue.wait_until_empty(PATIENCE);
        } else {
            io::stderr().write_all(&self.queue.lock().lines).ok();
        }
    }
}

/// Where the lines of one event go: all of it in one call.
struct Lines(Arc<Queue>);

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.lock().push(lines);
        self.0.filled.notify_one();
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, for ever.
    fn run(&self, mut to: impl Write) {
        loop {
            let lines = self.take();
            let written = to.write_all(&lines).is_ok();
            let lost = self.lock().done(&lines, written);
            self.emptied.notify_all();
            if lost > 0 {
                warn!(lines = lost, "lines of the log were lost: whoever reads it is too slow");
            }
        }
    }

    /// Waits for something to write.
    fn take(&self) -> Vec<u8> {
        let empty = |state: &mut State| state.lines.is_empty();
        let state = self.filled.wait_while(self.lock(), empty);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.under_way = true;
        std::mem::take(&mut state.lines)
    }

    fn wait_until_empty(&self, patience: Duration) {
        let busy = |state: &mut State| state.under_way || !state.lines.is_empty();
        drop(self.emptied.wait_timeout_while(self.lock(), patience, busy));
    }
}

impl State {
    /// Takes a line, or loses it.
    fn push(&mut self, lines: &[u8]) {
        if self.lines.len() + lines.len() > MOST {
            self.lose(1);
        } else {
            self.lines.extend_from_slice(lines);
        }
    }

    /// What was taken was written, or not; how many lost lines can be told now.
    fn done(&mut self, lines: &[u8], written: bool) -> u64 {
        self.under_way = false;
        if written {
            return std::mem::take(&mut self.lost);
        }
        let ends = lines.split(|byte| *byte == b'\n').count() - 1;
        self.lose(u64::try_from(ends).unwrap_or(u64::MAX));
        0
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.tally.log_lines_lost.add(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_lost_counted_and_told_once_somebody_reads() {
        let mut state = State::default();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        for _ in 0..MOST / line.len() + 5 {
            state.push(&line);
        }
        assert_eq!(state.lines.len(), MOST, "what waits is bounded");
        let lines = std::mem::take(&mut state.lines);
        assert_eq!(state.done(&lines[..2 * line.len()], false), 0, "nothing to tell it to");
        assert_eq!(state.done(&line, true), 7, "5 that were too many, 2 that failed");
        assert_eq!(state.done(&line, true), 0, "told once");
        assert_eq!(state.tally.log_lines_lost.get(), 7, "and remembered");
    }
}

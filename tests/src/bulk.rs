//! One TCP connection that carries as much as it can, for benchmarks: what each of its ends does, and
//! the process at the end that waits for the other.
//!
//! Which processes these are, and where, is the benchmark's.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// What a process writes once it listens.
pub const READY: &str = "ready";
/// Who hears nothing for so long ends, in case that nobody ends it.
pub const SILENCE: Duration = Duration::from_mins(1);
/// Bytes of one system call.
const BLOCK: usize = 128 * 1024;

/// A process that listens; it ends when this is dropped.
#[derive(Debug)]
pub struct Listener(Child);

impl Listener {
    /// Starts it, and waits until it says that it is [`READY`].
    ///
    /// # Errors
    ///
    /// When it says anything else.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut listener = Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut word = [0; READY.len() + 1];
        listener.0.stdout.as_mut().context("a pipe")?.read_exact(&mut word)?;
        ensure!(word.trim_ascii_end() == READY.as_bytes(), "{command:?} is not ready");
        Ok(listener)
    }

    /// Waits for its end, and what it says.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn end(mut self) -> Result<String> {
        let mut said = String::new();
        self.0.stdout.as_mut().context("a pipe")?.read_to_string(&mut said)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "who listened failed: {status}");
        Ok(said.trim().to_owned())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Sends as much as the other end takes, for so long.
///
/// # Errors
///
/// When the connection fails.
pub fn give(mut stream: TcpStream, time: Duration) -> Result<()> {
    let block = vec![0; BLOCK];
    let start = Instant::now();
    while start.elapsed() < time {
        stream.write_all(&block)?;
    }
    Ok(())
}

/// Takes what comes until the other end ends; bits a second.
///
/// # Errors
///
/// When the connection fails, or nothing comes for [`SILENCE`].
pub fn take(mut stream: TcpStream) -> Result<f64> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut block = vec![0; BLOCK];
    let (start, mut bytes) = (Instant::now(), 0_u64);
    loop {
        match stream.read(&mut block)? {
            0 => break,
            more => bytes += u64::try_from(more)?,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let bits = bytes as f64 * 8.0;
    Ok(bits / start.elapsed().as_secs_f64())
}

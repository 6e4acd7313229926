//! Doing something again and again until Ctrl-C or SIGTERM, which end it in order.

use std::io::{self, IsTerminal as _, Write as _};

use tokio::time::{Instant, sleep_until};

use super::verbs::Failure;
use crate::top::{Ending, Interval};

/// The cursor to the corner, and all below it empty.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Whether there is another one.
pub(super) enum Turn {
    Next,
    Last,
}

/// Does it once an interval, and never before the one before is done.
pub(super) async fn every(
    interval: Interval,
    mut turn: impl AsyncFnMut() -> Result<Turn, Failure>,
) -> Result<(), Failure> {
    let mut ending = Ending::new()?;
    let turns = async {
        loop {
            let began = Instant::now();
            if let Turn::Last = turn().await? {
                return Ok(());
            }
            sleep_until(began + interval.duration()).await;
        }
    };
    tokio::select! {
        done = turns => done,
        () = ending.told() => Ok(()),
    }
}

/// Before what is shown anew: on a terminal in place of what was there, else below an empty line.
pub(super) fn begin(follows: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match (out.is_terminal(), follows) {
        (true, _) => out.write_all(CLEAR.as_bytes()),
        (false, true) => out.write_all(b"\n"),
        (false, false) => Ok(()),
    }
}

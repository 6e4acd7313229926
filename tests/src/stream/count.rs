//! The counter: which frames came through, and how many of each stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    num::NonZeroU32,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, sockopt};

use super::{Frame, Kind, frame::EXPERIMENTAL, send::write_whole};
use crate::wait::Pacer;

/// How often the table is written.
const TOLD: Duration = Duration::from_millis(100);
/// A run that was silent for so long is forgotten: it has ended.
const SILENT: Duration = Duration::from_mins(2);
/// What waits to be counted: some seconds of what sixteen containers send.
const QUEUE_BYTES: usize = 64 << 20;

/// Frames that are numbered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// The sender.
    pub sender: u32,
    /// Its run.
    pub run: u64,
    /// Its interface.
    pub interface: u32,
    /// What the frames carry.
    pub kind: Kind,
}

/// What came through of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many frames.
    pub received: u64,
    /// The least number seen.
    pub first: u64,
    /// The greatest number seen.
    pub last: u64,
}

impl Tally {
    /// Frames that were sent before the last one seen, and did not come.
    #[must_use]
    pub fn lost(&self) -> u64 {
        (self.last + 1).saturating_sub(self.received)
    }

    fn add(&mut self, number: u64) {
        self.first = if self.received == 0 { number } else { self.first.min(number) };
        self.last = self.last.max(number);
        self.received += 1;
    }
}

/// The table, and when each stream was last heard.
type Table = Arc<Mutex<BTreeMap<Stream, (Tally, Instant)>>>;

/// Counts until killed; `told` always holds the table. Its first line is the number of times that
/// it was written.
///
/// # Errors
///
/// When there can be no packet socket, or the table cannot be told.
pub fn count(told: &Path) -> Result<()> {
    let table = Table::default();
    for ethertype in [0x0800, 0x0806, EXPERIMENTAL] {
        let (socket, table) = (listen(ethertype)?, Arc::clone(&table));
        thread::spawn(move || receive(&socket, &table));
    }
    let mut pacer = Pacer::every(TOLD);
    for written in 0_u64.. {
        let mut text = format!("{written}\n");
        let mut rows = table.lock().unwrap_or_else(PoisonError::into_inner);
        forget_silent(&mut rows);
        for (stream, (tally, _)) in &*rows {
            let Stream { sender, run, interface, kind } = stream;
            let Tally { received, first, last } = tally;
            let kind = kind.name();
            writeln!(text, "{sender} {run} {interface} {kind} {received} {first} {last}")?;
        }
        drop(rows);
        write_whole(told, &text)?;
        pacer.tick();
    }
    Ok(())
}

/// Reads a table: how many times it was written, and what it holds.
///
/// # Errors
///
/// When there is none, or it is not one.
pub fn read_table(told: &Path) -> Result<(u64, BTreeMap<Stream, Tally>)> {
    let text = fs::read_to_string(told).with_context(|| format!("read {}", told.display()))?;
    let mut lines = text.lines();
    let written = lines.next().context("the table is empty")?.parse()?;
    let rows = lines.map(|line| row(line).with_context(|| format!("a row of the table: {line:?}")));
    Ok((written, rows.collect::<Result<_>>()?))
}

fn row(line: &str) -> Option<(Stream, Tally)> {
    let mut words = line.split(' ');
    let stream = Stream {
        sender: words.next()?.parse().ok()?,
        run: words.next()?.parse().ok()?,
        interface: words.next()?.parse().ok()?,
        kind: Kind::named(words.next()?)?,
    };
    let tally = Tally {
        received: words.next()?.parse().ok()?,
        first: words.next()?.parse().ok()?,
        last: words.next()?.parse().ok()?,
    };
    Some((stream, tally))
}

/// A packet socket on all interfaces for one protocol, which is what is handed up by bridges.
fn listen(ethertype: u16) -> Result<OwnedFd> {
    let protocol = NonZeroU32::new(u32::from(ethertype.to_be())).map(Protocol::from_raw);
    let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
        .context("open a packet socket, which takes CAP_NET_RAW")?;
    sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES)
        .context("let frames wait to be counted")?;
    Ok(socket)
}

fn receive(socket: &OwnedFd, table: &Table) {
    let mut buffer = [0; 256];
    loop {
        let Ok((_, length)) = recv(socket, &mut buffer[..], RecvFlags::empty()) else { continue };
        let Some(frame) = buffer.get(..length).and_then(Frame::parse) else { continue };
        let Frame { sender, run, interface, kind, number } = frame;
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let stream = Stream { sender, run, interface, kind };
        let (tally, heard) = table.entry(stream).or_insert((Tally::default(), now));
        tally.add(number);
        *heard = now;
    }
}

/// Removes runs that ended, of which no stream was heard lately: the table stays small for as long
/// as it runs.
fn forget_silent(rows: &mut BTreeMap<Stream, (Tally, Instant)>) {
    let lately = |heard: &Instant| heard.elapsed() < SILENT;
    let alive: BTreeSet<(u32, u64)> = rows
        .iter()
        .filter(|(_, (_, heard))| lately(heard))
        .map(|(stream, _)| (stream.sender, stream.run))
        .collect();
    rows.retain(|stream, _| alive.contains(&(stream.sender, stream.run)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_is_lost() {
        let mut tally = Tally::default();
        for number in [2, 3, 5] {
            tally.add(number);
        }
        assert_eq!(tally, Tally { received: 3, first: 2, last: 5 });
        assert_eq!(tally.lost(), 3, "0, 1 and 4");
    }

    #[test]
    fn a_row_that_is_none_is_an_error() {
        let row_of = |line| row(line).map(|(stream, tally)| (stream.sender, tally.received));
        assert_eq!(row_of("7 1 2 udp 3 0 2"), Some((7, 3)));
        for line in ["", "7 1 2 tcp 3 0 2", "7 1 2 udp 3 0"] {
            assert_eq!(row_of(line), None, "{line:?}");
        }
    }
}

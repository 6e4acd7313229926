//! The thread that brings the disk to what is wanted of it. Whoever wants something of it never
//! waits: the lock is not held while anything is done to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ebpf_netns::Ifindex;
use tracing::{debug, warn};

use super::{Record, files};

/// What the thread and those who want something of it have in common.
#[derive(Debug)]
pub(super) struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    /// Something is to be done, or it is to end.
    wanted: Condvar,
    /// Everything is done, and it ended.
    ended: Condvar,
}

/// What is wanted, and how far it is done. Of an interface that is gone nothing is kept but a file
/// that may still be there: however long the disk does not answer, this does not grow.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What is to be on disk.
    wanted: BTreeMap<Ifindex, Record>,
    /// Of which there may be a file.
    there: BTreeSet<Ifindex>,
    /// Of which the file is not known to be what is wanted.
    changed: BTreeSet<Ifindex>,
    /// Of which that could not be done: it is tried again with the next change.
    failed: BTreeSet<Ifindex>,
    /// Whose file is being changed.
    under_way: Option<Ifindex>,
    failures: u64,
    stage: Stage,
}

/// How far the thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Working,
    /// It ends when everything is done.
    Ending,
    Ended,
}

impl Shared {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            state: Mutex::default(),
            wanted: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// What a thread that panicked left is still what is wanted.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is wanted, and has it done.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.wanted.notify_one();
    }

    /// Has the thread end when everything is done, and waits for that for so long: whether it did.
    pub(super) fn end(&self, patience: Duration) -> bool {
        self.change(|state| state.stage = Stage::Ending);
        let working = |state: &mut State| state.stage != Stage::Ended;
        let waited = self.ended.wait_timeout_while(self.lock(), patience, working);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Does what is wanted, until it is to end.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some((ifindex, record)) = state.take() {
                drop(state);
                let done = self.bring(ifindex, record.as_ref());
                state = self.lock();
                state.done(ifindex, record.is_some(), done);
            } else if state.stage == Stage::Working {
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        state.stage = Stage::Ended;
        self.ended.notify_all();
    }

    fn bring(&self, ifindex: Ifindex, record: Option<&Record>) -> bool {
        match record {
            Some(record) => self.note("write one of", files::write(&self.directory, record)),
            None => self.note("remove one of", files::remove(&self.directory, ifindex)),
        }
    }

    /// Counts a failure, and tells the first; whether there was none.
    pub(super) fn note(&self, what: &str, result: io::Result<()>) -> bool {
        let Err(error) = result else { return true };
        let first = self.lock().count_failure();
        let directory = self.directory.display();
        if first {
            warn!(%directory, %error, "{what} the records: enforcement goes on without them");
        } else {
            debug!(%directory, %error, "{what} the records");
        }
        false
    }
}

impl State {
    /// These are there already.
    pub(super) fn found(&mut self, records: &BTreeMap<Ifindex, Record>) {
        self.wanted.clone_from(records);
        self.there.extend(records.keys());
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// A record is to be there.
    pub(super) fn put(&mut self, record: Record) {
        if self.wanted.get(&record.ifindex) == Some(&record) {
            return;
        }
        self.change(record.ifindex);
        self.wanted.insert(record.ifindex, record);
    }

    /// No record is to be there.
    pub(super) fn remove(&mut self, ifindex: Ifindex) {
        self.wanted.remove(&ifindex);
        if self.there.contains(&ifindex) || self.under_way == Some(ifindex) {
            self.change(ifindex);
        } else {
            self.changed.remove(&ifindex);
            self.failed.remove(&ifindex);
        }
    }

    fn change(&mut self, ifindex: Ifindex) {
        self.changed.insert(ifindex);
        self.changed.append(&mut self.failed);
    }

    /// What is to be done next: the record to write, or none to remove it.
    fn take(&mut self) -> Option<(Ifindex, Option<Record>)> {
        let ifindex = self.changed.pop_first()?;
        self.under_way = Some(ifindex);
        Some((ifindex, self.wanted.get(&ifindex).cloned()))
    }

    /// What was taken was done, or failed.
    fn done(&mut self, ifindex: Ifindex, written: bool, done: bool) {
        self.under_way = None;
        match (written, done) {
            (true, true) => {
                self.there.insert(ifindex);
            }
            (false, true) => {
                self.there.remove(&ifindex);
            }
            (true | false, false) => {
                self.failed.insert(ifindex);
            }
        }
        // It may have gone while its record could not be written.
        if !self.wanted.contains_key(&ifindex) && !self.there.contains(&ifindex) {
            self.changed.remove(&ifindex);
            self.failed.remove(&ifindex);
        }
    }

    /// Whether it is the first.
    fn count_failure(&mut self) -> bool {
        self.failures += 1;
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records;

    fn index(number: u32) -> Ifindex {
        number.try_into().unwrap()
    }

    fn record(number: u32, name: &str) -> Record {
        Record::new(index(number), name, records::Progress::Active, None)
    }

    #[test]
    fn the_newest_wins_while_the_disk_is_slow() {
        let mut state = State::default();
        state.put(record(7, "first"));
        assert_eq!(state.take(), Some((index(7), Some(record(7, "first")))));
        state.put(record(7, "second"));
        state.put(record(8, "other"));
        state.put(record(7, "third"));
        state.done(index(7), true, true);
        assert_eq!(state.take(), Some((index(7), Some(record(7, "third")))));
        state.done(index(7), true, true);
        assert_eq!(state.take(), Some((index(8), Some(record(8, "other")))));
        state.done(index(8), true, true);
        assert_eq!(state.take(), None, "everything is as it is wanted");
        state.put(record(8, "other"));
        assert_eq!(state.take(), None, "nothing is written twice");
    }

    #[test]
    fn what_goes_while_it_is_written_is_removed_after() {
        let mut state = State::default();
        state.put(record(7, "gone"));
        state.take();
        state.remove(index(7));
        state.done(index(7), true, true);
        assert_eq!(state.take(), Some((index(7), None)));
        state.done(index(7), false, true);
        assert_eq!(state.take(), None);
    }

    #[test]
    fn interfaces_that_come_and_go_leave_nothing_while_the_disk_is_stuck() {
        for written in [None, Some(true), Some(false)] {
            let mut state = State::default();
            state.put(record(1, "stuck"));
            state.take();
            for number in 2..1000 {
                state.put(record(number, "short-lived"));
                if let Some(done) = written {
                    let (ifindex, _) = state.take().unwrap();
                    state.done(ifindex, true, done);
                }
                state.remove(index(number));
                if let Some((ifindex, None)) = written.and_then(|_| state.take()) {
                    state.done(ifindex, false, true);
                }
            }
            let State { wanted, there, changed, failed, .. } = state;
            let kept = [wanted.len(), there.len(), changed.len(), failed.len()];
            assert!(kept.into_iter().all(|kept| kept <= 1), "{written:?}: {kept:?}");
        }
    }

    #[test]
    fn a_disk_that_is_stuck_does_not_hold_up_the_end() {
        let shared = Shared::new(Path::new("/proc/ebpf-netns"));
        shared.change(|state| state.put(record(7, "never")));
        // Nobody writes.
        assert!(!shared.end(Duration::from_millis(1)), "it is told");
    }
}

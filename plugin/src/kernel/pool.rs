//! Entries of an array map, given out in runs. Pure.

use std::collections::BTreeMap;

/// A run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub first: u32,
    pub length: u32,
}

/// What of an array is free: runs by their first entry, none of which touch.
#[derive(Clone, Debug)]
pub(super) struct Pool(BTreeMap<u32, u32>);

impl Pool {
    /// All of an array but its first entry, which stands for none.
    pub(super) fn new(entries: usize) -> Self {
        let length = u32::try_from(entries).unwrap_or(u32::MAX).saturating_sub(1);
        Self(BTreeMap::from([(1, length)]))
    }

    /// Takes a run of this length, the first there is; one of length 0 is anywhere.
    pub(super) fn take(&mut self, length: u32) -> Option<Run> {
        if length == 0 {
            return Some(Run { first: 0, length });
        }
        let (first, free) = self.0.iter().find(|(_, free)| **free >= length)?;
        let (first, free) = (*first, *free);
        self.0.remove(&first);
        if free > length {
            self.0.insert(first + length, free - length);
        }
        Some(Run { first, length })
    }

    /// How many entries are free.
    pub(super) fn left(&self) -> u32 {
        self.0.values().sum()
    }

    /// Takes this very run, or what of it is free.
    pub(super) fn reserve(&mut self, run: Run) {
        let end = run.first.saturating_add(run.length);
        let overlapping: Vec<(u32, u32)> = self
            .0
            .iter()
            .map(|(first, free)| (*first, *free))
            .filter(|(first, free)| *first < end && first + free > run.first)
            .collect();
        for (first, free) in overlapping {
            self.0.remove(&first);
            if first < run.first {
                self.0.insert(first, run.first - first);
            }
            if first + free > end {
                self.0.insert(end, first + free - end);
            }
        }
    }

    /// Gives a run back.
    pub(super) fn give_back(&mut self, run: Run) {
        let Run { mut first, mut length } = run;
        if length == 0 {
            return;
        }
        if let Some((before, free)) = self.0.range(..first).next_back()
            && before + free == first
        {
            first = *before;
            length += *free;
            self.0.remove(&first);
        }
        if let Some(free) = self.0.remove(&(first + length)) {
            length += free;
        }
        self.0.insert(first, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u32, length: u32) -> Run {
        Run { first, length }
    }

    #[test]
    fn what_is_given_back_is_whole_again() {
        let mut pool = Pool::new(101);
        let runs: Vec<Run> = (0..10).map(|_| pool.take(10).unwrap()).collect();
        assert_eq!(runs.first(), Some(&run(1, 10)), "entry 0 stands for none");
        assert_eq!(pool.take(1), None, "nothing is left");
        for order in [[1, 3, 5, 7, 9, 8, 6, 4, 2, 0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            for place in order {
                pool.give_back(runs[place]);
            }
            assert_eq!(pool.take(100), Some(run(1, 100)));
            pool.give_back(run(1, 100));
            for expected in &runs {
                assert_eq!(pool.take(10), Some(*expected));
            }
        }
    }

    #[test]
    fn what_is_reserved_is_given_to_nobody_else() {
        let mut pool = Pool::new(101);
        pool.reserve(run(11, 10));
        pool.reserve(run(15, 20));
        assert_eq!(pool.take(11), Some(run(35, 11)));
        assert_eq!(pool.take(10), Some(run(1, 10)));
        pool.give_back(run(11, 24));
        assert_eq!(pool.take(24), Some(run(11, 24)));
        assert_eq!(pool.take(0), Some(run(0, 0)));
    }
}

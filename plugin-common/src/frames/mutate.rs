//! Seeded mutations of frames: the same seed gives the same frames, on every machine.

use std::vec::Vec;

use super::Sample;

/// Numbers that mean something in one header or another, and the edges of what a field holds.
const TELLING: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 20, 40, 43, 44, 45, 46, 50, 51, 58, 59, 60, 0x60, 0x7f, 0x80,
    131, 137, 0xfe, 0xff,
];

/// `EtherType`s and a few that are none.
const TYPES: [u16; 10] =
    [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x9100, 0x8847, 0x8864, 0x0040, 0x0600];

/// An endless source of mutated frames, and of numbers.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Starts from a seed; any will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Not 0, from which the generator never leaves.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// One of the samples, with one to four changes.
    pub fn mutated(&mut self, samples: &[Sample]) -> Vec<u8> {
        let index = self.below(samples.len());
        let mut frame = samples.get(index).map(|sample| sample.bytes.clone()).unwrap_or_default();
        for _ in 0..=self.below(4) {
            self.change(&mut frame);
        }
        frame
    }

    /// Changes a frame at one place.
    pub fn change(&mut self, frame: &mut Vec<u8>) {
        let position = self.position(frame.len());
        match self.below(8) {
            0 => {
                let bit = self.below(8);
                set(frame, position, |byte| byte ^ (1 << bit));
            }
            1 => {
                let value = self.byte();
                set(frame, position, |_| value);
            }
            2 | 3 => {
                let value = self.one_of(&TELLING).unwrap_or_default();
                set(frame, position, |_| value);
            }
            4 => {
                let [high, low] = self.one_of(&TYPES).unwrap_or_default().to_be_bytes();
                let offset = 12 + 4 * self.below(3);
                set(frame, offset, |_| high);
                set(frame, offset + 1, |_| low);
            }
            5 => frame.truncate(position),
            6 => {
                let value = self.byte();
                let longer = frame.len() + self.below(64);
                frame.resize(longer, value);
            }
            _ => {
                // A piece again where it stands: chains grow, and what follows moves.
                let end = frame.len().min(position + 8);
                let piece = frame.get(position..end).map(<[u8]>::to_vec).unwrap_or_default();
                frame.splice(position..position, piece);
            }
        }
    }

    /// A position in the frame, in its headers more often than not.
    fn position(&mut self, length: usize) -> usize {
        let within = if self.below(4) == 0 { length } else { length.min(64) };
        self.below(within)
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.number().to_be_bytes();
        byte
    }

    /// One of these; `None` if there are none.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        values.get(self.below(values.len())).copied()
    }

    /// A number below the bound; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.number() >> 16) % bound).unwrap_or_default()
    }

    /// Any number ([xorshift64*](https://www.jstatsoft.org/article/view/v008i14)).
    pub fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn set(frame: &mut [u8], position: usize, value: impl FnOnce(u8) -> u8) {
    if let Some(byte) = frame.get_mut(position) {
        *byte = value(*byte);
    }
}

//! What must hold of anything that people, Docker and containers send: one function a target of the
//! fuzzer. `tests/fuzz` feeds them with what it makes up, `tests/tests/fuzz.rs` with its corpus.
//!
//! Each takes any bytes, never panics, and returns an error that says what does not hold.

mod files;
mod filter;
mod frames;
mod labels;
mod probes;
mod rules;

use anyhow::Result;

pub use self::files::{compose, config};
pub use self::filter::filter;
pub use self::frames::frames;
pub use self::labels::labels;
pub use self::rules::rules;

/// A target: takes any bytes.
pub type Target = fn(&[u8]) -> Result<()>;

/// Every target by its name, which its corpus has too.
pub const TARGETS: [(&str, Target); 6] = [
    ("compose", compose),
    ("config", config),
    ("filter", filter),
    ("frames", frames),
    ("labels", labels),
    ("rules", rules),
];

/// Between the parts of an input: a byte that is in no text.
const SEPARATOR: u8 = 0xff;

/// The texts of an input.
fn texts(data: &[u8]) -> impl Iterator<Item = String> {
    data.split(|byte| *byte == SEPARATOR).map(|text| String::from_utf8_lossy(text).into_owned())
}

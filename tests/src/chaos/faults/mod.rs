//! Every fault that is tried, by number. One file a family.

mod counterexample;
mod killing;
mod starting;

use super::fault::Fault;

/// All faults, in order.
#[must_use]
pub fn all() -> Vec<Fault> {
    [starting::FAULTS, killing::FAULTS].concat()
}

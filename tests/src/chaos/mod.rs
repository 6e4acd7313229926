//! Chaos: faults of every kind, and what must hold in spite of each.
//!
//! A fault is injected into a real engine with a real daemon while containers send what their
//! policy forbids. The same oracles watch every fault; none of them asks the daemon alone:
//!
//! 1. `counter`: forbidden frames behind the veth: none, while allowed ones are seen;
//! 2. `diff`: what the labels ask for against what stands in the kernel;
//! 3. `innocent`: those without a label lose nothing;
//! 4. `residue`: nothing is left in the end;
//! 5. `vitals`: the daemon's memory, files, and log;
//! 6. Docker still works ([`fault`]).

pub mod arena;
pub mod counter;
mod diff;
pub mod fault;
pub mod faults;
mod hogs;
mod innocent;
mod policy;
pub mod report;
mod residue;
pub mod soak;
mod trace;
mod vitals;

pub use self::{
    arena::Arena,
    fault::{Fault, Outcome, Row, Size},
    innocent::Innocents,
    policy::{Demand, Policy},
    residue::Residue,
    vitals::Vitals,
};

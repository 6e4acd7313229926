//! From rules to the tables that the kernel programs search. Pure.
//!
//! - [`compile`] turns the rules of one direction into intervals and sets;
//! - `tree.rs` lays the intervals out as the programs go down them;
//! - [`Program`] is both directions of one interface, ready to be put at places in the maps.

mod audit;
mod compile;
mod program;
#[cfg(test)]
mod tests;
mod tree;

pub use self::audit::{names_of_rules, of_presets};
pub use self::compile::{Layer, Searches, TooManyRules, compile};
pub use self::program::{Counted, Placed, Places, Program};

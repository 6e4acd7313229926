//! Rules: the language of `tc.egress` and `tc.ingress`, as `docs/labels.md` specifies it. Pure.
//!
//! - [`model`](RuleList): what was written, which is what is printed back.
//! - [`resolved`](ResolvedRule): the same with addresses in place of names and numbers in place of
//!   words, which is what the datapath compiles.
//!
//! - [`expand`] leads from the one to the other, and [`judge`] says what rules mean: it is the
//!   reference that the datapath is tested against.
//!
//! Nothing here knows Docker or the kernel: what a name stands for comes through [`Resolver`].

mod address;
#[cfg(test)]
mod arbitrary;
mod error;
mod expand;
mod groups;
mod hints;
mod icmp;
mod interpret;
mod model;
mod parse;
mod resolved;
mod sets;
mod show;
#[cfg(test)]
pub(crate) mod tests;

pub use self::address::{AddressRange, Span};
pub use self::error::RuleError;
pub use self::expand::{Expansion, TooManyEntries, check_entries, expand};
pub use self::hints::{RuleHint, hints};
pub use self::icmp::{IcmpName, IcmpType};
pub use self::interpret::{Probe, Verdict, judge};
pub use self::model::{
    Action, Direction, IcmpTypes, Name, PortRange, Ports, Rule, RuleList, Target, Traffic,
};
pub use self::resolved::{Addresses, IpVersion, ResolvedRule, Resolver, RuleId, Service, Wanted};

/// Most rules of one container, in both directions and of all who wrote them.
pub const MAX_RULES: usize = 256;
/// Most entries that the rules of one container may become: addresses times services.
pub const MAX_ENTRIES: usize = 1024;
/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 512;

//! `doctor`: whether this machine is fit for the daemon, and what of it is not enforceable.
//!
//! [`observe`] looks and changes nothing; [`decide`] makes findings of what was seen, and is pure;
//! the command line shows them. What could not be looked at is a finding that says so, never a good
//! one.

pub mod decide;
mod facts;
mod finding;
mod observe;

pub use self::decide::report;
pub use self::facts::{
    BpfFs, Daemon, Docker, Facts, Foreign, Hook, Host, Kernel, Leftovers, Networks, Port, Seen,
    Support, Unseen,
};
pub use self::finding::{Area, Finding, Fit, Level, Report, Verdict};
pub use self::observe::{Places, observe};

//! What there was in a capture, in a few words, as `tcpdump` ends with. Pure.

use std::fmt;

/// How many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Were written.
    pub captured: u64,
    /// Of these, were dropped by the policy.
    pub dropped: u64,
    /// Were seen, and not asked for by the filter.
    pub filtered: u64,
    /// Were lost, since they came faster than they could be written.
    pub lost: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { captured, dropped, filtered, lost } = self;
        let packets = if *captured == 1 { "packet" } else { "packets" };
        writeln!(f, "{captured} {packets} captured, {dropped} of them dropped by the policy")?;
        if *filtered > 0 {
            writeln!(f, "{filtered} more did not match the filter")?;
        }
        let packets = if *lost == 1 { "packet" } else { "packets" };
        write!(f, "{lost} {packets} lost, because they came faster than they could be written")
    }
}

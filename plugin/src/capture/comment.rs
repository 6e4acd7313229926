//! What became of a frame, in the words that stand beside it in a capture. Pure.

use std::fmt;

use plugin_common::abi::Observer;
use plugin_common::capture::Head;
use plugin_common::verdict::Reason;

use super::RuleTexts;
use crate::rules::Direction;

/// What is told of a frame, with what rules say.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// As the kernel's program tells it.
    pub head: &'a Head,
    /// The rules that it may name.
    pub rules: &'a RuleTexts,
}

impl Told<'_> {
    /// What became of it; `None` if it is of a later version.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| *reason as u32 == self.head.reason)
    }

    /// Whether it was let through.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.reason().is_some_and(Reason::passes)
    }

    /// Whether it was decided at XDP, and else at TC.
    #[must_use]
    pub const fn is_at_xdp(&self) -> bool {
        self.head.observer == Observer::Xdp as u32
    }

    /// The container's direction.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.head.observer == Observer::Ingress as u32 {
            Direction::Ingress
        } else {
            Direction::Egress
        }
    }

    fn rule(&self, counter: u32) -> Option<&str> {
        self.rules.get(&counter).map(String::as_str)
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "dropped" };
        let hook = if self.is_at_xdp() { "xdp" } else { "tc" };
        let Head { rule, audited, segments, .. } = *self.head;
        f.write_str(verdict)?;
        if !self.passed() {
            let reason = self.reason().map_or("unknown", Reason::name);
            write!(f, ", reason {reason}")?;
        }
        write!(f, ", hook {hook} {}", self.direction())?;
        if let Some(rule) = self.rule(rule) {
            write!(f, ", rule {rule}")?;
        }
        if let Some(audited) = self.rule(audited) {
            write!(f, ", audit: would be dropped by {audited}")?;
        }
        if segments > 1 {
            write!(f, ", {segments} packets on the wire")?;
        }
        Ok(())
    }
}

//! Numbers that the kernel hands out, each with its own type so that they cannot be mixed up.
//!
//! None of them is an identity by itself: interface indices, namespace ids and process ids are all
//! used again once their owner is gone.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

/// The index of a network interface within its namespace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Ifindex(NonZeroU32);

/// A number that cannot be an interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an interface index")]
pub struct InvalidIfindex(u32);

impl Ifindex {
    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Ifindex {
    type Error = InvalidIfindex;

    /// The kernel's interface indices are positive `int`s.
    fn try_from(value: u32) -> Result<Self, InvalidIfindex> {
        NonZeroU32::new(value)
            .filter(|index| i32::try_from(index.get()).is_ok())
            .map(Self)
            .ok_or(InvalidIfindex(value))
    }
}

impl From<Ifindex> for u32 {
    fn from(value: Ifindex) -> Self {
        value.get()
    }
}

impl fmt::Display for Ifindex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id by which our own network namespace knows another one (or itself).
///
/// Ids are the lowest free number and are used again as soon as a namespace is gone, so one is only
/// good while its [`Namespace`](crate::Namespace) is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nsid(i32);

impl Nsid {
    /// Wraps a number that the kernel gave; `None` for a negative one, its "not assigned".
    #[must_use]
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process id, always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Pid(i32);

/// A number or text that cannot be a process id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a process id: a number from 1 up is needed")]
pub struct InvalidPid(String);

impl Pid {
    /// The plain number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Pid {
    type Error = InvalidPid;

    fn try_from(value: i64) -> Result<Self, InvalidPid> {
        i32::try_from(value)
            .ok()
            .filter(|pid| *pid > 0)
            .map(Self)
            .ok_or_else(|| InvalidPid(value.to_string()))
    }
}

impl From<Pid> for i64 {
    fn from(value: Pid) -> Self {
        Self::from(value.0)
    }
}

impl FromStr for Pid {
    type Err = InvalidPid;

    fn from_str(text: &str) -> Result<Self, InvalidPid> {
        let value: i64 = text.parse().map_err(|_not_a_number| InvalidPid(text.to_owned()))?;
        Self::try_from(value)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ifindex_takes_what_the_kernel_can_give() {
        for (value, valid) in [(0, false), (1, true), (0x7fff_ffff, true), (0x8000_0000, false)] {
            assert_eq!(Ifindex::try_from(value).is_ok(), valid, "{value}");
        }
        let index: Ifindex = serde_json::from_str("7").unwrap();
        assert_eq!(serde_json::to_string(&index).unwrap(), "7");
        assert!(serde_json::from_str::<Ifindex>("0").is_err(), "zero must not deserialize");
    }

    #[test]
    fn negative_nsid_means_not_assigned() {
        assert_eq!(Nsid::new(-1), None);
        assert_eq!(Nsid::new(0).map(Nsid::get), Some(0));
    }

    #[test]
    fn pid_is_positive_and_fits() {
        for (text, valid) in
            [("1", true), ("0", false), ("-1", false), ("2147483648", false), ("x", false)]
        {
            assert_eq!(text.parse::<Pid>().is_ok(), valid, "{text}");
        }
    }
}

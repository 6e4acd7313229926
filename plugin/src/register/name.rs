//! The name of an OCI runtime, as Docker takes one.

use std::fmt;
use std::str::FromStr;

/// The usual name.
pub const DEFAULT_NAME: &str = "ebpf-netns";

/// A name that Docker takes, and that none of its own runtimes has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeName(String);

/// It is not a name that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Docker would change it, or not take it.
    #[error("expected lower-case letters, digits, '-', '_' and '.', a letter or digit first")]
    Characters,
    /// Docker has a runtime of that name.
    #[error("is a name of Docker's own")]
    Reserved,
}

impl RuntimeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuntimeName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !name.starts_with(plain) || !name.chars().all(|c| plain(c) || "-_.".contains(c)) {
            return Err(BadName::Characters);
        }
        if name == "runc" || name.starts_with("io.containerd.") {
            return Err(BadName::Reserved);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_docker_keeps_as_they_are_are_taken() {
        for name in ["ebpf-netns", "x", "my_runtime.2"] {
            assert_eq!(name.parse::<RuntimeName>().map(|name| name.0), Ok(name.to_owned()));
        }
        for name in ["", "-x", "Gate", "a b", "a\"b", "a/b", "é"] {
            assert_eq!(name.parse::<RuntimeName>(), Err(BadName::Characters), "{name:?}");
        }
        for name in ["runc", "io.containerd.runc.v2"] {
            assert_eq!(name.parse::<RuntimeName>(), Err(BadName::Reserved), "{name:?}");
        }
    }
}

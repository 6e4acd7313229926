//! What a link may be called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::text;

/// Before the name of a container, so that nobody takes the link for a namespace of theirs.
const PREFIX: &str = "docker-";

/// Leaves room for the suffixes of the record's file within the 255 bytes of a file name.
const MAX_LEN: usize = 240;

/// A name for a link in `/var/run/netns`: one path component that shows as what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// Why text cannot be the name of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing was given.
    #[error("a link's name must not be empty")]
    Empty,
    /// `.` or `..`.
    #[error("a link cannot be called . or ..")]
    Dots,
    /// A slash would lead elsewhere.
    #[error("a link's name must not hold a slash")]
    Slash,
    /// `ip netns exec -x` would take it for an option.
    #[error("a link's name must not begin with a dash")]
    Dash,
    /// White space, or a character that does not show.
    #[error("a link's name must not hold white space or characters that do not show")]
    Invisible,
    /// Longer than a file name may be.
    #[error("a link's name must not be longer than 240 bytes")]
    TooLong,
}

impl LinkName {
    /// The name that the link to a container has unless the user says otherwise: after its name, or
    /// after its id if it has no usable one.
    #[must_use]
    pub fn for_container(name: &str, short_id: &str) -> Option<Self> {
        let usable = |text: &str| format!("{PREFIX}{text}").parse().ok();
        if name.is_empty() { usable(short_id) } else { usable(name).or_else(|| usable(short_id)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        if name.is_empty() {
            Err(BadName::Empty)
        } else if name == "." || name == ".." {
            Err(BadName::Dots)
        } else if name.contains('/') {
            Err(BadName::Slash)
        } else if name.starts_with('-') {
            Err(BadName::Dash)
        } else if name.len() > MAX_LEN {
            Err(BadName::TooLong)
        } else if name.chars().any(|c| c.is_whitespace() || !text::is_visible(c)) {
            Err(BadName::Invisible)
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

impl TryFrom<String> for LinkName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        name.parse()
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visible_path_component() {
        let (longest, too_long) = ("x".repeat(240), "x".repeat(241));
        let cases = [
            ("docker-web", None),
            ("...", None),
            ("wéb", None),
            (longest.as_str(), None),
            ("", Some(BadName::Empty)),
            (".", Some(BadName::Dots)),
            ("..", Some(BadName::Dots)),
            ("a/b", Some(BadName::Slash)),
            ("/", Some(BadName::Slash)),
            ("-del", Some(BadName::Dash)),
            ("a b", Some(BadName::Invisible)),
            ("a\nb", Some(BadName::Invisible)),
            ("a\u{1b}[2J", Some(BadName::Invisible)),
            ("a\u{202e}b", Some(BadName::Invisible)),
            ("a\0b", Some(BadName::Invisible)),
            (too_long.as_str(), Some(BadName::TooLong)),
        ];
        for (name, expected) in cases {
            assert_eq!(name.parse::<LinkName>().err(), expected, "{name:?}");
        }
    }

    #[test]
    fn default_name_falls_back_to_the_id() {
        let name = |name: &str| LinkName::for_container(name, "0123456789ab").unwrap().0;
        assert_eq!(name("web"), "docker-web");
        assert_eq!(name(""), "docker-0123456789ab");
        assert_eq!(name("a/b"), "docker-0123456789ab");
        assert_eq!(name(&"x".repeat(300)), "docker-0123456789ab");
    }
}

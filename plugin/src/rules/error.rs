//! What is wrong with rules: line, column, what was found and what was expected. Pure.

use std::fmt;

use ebpf_netns::text;

use super::model::Direction;
use super::{MAX_LINE_BYTES, MAX_RULES};
use crate::excerpt::Excerpt;

/// Characters of untrusted text that a message repeats.
const QUOTED_CHARS: usize = 60;

/// One thing that is wrong with the rules of one direction.
///
/// Shown in one line; with `{:#}`, the line of the rules and a caret below the column follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    place: Option<Place>,
    problem: Problem,
}

/// Where in the text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    excerpt: Excerpt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    NoRules,
    TooManyRules,
    LineTooLong,
    Unexpected(Unexpected),
}

/// What was found where something else should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unexpected {
    /// Nothing at the end of a rule.
    pub found: Option<String>,
    pub expected: String,
    pub advice: Option<Advice>,
}

/// The way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    DidYouMean(String),
    Write(String),
    NoComments,
    NoLeadingZero,
    OnlySpaces,
    NoPorts,
    Commas,
    LowFirst,
    Other(Direction),
    NotOfOneVersion,
    HostBits { network: String },
    Mapped { own: String },
    NoZone,
    PortsAfterProtocol,
    NoDomains,
    ContainerByName { name: String },
}

impl RuleError {
    /// Its line and column in the text, where it is told with them; 1 is the first.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    /// What is wrong, without where.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.problem.to_string()
    }

    pub(super) fn no_rules() -> Self {
        Self { place: None, problem: Problem::NoRules }
    }

    pub(super) fn too_many_rules() -> Self {
        Self { place: None, problem: Problem::TooManyRules }
    }

    /// `number` and the columns of a line count from 1.
    pub(super) fn line_too_long(number: usize, line: &str) -> Self {
        let place = Some(Place::new(number, 1, line));
        Self { place, problem: Problem::LineTooLong }
    }

    pub(super) fn unexpected(
        number: usize,
        column: usize,
        line: &str,
        unexpected: Unexpected,
    ) -> Self {
        let place = Some(Place::new(number, column, line));
        Self { place, problem: Problem::Unexpected(unexpected) }
    }
}

impl Place {
    fn new(line: usize, column: usize, text: &str) -> Self {
        Self { line, column, excerpt: Excerpt::new(column, text) }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, problem } = self;
        if let Some(Place { line, column, .. }) = place {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{problem}")?;
        match place {
            Some(Place { excerpt, .. }) if f.alternate() => write!(f, "\n{excerpt}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for RuleError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => {
                write!(f, "no rule in it: write one, such as deny, or leave the key out")
            }
            Self::TooManyRules => write!(f, "more than {MAX_RULES} rules"),
            Self::LineTooLong => write!(f, "the line is longer than {MAX_LINE_BYTES} bytes"),
            Self::Unexpected(Unexpected { found, expected, advice }) => {
                match found {
                    Some(found) => {
                        write!(f, "found \"{}\"", text::printable_up_to(found, QUOTED_CHARS))?;
                    }
                    None => write!(f, "found the end of the rule")?,
                }
                write!(f, ", expected {expected}")?;
                advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
            }
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text| text::printable_up_to(text, QUOTED_CHARS);
        match self {
            Self::DidYouMean(word) => write!(f, "did you mean {}?", quoted(word)),
            Self::Write(text) => write!(f, "write {}", quoted(text)),
            Self::NoComments => write!(f, "rules have no comments: write them beside the label"),
            Self::NoLeadingZero => write!(f, "numbers are decimal and have no leading zero"),
            Self::OnlySpaces => {
                write!(f, "words are separated by spaces alone, rules by line feeds and ;")
            }
            Self::NoPorts => write!(f, "ports are of tcp, udp and sctp"),
            Self::Commas => write!(f, "commas stand between ports"),
            Self::LowFirst => write!(f, "the lower end of a range stands first"),
            Self::Other(Direction::Egress) => {
                write!(f, "from belongs to ingress: in egress, say where to")
            }
            Self::Other(Direction::Ingress) => {
                write!(f, "to belongs to egress: in ingress, say where from")
            }
            Self::NotOfOneVersion => {
                write!(f, "both ends of a range are of the same version of IP")
            }
            Self::HostBits { network } => {
                write!(f, "the address has bits set beyond the prefix: the network is {network}")
            }
            Self::Mapped { own } => {
                write!(f, "an IPv4-mapped address is on no wire: write {own}")
            }
            Self::NoZone => write!(f, "leave out the zone: the container's interface is meant"),
            Self::PortsAfterProtocol => {
                write!(f, "ports stand after the protocol: tcp 443 to ADDRESS")
            }
            Self::NoDomains => write!(
                f,
                "domain names are not supported yet: use addresses, or names of containers, \
                 services and networks"
            ),
            Self::ContainerByName { name } => {
                write!(f, "a container is written container:{}", quoted(name))
            }
        }
    }
}

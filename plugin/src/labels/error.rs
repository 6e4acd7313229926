//! What is wrong with a label: key, column, what was found and what was expected. Pure.

use std::fmt;

use ebpf_netns::text;

use super::policies::Policies;
use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::rules::{Direction, MAX_RULES, RuleError};

/// Characters of untrusted text that a message repeats.
const QUOTED_CHARS: usize = 60;

/// One label that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelError {
    key: String,
    problem: Problem,
}

/// Where in a label something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelPlace {
    /// In its key, or that it is there at all.
    Key,
    /// In its value as a whole.
    Value,
    /// At a place of its value; 1 is the first line, and the first character of a line.
    Within {
        /// The line.
        line: usize,
        /// The character.
        column: usize,
    },
}

impl LabelPlace {
    fn of_value((line, column): (usize, usize)) -> Self {
        Self::Within { line, column }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    UnknownKey { suggestion: Option<&'static str> },
    AlmostOurKey { meant: String },
    Program { found: String, expected: &'static str },
    RulesOnXdp,
    RulesOfPolicyOnXdp { policy: String },
    NoRulesThere { policy: String, direction: Direction },
    WithoutPolicy { policy: &'static str },
    TooManyRules { rules: usize },
    Rule(Box<RuleError>),
    KeyTooLong,
    ValueTooLong,
    Unexpected { column: usize, found: String, expected: String, suggestion: Option<String> },
}

impl LabelError {
    pub(super) fn unknown_key(key: &str, suggestion: Option<&'static str>) -> Self {
        Self::new(key, Problem::UnknownKey { suggestion })
    }

    pub(super) fn almost_our_key(key: &str, meant: String) -> Self {
        Self::new(key, Problem::AlmostOurKey { meant })
    }

    /// `found` is not the name of a program.
    pub(super) fn bad_program(key: &str, found: &str, expected: &'static str) -> Self {
        Self::new(key, Problem::Program { found: found.to_owned(), expected })
    }

    pub(super) fn rules_on_xdp(key: &str) -> Self {
        Self::new(key, Problem::RulesOnXdp)
    }

    /// The policy that `xdp.policy` names has rules.
    pub(super) fn rules_of_policy_on_xdp(key: &str, policy: &str) -> Self {
        Self::new(key, Problem::RulesOfPolicyOnXdp { policy: policy.to_owned() })
    }

    /// The policy has rules for the other direction alone.
    pub(super) fn no_rules_there(key: &str, policy: &str, direction: Direction) -> Self {
        Self::new(key, Problem::NoRulesThere { policy: policy.to_owned(), direction })
    }

    pub(super) fn too_many_rules(key: &str, rules: usize) -> Self {
        Self::new(key, Problem::TooManyRules { rules })
    }

    pub(super) fn rule(key: &str, error: RuleError) -> Self {
        Self::new(key, Problem::Rule(Box::new(error)))
    }

    pub(super) fn without_policy(key: &str, policy: &'static str) -> Self {
        Self::new(key, Problem::WithoutPolicy { policy })
    }

    pub(super) fn key_too_long(key: &str) -> Self {
        Self::new(key, Problem::KeyTooLong)
    }

    pub(super) fn value_too_long(key: &str) -> Self {
        Self::new(key, Problem::ValueTooLong)
    }

    /// `found` stands at `column` (1 is the first character) where a word of `expected` should.
    pub(super) fn unexpected<'a>(
        key: &str,
        column: usize,
        found: &str,
        expected: impl Iterator<Item = &'a str>,
    ) -> Self {
        let expected: Vec<&str> = expected.collect();
        let suggestion = nearest(found, expected.iter().copied()).map(str::to_owned);
        let expected = expected.join(", ");
        let found = found.to_owned();
        Self::new(key, Problem::Unexpected { column, found, expected, suggestion })
    }

    /// `found` is neither one of `presets` nor the name of one of the policies.
    pub(super) fn no_such_policy(
        key: &str,
        found: &str,
        presets: impl Iterator<Item = &'static str>,
        policies: &Policies,
    ) -> Self {
        let presets: Vec<&str> = presets.collect();
        let words = presets.iter().copied().chain(policies.names());
        let suggestion = nearest(found, words).map(str::to_owned);
        let directory = text::printable(policies.directory().unwrap_or_default());
        let expected = format!("{}, or the name of a policy in {directory}", presets.join(", "));
        let found = found.to_owned();
        Self::new(key, Problem::Unexpected { column: 1, found, expected, suggestion })
    }

    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> LabelPlace {
        match &self.problem {
            Problem::UnknownKey { .. }
            | Problem::AlmostOurKey { .. }
            | Problem::RulesOnXdp
            | Problem::WithoutPolicy { .. }
            | Problem::KeyTooLong => LabelPlace::Key,
            Problem::RulesOfPolicyOnXdp { .. }
            | Problem::NoRulesThere { .. }
            | Problem::TooManyRules { .. }
            | Problem::Program { .. }
            | Problem::ValueTooLong => LabelPlace::Value,
            Problem::Rule(error) => error.place().map_or(LabelPlace::Value, LabelPlace::of_value),
            Problem::Unexpected { column, .. } => LabelPlace::of_value((1, *column)),
        }
    }

    /// What is wrong, for who tells key and place beside it.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.problem {
            Problem::Rule(error) => error.sentence(),
            Problem::Unexpected { found, expected, suggestion, .. } => {
                fmt::from_fn(|f| unexpected(f, found, expected, suggestion.as_deref())).to_string()
            }
            Problem::AlmostOurKey { .. } => self.of_a_key(),
            _ => {
                let sentence = self.of_a_key();
                let key = text::printable_up_to(&self.key, QUOTED_CHARS).to_string();
                let rest = sentence.strip_prefix(&key).and_then(|rest| rest.strip_prefix(": "));
                rest.map_or(sentence.clone(), str::to_owned)
            }
        }
    }

    /// What is wrong, of a key that is not on a label.
    #[must_use]
    pub fn of_a_key(&self) -> String {
        let sentence = self.to_string();
        sentence.strip_prefix("label ").unwrap_or(&sentence).to_owned()
    }

    fn new(key: &str, problem: Problem) -> Self {
        Self { key: key.to_owned(), problem }
    }
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = text::printable_up_to(&self.key, QUOTED_CHARS);
        match &self.problem {
            Problem::UnknownKey { suggestion } => {
                write!(f, "label {key}: unknown key")?;
                did_you_mean(f, *suggestion)
            }
            Problem::AlmostOurKey { meant } => {
                let meant = text::printable_up_to(meant, QUOTED_CHARS);
                write!(f, "label \"{key}\": looks like {meant} but is not: write {meant} exactly")
            }
            Problem::Program { found, expected } => {
                let found = text::printable_up_to(found, QUOTED_CHARS);
                write!(f, "label {key}: found \"{found}\", {expected}")
            }
            Problem::RulesOnXdp => write!(
                f,
                "label {key}: rules are for tc.ingress and tc.egress: XDP sees one direction and \
                 could not tell a reply"
            ),
            Problem::RulesOfPolicyOnXdp { policy } => {
                let policy = text::printable_up_to(policy, QUOTED_CHARS);
                write!(
                    f,
                    "label {key}: policy {policy} has rules, which are for tc.policy: XDP sees one \
                     direction and could not tell a reply"
                )
            }
            Problem::NoRulesThere { policy, direction } => {
                let policy = text::printable_up_to(policy, QUOTED_CHARS);
                write!(f, "label {key}: has no effect: policy {policy} has nothing for {direction}")
            }
            Problem::TooManyRules { rules } => write!(
                f,
                "label {key}: {rules} rules in all, in both directions and with the policy that \
                 tc.policy names: {MAX_RULES} are the most"
            ),
            Problem::Rule(error) => {
                let separator = if error.place().is_some() { "," } else { ":" };
                write!(f, "label {key}{separator} ")?;
                // With the flags that were asked for, which may be to show the line.
                fmt::Display::fmt(error, f)
            }
            Problem::WithoutPolicy { policy } => {
                write!(f, "label {key}: has no effect without {policy}: add {policy}")
            }
            Problem::KeyTooLong => {
                write!(f, "label {key}: the key is longer than {MAX_KEY_BYTES} bytes")
            }
            Problem::ValueTooLong => {
                write!(f, "label {key}: the value is longer than {MAX_VALUE_BYTES} bytes")
            }
            Problem::Unexpected { column, found, expected, suggestion } => {
                write!(f, "label {key}: column {column}: ")?;
                unexpected(f, found, expected, suggestion.as_deref())
            }
        }
    }
}

fn unexpected(
    f: &mut fmt::Formatter<'_>,
    found: &str,
    expected: &str,
    suggestion: Option<&str>,
) -> fmt::Result {
    let found = text::printable_up_to(found, QUOTED_CHARS);
    write!(f, "found \"{found}\", expected one of {expected}")?;
    did_you_mean(f, suggestion)
}

fn did_you_mean(f: &mut fmt::Formatter<'_>, suggestion: Option<&str>) -> fmt::Result {
    suggestion.map_or(Ok(()), |word| write!(f, "; did you mean {word}?"))
}

/// Everything that is wrong with the labels of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelErrors {
    told: Vec<LabelError>,
    more: usize,
}

/// How many errors of one container are told; the rest are counted.
const TOLD: usize = 16;

impl From<Vec<LabelError>> for LabelErrors {
    fn from(mut told: Vec<LabelError>) -> Self {
        let more = told.len().saturating_sub(TOLD);
        told.truncate(TOLD);
        Self { told, more }
    }
}

impl LabelErrors {
    /// How many more there are than those that are told.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// Those that are told.
    pub fn iter(&self) -> impl Iterator<Item = &LabelError> {
        self.told.iter()
    }
}

impl fmt::Display for LabelErrors {
    /// In one line; with `{:#}`, on lines of their own, and the lines of rules among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if f.alternate() { "\n" } else { "; " };
        for (position, error) in self.told.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { between })?;
            fmt::Display::fmt(error, f)?;
        }
        if self.more > 0 {
            write!(f, "{between}and {} more", self.more)?;
        }
        Ok(())
    }
}

impl LabelErrors {
    /// What is wrong, of keys that are options of a network and no labels.
    #[must_use]
    pub fn of_options(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            for (position, error) in self.told.iter().enumerate() {
                let between = if position == 0 { "" } else { "; " };
                write!(f, "{between}option {}", error.of_a_key())?;
            }
            if self.more > 0 { write!(f, "; and {} more", self.more) } else { Ok(()) }
        })
    }
}

impl std::error::Error for LabelErrors {}

/// The word that a typist may have meant: at most a third of it is different, where two letters that
/// changed places count as one.
pub(crate) fn nearest<'a>(found: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let found: String = found.to_lowercase().chars().take(QUOTED_CHARS).collect();
    words
        .map(|word| (strsim::osa_distance(&found, word), word))
        .filter(|(distance, word)| distance * 3 <= word.len())
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let words = ["drop-tcp", "drop-udp", "log"];
        let nearest = |found| nearest(found, words.into_iter());
        assert_eq!(nearest("drop-tpc"), Some("drop-tcp"));
        assert_eq!(nearest("DROP-UDP"), Some("drop-udp"));
        assert_eq!(nearest("lgo"), Some("log"), "two letters changed places");
        assert_eq!(nearest("lag"), Some("log"));
        assert_eq!(nearest("gol"), None, "two of three letters differ");
        assert_eq!(nearest("allow"), None);
        assert_eq!(nearest(""), None);
    }
}

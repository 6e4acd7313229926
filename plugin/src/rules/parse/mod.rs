//! From text to rules. Pure.
//!
//! Every rule is read, and all that is wrong is told: after the first error in a rule the next rule
//! follows, except in a list, of which every item is looked at.

mod numbers;
mod rule;
mod targets;
#[cfg(test)]
mod tests;
mod words;

use std::num::NonZero;

use self::rule::Parser;
use self::words::Line;
use super::error::RuleError;
use super::model::{Direction, RuleList};
use super::{MAX_LINE_BYTES, MAX_RULES};

impl RuleList {
    /// Reads the rules of one direction: one a line, or separated by `;`. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the text.
    pub fn parse(direction: Direction, text: &str) -> Result<Self, Vec<RuleError>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        let mut found = 0;
        for (number, text) in (1..).zip(text.split('\n')) {
            if text.len() > MAX_LINE_BYTES {
                errors.push(RuleError::line_too_long(number, text));
                continue;
            }
            let line = Line::new(number, text);
            let written =
                u32::try_from(number).ok().and_then(NonZero::new).unwrap_or(NonZero::<u32>::MAX);
            for words in line.rules() {
                found += 1;
                let mut parser = Parser::new(direction, words);
                match parser.rule(written) {
                    Some(rule) => rules.push(rule),
                    None => errors.extend(parser.into_errors(&line)),
                }
            }
        }
        if found > MAX_RULES {
            errors.push(RuleError::too_many_rules());
        }
        match Self::new(rules) {
            Some(rules) if errors.is_empty() => Ok(rules),
            None if errors.is_empty() => Err(vec![RuleError::no_rules()]),
            _ => Err(errors),
        }
    }
}

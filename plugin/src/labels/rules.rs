//! The values of `tc.egress` and `tc.ingress`, and how many rules there may be in all. Pure.

use std::sync::Arc;

use super::MAX_VALUE_BYTES;
use super::error::LabelError;
use crate::rules::{Direction, RuleList};

/// Reads the rules of one direction.
///
/// # Errors
///
/// Everything that is wrong with them.
pub fn parse_rules(
    key: &str,
    direction: Direction,
    value: &str,
) -> Result<Arc<RuleList>, Vec<LabelError>> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(vec![LabelError::value_too_long(key)]);
    }
    match RuleList::parse(direction, value) {
        Ok(rules) => Ok(Arc::new(rules)),
        Err(errors) => Err(errors.into_iter().map(|error| LabelError::rule(key, error)).collect()),
    }
}

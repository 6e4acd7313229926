//! Numbers and ports: decimal digits and nothing else. Pure.

use std::num::NonZero;

use super::super::error::Advice;
use super::super::model::PortRange;

/// Why text is no number, or not one that may stand here.
pub(super) type NotANumber = Option<Advice>;

/// A number that is not higher than `max`.
pub(super) fn number(text: &str, max: u16) -> Result<u16, NotANumber> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(None);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(Some(Advice::NoLeadingZero));
    }
    text.parse().ok().filter(|number| *number <= max).ok_or(None)
}

/// One port, or `low-high`.
pub(super) fn ports(text: &str) -> Result<PortRange, NotANumber> {
    let port = |text| number(text, u16::MAX).and_then(|port| NonZero::new(port).ok_or(None));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(port(low)?, port(high)?).ok_or(Some(Advice::LowFirst))
}

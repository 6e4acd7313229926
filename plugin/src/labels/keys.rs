//! Which labels are ours, and which key each of them is. Pure.

use unicode_normalization::UnicodeNormalization as _;

use super::MAX_KEY_BYTES;
use super::error::{LabelError, nearest};

/// A key that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    XdpPolicy,
    XdpMode,
    TcPolicy,
    TcDirection,
    TcIngress,
    TcEgress,
    TcAudit,
    XdpAudit,
    XdpProgram,
    TcProgram,
}

const PREFIXES: [&str; 2] = ["xdp.", "tc."];

const KNOWN: [(&str, Key); 10] = [
    ("xdp.policy", Key::XdpPolicy),
    ("xdp.mode", Key::XdpMode),
    ("tc.policy", Key::TcPolicy),
    ("tc.direction", Key::TcDirection),
    ("tc.ingress", Key::TcIngress),
    ("tc.egress", Key::TcEgress),
    ("tc.audit", Key::TcAudit),
    ("xdp.audit", Key::XdpAudit),
    ("xdp.program", Key::XdpProgram),
    ("tc.program", Key::TcProgram),
];

const XDP_RULES: [&str; 2] = ["xdp.ingress", "xdp.egress"];

/// Whether a key is ours to judge: under one of our prefixes, or so near to one that a person
/// would take it for ours.
#[must_use]
pub fn is_ours(key: &str) -> bool {
    under_our_prefix(key) || under_our_prefix(&normal_form(key))
}

/// Which key it is; `key` must be ours.
pub(super) fn classify(key: &str) -> Result<Key, LabelError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(LabelError::key_too_long(key));
    }
    if let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == key) {
        return Ok(*known);
    }
    if XDP_RULES.contains(&key) {
        return Err(LabelError::rules_on_xdp(key));
    }
    let normal = normal_form(key);
    if normal != key && (all_keys().any(|name| name == normal) || !under_our_prefix(key)) {
        return Err(LabelError::almost_our_key(key, normal));
    }
    Err(LabelError::unknown_key(key, nearest(key, all_keys())))
}

fn all_keys() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

fn under_our_prefix(key: &str) -> bool {
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The key as a hurried reader sees it: without spaces and invisible characters, in lower case,
/// and with letters of other scripts replaced by the Latin ones that they look like (Unicode
/// TR39). Only the beginning matters for a key that is too long anyway.
fn normal_form(key: &str) -> String {
    let visible = key
        .chars()
        .take(MAX_KEY_BYTES)
        .filter(|c| !c.is_whitespace() && !c.is_control() && !is_invisible(*c))
        .nfkc()
        .flat_map(char::to_lowercase)
        .collect::<String>();
    // The skeleton also folds Latin letters into each other (m to rn): only what is not ASCII is
    // replaced by it.
    visible
        .chars()
        .flat_map(|c| -> Vec<char> {
            if c.is_ascii() {
                vec![c]
            } else {
                unicode_security::skeleton(&c.to_string()).collect()
            }
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// Format characters that take no room: zero-width spaces and joiners, byte-order mark, bidi
/// controls, soft hyphen, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

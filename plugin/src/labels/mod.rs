//! Labels to policy: the user's language, as `docs/labels.md` specifies it. Pure.
//!
//! Strict: what is under our prefixes and is not understood is an error, all errors of a container
//! are collected, and an error never becomes a default.

mod error;
mod keys;
mod policies;
mod presets;
mod show;

use std::collections::BTreeMap;

use plugin_common::presets::Presets;
use serde::Serialize;

pub(crate) use self::error::nearest;
pub use self::error::{LabelError, LabelErrors};
use self::keys::Key;
pub use self::keys::is_ours;
pub use self::policies::{Policies, check_name};
pub(crate) use self::presets::format_presets;
pub use self::presets::parse_list;

/// Longest key under our prefixes, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest value of a label, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;

/// What the labels of one container ask for. At least one of the two is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPolicy {
    /// `xdp.*`.
    pub xdp: Option<XdpPolicy>,
    /// `tc.*`.
    pub tc: Option<TcPolicy>,
}

/// `xdp.policy` and `xdp.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpPolicy {
    /// What to do with what the container sends.
    pub presets: Presets,
    /// Where XDP is to run.
    pub mode: XdpMode,
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// The mode that costs passing traffic least on the device.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the network stack, on any device.
    Generic,
    /// On the network card.
    Offload,
}

/// `tc.policy` and `tc.direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcPolicy {
    /// What to do with the packets.
    pub presets: Presets,
    /// Which packets: the container's direction.
    pub direction: Direction,
}

/// A direction as the container sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What the container sends.
    Egress,
    /// What the container receives.
    Ingress,
    /// Both.
    #[default]
    Both,
}

/// Reads the labels of one container. `None` when none of them is ours.
///
/// # Errors
///
/// Every label of ours that is not understood.
pub fn parse(labels: &BTreeMap<String, String>) -> Result<Option<LabelPolicy>, LabelErrors> {
    parse_with(labels, &Policies::default())
}

/// As [`parse`], where labels may name these policies.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with(
    labels: &BTreeMap<String, String>,
    policies: &Policies,
) -> Result<Option<LabelPolicy>, LabelErrors> {
    let mut fields = Fields::default();
    let mut errors = Vec::new();
    for (key, value) in labels.iter().filter(|(key, _)| is_ours(key)) {
        if let Err(error) = read(key, value, policies, &mut fields) {
            errors.push(error);
        }
    }
    match fields.into_policy() {
        Ok(policy) if errors.is_empty() => Ok(policy),
        Ok(_) => Err(errors.into()),
        Err(missing) => {
            // A policy that is there and does not parse explains the modifier that lacks it.
            if errors.is_empty() {
                errors.extend(missing);
            }
            Err(errors.into())
        }
    }
}

/// What was read so far; the defaults of the missing keys are not yet filled in.
#[derive(Default)]
struct Fields {
    xdp_policy: Option<Presets>,
    xdp_mode: Option<XdpMode>,
    tc_policy: Option<Presets>,
    tc_direction: Option<Direction>,
}

impl Fields {
    fn into_policy(self) -> Result<Option<LabelPolicy>, Vec<LabelError>> {
        let Self { xdp_policy, xdp_mode, tc_policy, tc_direction } = self;
        let mut missing = Vec::new();
        if xdp_policy.is_none() && xdp_mode.is_some() {
            missing.push(LabelError::without_policy("xdp.mode", "xdp.policy"));
        }
        if tc_policy.is_none() && tc_direction.is_some() {
            missing.push(LabelError::without_policy("tc.direction", "tc.policy"));
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let xdp =
            xdp_policy.map(|presets| XdpPolicy { presets, mode: xdp_mode.unwrap_or_default() });
        let tc = tc_policy
            .map(|presets| TcPolicy { presets, direction: tc_direction.unwrap_or_default() });
        Ok((xdp.is_some() || tc.is_some()).then_some(LabelPolicy { xdp, tc }))
    }
}

fn read(
    key: &str,
    value: &str,
    policies: &Policies,
    fields: &mut Fields,
) -> Result<(), LabelError> {
    let known = keys::classify(key)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(LabelError::value_too_long(key));
    }
    match known {
        Key::XdpPolicy => fields.xdp_policy = Some(presets::parse(key, value, policies)?),
        Key::TcPolicy => fields.tc_policy = Some(presets::parse(key, value, policies)?),
        Key::XdpMode => {
            fields.xdp_mode = Some(word(
                key,
                value,
                &[
                    ("auto", XdpMode::Auto),
                    ("native", XdpMode::Native),
                    ("generic", XdpMode::Generic),
                    ("offload", XdpMode::Offload),
                ],
            )?);
        }
        Key::TcDirection => {
            fields.tc_direction = Some(word(
                key,
                value,
                &[
                    ("egress", Direction::Egress),
                    ("ingress", Direction::Ingress),
                    ("both", Direction::Both),
                ],
            )?);
        }
    }
    Ok(())
}

/// A value that is one of a few words.
fn word<T: Copy>(key: &str, value: &str, words: &[(&str, T)]) -> Result<T, LabelError> {
    match words.iter().find(|(word, _)| *word == value) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(LabelError::unexpected(key, 1, value, words.iter().map(|(word, _)| *word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn accepts(pairs: &[(&str, &str)], expected: &LabelPolicy) {
        assert_eq!(parse(&labels(pairs)).as_ref(), Ok(&Some(expected.clone())), "{pairs:?}");
    }

    /// The labels are refused, and the message has every one of these words.
    #[track_caller]
    fn refuses(pairs: &[(&str, &str)], words: &[&str]) {
        let error = parse(&labels(pairs)).expect_err("refused").to_string();
        for word in words {
            assert!(error.contains(word), "{pairs:?}: {error:?} lacks {word:?}");
        }
        assert!(!error.contains(char::is_control), "a control character in {error:?}");
    }

    fn xdp(presets: Presets, mode: XdpMode) -> LabelPolicy {
        LabelPolicy { xdp: Some(XdpPolicy { presets, mode }), tc: None }
    }

    fn tc(presets: Presets, direction: Direction) -> LabelPolicy {
        LabelPolicy { xdp: None, tc: Some(TcPolicy { presets, direction }) }
    }

    #[test]
    fn labels_of_others_are_no_policy() {
        for key in ["com.example.xdp.policy", "maintainer", "", "xdp", "tc", "tcp.policy", "étc.x"]
        {
            assert_eq!(parse(&labels(&[(key, "drop-all")])), Ok(None), "{key}");
        }
    }

    #[test]
    fn every_preset_is_read() {
        for (name, presets) in Presets::NAMED {
            accepts(&[("xdp.policy", name)], &xdp(presets, XdpMode::Auto));
            accepts(&[("tc.policy", name)], &tc(presets, Direction::Both));
        }
    }

    #[test]
    fn presets_add_up() {
        let both = Presets::DROP_TCP | Presets::LOG;
        accepts(&[("tc.policy", "drop-tcp,log")], &tc(both, Direction::Both));
        accepts(&[("tc.policy", "log, drop-tcp")], &tc(both, Direction::Both));
        accepts(&[("tc.policy", "pass,drop-tcp,log")], &tc(both, Direction::Both));
    }

    #[test]
    fn mode_and_direction_are_read() {
        for (name, mode) in [
            ("auto", XdpMode::Auto),
            ("native", XdpMode::Native),
            ("generic", XdpMode::Generic),
            ("offload", XdpMode::Offload),
        ] {
            accepts(&[("xdp.policy", "log"), ("xdp.mode", name)], &xdp(Presets::LOG, mode));
        }
        for (name, direction) in [
            ("egress", Direction::Egress),
            ("ingress", Direction::Ingress),
            ("both", Direction::Both),
        ] {
            let expected = tc(Presets::LOG, direction);
            accepts(&[("tc.policy", "log"), ("tc.direction", name)], &expected);
        }
    }

    #[test]
    fn a_misspelt_preset_is_refused_with_column_and_suggestion() {
        refuses(
            &[("xdp.policy", "drop-tpc")],
            &["xdp.policy", "column 1", "drop-tpc", "drop-tcp?"],
        );
        refuses(&[("tc.policy", "log,drop-tpc")], &["tc.policy", "column 5", "drop-tpc"]);
        refuses(&[("tc.policy", "log, Drop-TCP")], &["column 6", "drop-tcp?"]);
    }

    #[test]
    fn a_value_may_be_the_name_of_a_policy_and_of_nothing_else() {
        let named = [("web".to_owned(), Presets::DROP_UDP)].into();
        let policies = Policies::new("/etc/policies".to_owned(), named);
        let read = |value| parse_with(&labels(&[("tc.policy", value)]), &policies);
        assert_eq!(read("web"), Ok(Some(tc(Presets::DROP_UDP, Direction::Both))));
        assert_eq!(read("log"), Ok(Some(tc(Presets::LOG, Direction::Both))));
        let error = read("wbe").expect_err("refused").to_string();
        assert!(!error.contains("did you mean"), "two of three letters differ: {error}");
        for (value, words) in [
            ("webb", ["tc.policy", "\"webb\"", "/etc/policies", "did you mean web?"]),
            ("drop-tpc", ["column 1", "drop-all", "/etc/policies", "drop-tcp?"]),
        ] {
            let error = read(value).expect_err("refused").to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        for value in ["web,log", "log, web", "Web", "web "] {
            let error = read(value).expect_err("refused").to_string();
            assert!(!error.contains("/etc/policies"), "{value:?} can be no name: {error}");
        }
    }

    #[test]
    fn values_that_are_no_preset_list_are_refused() {
        for value in [
            "",
            " ",
            "\t",
            ",",
            "drop-tcp,",
            ",drop-tcp",
            "drop-tcp,,log",
            " drop-tcp",
            "drop-tcp ",
            "drop-tcp log",
            "drop-tcp;log",
            "drop-tcp\n",
            "drop-tcp\0",
            "\u{feff}drop-tcp",
            "drop\u{2010}tcp",
            "drop-tcp\u{200b}",
            "drop-tcp,\u{a0}log",
            "\"drop-tcp\"",
            "true",
            "0",
            "allow tcp 80",
            "${POLICY}",
            "../../etc/passwd",
            "drop-tcp,\tlog",
            "drop-tcp\r\n",
        ] {
            refuses(&[("xdp.policy", value)], &["xdp.policy", "column", "expected"]);
            refuses(&[("tc.policy", value)], &["tc.policy", "column", "expected"]);
        }
    }

    #[test]
    fn untrusted_text_reaches_no_terminal() {
        refuses(&[("xdp.policy", "\u{1b}[31mred\u{1b}]0;title\u{7}")], &["\\u{1b}"]);
        refuses(&[("xdp.policy", "\u{202e}pct-pord")], &["\\u{202e}"]);
        refuses(&[("xdp.\u{1b}[2J", "x")], &["\\u{1b}"]);
    }

    #[test]
    fn unknown_label_key_is_rejected_with_its_name() {
        refuses(&[("xdp.polcy", "drop-tcp")], &["xdp.polcy", "xdp.policy?"]);
        refuses(&[("tc.", "drop-tcp")], &["tc.", "unknown key"]);
        refuses(&[("tc.policy.extra", "drop-tcp")], &["tc.policy.extra", "unknown key"]);
    }

    #[test]
    fn a_key_that_only_looks_like_ours_is_refused() {
        for key in [
            "XDP.policy",
            "xdp.Policy",
            " xdp.policy",
            "xdp.policy ",
            "xdp .policy",
            "xdp.policy\0",
            "\u{445}dp.policy",
            "xd\u{440}.policy",
            "xdp\u{2024}policy",
            "\u{ff58}dp.policy",
            "t\u{441}.policy",
            "TC.policy",
            "\u{feff}tc.policy",
            "\u{200b}tc.policy",
            "tc\t.policy",
            "xdp.p\u{43e}licy",
            "Tc.Direction",
        ] {
            assert!(is_ours(key), "{key:?} passes for somebody else's");
            refuses(&[(key, "drop-tcp")], &["write"]);
        }
    }

    #[test]
    fn keys_of_later_versions_are_refused_with_the_reason() {
        for key in ["xdp.program", "tc.program", "tc.ingress", "tc.egress", "xdp.audit", "tc.audit"]
        {
            refuses(&[(key, "x")], &[key, "not supported by this version"]);
        }
        for key in ["xdp.ingress", "xdp.egress"] {
            refuses(&[(key, "allow tcp 80")], &[key, "rules are for tc."]);
        }
    }

    #[test]
    fn a_modifier_without_its_policy_is_refused() {
        refuses(&[("xdp.mode", "native")], &["xdp.mode", "xdp.policy"]);
        refuses(&[("tc.direction", "egress")], &["tc.direction", "tc.policy"]);
        refuses(&[("tc.direction", "egress"), ("xdp.policy", "log")], &["tc.direction"]);
    }

    #[test]
    fn a_word_that_is_not_one_of_the_few_is_refused() {
        refuses(&[("xdp.policy", "log"), ("xdp.mode", "skb")], &["xdp.mode", "skb", "generic"]);
        refuses(&[("xdp.policy", "log"), ("xdp.mode", "")], &["xdp.mode", "column 1"]);
        refuses(&[("tc.policy", "log"), ("tc.direction", "in")], &["tc.direction", "ingress"]);
        refuses(&[("tc.policy", "log"), ("tc.direction", "BOTH")], &["both"]);
    }

    #[test]
    fn sizes_over_the_limit_are_refused() {
        let long = "drop-tcp,".repeat(456);
        refuses(&[("xdp.policy", &long)], &["xdp.policy", "4096 bytes"]);
        refuses(&[("xdp.policy", &"x".repeat(1 << 20))], &["4096 bytes"]);
        let key = format!("xdp.{}", "x".repeat(300));
        refuses(&[(&key, "drop-tcp")], &["256 bytes"]);
    }

    #[test]
    fn a_flood_of_errors_is_counted_and_not_repeated() {
        let many: Vec<String> = (0..1000).map(|number| format!("xdp.a{number:04}")).collect();
        let pairs: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "x")).collect();
        refuses(&pairs, &["xdp.a0000", "xdp.a0015", "and 984 more"]);
    }

    #[test]
    fn every_error_is_told_not_the_first_alone() {
        refuses(
            &[("xdp.policy", "nope"), ("xdp.mode", "skb"), ("tc.polici", "log")],
            &["xdp.policy", "xdp.mode", "tc.polici"],
        );
    }
}

//! Labels: any keys and values.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::labels::{
    LabelPlace, LabelPolicy, NamedPolicy, Policies, check_size, is_ours, parse_list, parse_rules,
    parse_with,
};
use ebpf_netns_plugin::rules::{Direction, RuleList};
use plugin_common::presets::Presets;

/// How much is said of labels that are not understood, in bytes.
const MOST_SAID: usize = 64 * 1024;

/// Keys and values in turn: they are understood or refused with a place that is there; and what is
/// understood, written anew, means the same.
///
/// # Errors
///
/// What does not hold.
pub fn labels(data: &[u8]) -> Result<()> {
    let mut texts = super::texts(data);
    let mut labels = BTreeMap::new();
    while let Some(key) = texts.next() {
        labels.insert(key, texts.next().unwrap_or_default());
    }
    match parse_with(&labels, policies()) {
        Ok(None) => {
            ensure!(!labels.keys().any(|key| is_ours(key)), "a key of ours is passed over");
        }
        Ok(Some(policy)) => {
            let fits = check_size(&policy).is_ok();
            let shown = policy.to_string();
            ensure!(!shown.contains(char::is_control), "a control character in {shown:?}");
            let again = rewritten(&labels);
            let policy = parse_with(&again, policies());
            let policy = policy.map_err(|errors| anyhow::anyhow!("{again:?}: {errors}"))?;
            let same = policy.as_ref().map(LabelPolicy::to_string);
            ensure!(same.as_deref() == Some(&shown), "{same:?} was {shown:?}");
            ensure!(policy.is_some_and(|policy| check_size(&policy).is_ok()) == fits, "{shown}");
        }
        Err(errors) => {
            let (said, lines) = (errors.to_string(), format!("{errors:#}"));
            ensure!(!said.contains(char::is_control), "a control character in {said:?}");
            ensure!(lines.len() < MOST_SAID, "a flood: {} bytes", lines.len());
            for error in errors.iter() {
                let value = labels.get(error.key());
                let Some(value) = value else { anyhow::bail!("{} is not there", error.key()) };
                let LabelPlace::Within { line, column } = error.place() else { continue };
                let found = value.split('\n').nth(line - 1).map(|line| line.chars().count());
                // A list of presets is one line, whatever is in it.
                let length = found.unwrap_or_default().max(value.chars().count());
                ensure!(
                    (1..=length + 1).contains(&column),
                    "there is no line {line}, column {column} in {value:?}"
                );
            }
        }
    }
    Ok(())
}

/// The same labels in the words of this program.
fn rewritten(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let rules = |direction, text: &str| {
        let rules = RuleList::parse(direction, text).ok();
        rules.map_or_else(|| text.to_owned(), |rules| rules.show(direction).to_string())
    };
    let anew = |(key, value): (&String, &String)| {
        let value = match key.as_str() {
            "tc.egress" => rules(Direction::Egress, value),
            "tc.ingress" => rules(Direction::Ingress, value),
            "tc.policy" | "xdp.policy" => parse_list(key, value).map_or(value.clone(), names),
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    labels.iter().map(anew).collect()
}

fn names(presets: Presets) -> String {
    let all = Presets::NAMED.iter().filter(|(_, preset)| presets.contains(*preset));
    all.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Policies that labels may name.
fn policies() -> &'static Policies {
    static POLICIES: OnceLock<Policies> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let egress = parse_rules("egress", Direction::Egress, "allow dns\ndeny to lan").ok();
        let web = NamedPolicy { presets: Some(Presets::LOG), egress, ingress: None };
        let named = [("web".to_owned(), web), ("quiet".to_owned(), Presets::DROP_ICMP.into())];
        Policies::new("policies".to_owned(), named.into())
    })
}

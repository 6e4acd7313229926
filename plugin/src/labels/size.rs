//! Whether rules fit, as far as that can be told before names are known. Pure.

use super::{LabelPolicy, Lists};
use crate::rules::{self, Addresses, Direction, Resolver, Wanted};

/// Who knows nobody.
struct Nobody;

impl Resolver for Nobody {
    fn resolve(&self, _: Wanted<'_>) -> Addresses {
        Addresses::default()
    }
}

/// Whether the rules of a policy fit when each name in them is one address.
///
/// # Errors
///
/// When they do not, whatever the names become.
pub fn check_size(policy: &LabelPolicy) -> Result<(), String> {
    let Some(tc) = &policy.tc else { return Ok(()) };
    let expand = |direction, lists: &Lists| {
        rules::expand(direction, lists.iter().map(|rules| &**rules), &Nobody)
    };
    let egress = expand(Direction::Egress, &tc.egress);
    let ingress = expand(Direction::Ingress, &tc.ingress);
    rules::check_entries([&egress, &ingress]).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::parse;
    use super::*;

    #[test]
    fn rules_that_never_fit_are_told() {
        let ports: Vec<String> = (1..=70).map(|port| (port * 2).to_string()).collect();
        let hosts: Vec<String> = (1..=4).map(|host| format!("10.0.0.{}", host * 2)).collect();
        let rule = format!("allow tcp {} to {}\n", ports.join(","), hosts.join(","));
        for (rules, fits) in [(3, true), (4, false)] {
            let labels = BTreeMap::from([("tc.egress".to_owned(), rule.repeat(rules))]);
            let policy = parse(&labels).expect("understood").expect("a policy");
            assert_eq!(check_size(&policy).is_ok(), fits, "{rules} rules");
        }
    }
}

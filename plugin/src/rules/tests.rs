//! What rules mean: text, expanded and judged, as tables and as properties.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample;

use super::arbitrary::{action, address, port, protocol, range, rule_list};
use super::*;

/// Names as the tests know them.
struct Names;

impl Resolver for Names {
    fn resolve(&self, wanted: Wanted<'_>) -> Addresses {
        let (known, waiting): (&[&str], bool) = match wanted {
            Wanted::Host => (&["172.17.0.1", "2606:4700::1"], false),
            Wanted::Resolvers => (&["9.9.9.9", "2620:fe::fe"], false),
            Wanted::Container(name) if name.as_str() == "db" => (&["172.17.0.3", "fd00::3"], false),
            Wanted::Service(name) if name.as_str() == "api" => {
                (&["172.17.0.5", "172.17.0.4", "172.17.0.5"], true)
            }
            Wanted::Network(name) if name.as_str() == "back" => (&["172.18.0.0/16"], false),
            Wanted::Container(_) | Wanted::Service(_) | Wanted::Network(_) => (&[], true),
        };
        let ranges = known.iter().map(|text| match text.split_once('/') {
            Some((network, prefix)) => {
                AddressRange::network(network.parse().unwrap(), prefix.parse().unwrap()).unwrap()
            }
            None => text.parse::<IpAddr>().unwrap().into(),
        });
        Addresses { waiting, ..ranges.collect() }
    }
}

fn expanded(direction: Direction, layers: &[&str]) -> Expansion {
    let layers: Vec<RuleList> =
        layers.iter().map(|text| RuleList::parse(direction, text).unwrap()).collect();
    expand(direction, &layers, &Names)
}

fn judged(expansion: &Expansion, probe: &Probe) -> Verdict {
    let layers: Vec<&[ResolvedRule]> = expansion.layers.iter().map(Vec::as_slice).collect();
    judge(&layers, probe)
}

/// Of these packets, `address protocol number`, those pass that stand in `allowed`.
#[track_caller]
fn check(direction: Direction, layers: &[&str], allowed: &[&str], denied: &[&str]) {
    let expansion = expanded(direction, layers);
    for (packets, passes) in [(allowed, true), (denied, false)] {
        for packet in packets {
            let words: Vec<&str> = packet.split(' ').collect();
            let [remote, protocol, number] = words.as_slice() else {
                assert_eq!(words.len(), 3, "{packet}");
                continue;
            };
            let probe = Probe {
                remote: remote.parse().unwrap(),
                protocol: protocol.parse().unwrap(),
                number: number.parse().unwrap(),
            };
            let verdict = judged(&expansion, &probe);
            assert_eq!(verdict.allowed, passes, "{packet} by {layers:?}: {verdict:?}");
        }
    }
}

fn check_egress(text: &str, allowed: &[&str], denied: &[&str]) {
    check(Direction::Egress, &[text], allowed, denied);
}

#[test]
fn the_first_rule_that_matches_decides_and_none_means_no() {
    let text =
        "allow dns\nallow tcp 5432 to container:db\ndeny log to lan, metadata\nallow tcp 443";
    check_egress(
        text,
        &[
            "9.9.9.9 17 53",
            "2620:fe::fe 6 53",
            "172.17.0.3 6 5432",
            "fd00::3 6 5432",
            "1.1.1.1 6 443",
            "2606:4700::1111 6 443",
        ],
        &[
            "9.9.9.10 17 53",
            "172.17.0.3 6 443",
            "172.17.0.4 6 5432",
            "168.63.129.16 6 443",
            "1.1.1.1 17 443",
            "1.1.1.1 6 444",
            "1.1.1.1 1 8",
        ],
    );
    check_egress("deny tcp 80; allow tcp 80; allow tcp 81", &["1.1.1.1 6 81"], &["1.1.1.1 6 80"]);
    check_egress(
        "allow tcp 443 to 10.0.0.1; deny to 10.0.0.0/8; allow",
        &["10.0.0.1 6 443", "9.1.1.1 6 1"],
        &["10.0.0.1 6 80", "10.0.0.2 6 443"],
    );
}

#[test]
fn each_word_matches_what_it_says() {
    check_egress("allow", &["1.1.1.1 0 0", "::1 255 65535", "1.1.1.1 6 0"], &[]);
    check_egress("deny", &[], &["1.1.1.1 6 80", "::1 58 128"]);
    check_egress("allow to any,lan", &["8.8.8.8 6 1"], &[]);
    check_egress("allow tcp", &["1.1.1.1 6 0", "::1 6 65535"], &["1.1.1.1 17 80"]);
    check_egress("allow tcp 80,90-100", &["1.1.1.1 6 95"], &["1.1.1.1 6 81", "1.1.1.1 6 101"]);
    check_egress("allow sctp 9", &["1.1.1.1 132 9"], &["1.1.1.1 6 9"]);
    check_egress("allow 47", &["1.1.1.1 47 0", "::1 47 0"], &["1.1.1.1 6 0"]);
    check_egress("allow icmp", &["1.1.1.1 1 8", "::1 58 200"], &["1.1.1.1 58 8", "::1 1 128"]);
    check_egress(
        "allow icmp echo-request,packet-too-big,3",
        &["1.1.1.1 1 8", "::1 58 128", "::1 58 2", "1.1.1.1 1 3", "::1 58 3"],
        &["1.1.1.1 1 128", "::1 58 8", "1.1.1.1 1 2", "1.1.1.1 6 8"],
    );
    check_egress("allow to host", &["172.17.0.1 6 1", "2606:4700::1 6 1"], &["172.17.0.2 6 1"]);
    check_egress(
        "allow to internet",
        &["1.1.1.1 6 1", "2606:4700::2 6 1"],
        &["10.0.0.1 6 1", "2606:4700::1 6 1", "168.63.129.16 6 1"],
    );
    check_egress(
        "allow to service:api,network:back",
        &["172.17.0.4 6 1", "172.18.9.9 6 1"],
        &["172.17.0.3 6 1"],
    );
    check_egress("allow to container:gone", &[], &["172.17.0.3 6 1", "0.0.0.0 6 1"]);
    check_egress("allow to 0.0.0.0/0", &["1.1.1.1 6 1"], &["::1 6 1"]);
}

#[test]
fn dns_without_a_target_is_with_the_resolvers_only_where_it_opens() {
    check_egress(
        "allow dns",
        &["9.9.9.9 17 53", "9.9.9.9 6 53"],
        &["9.9.9.9 17 54", "8.8.8.8 17 53"],
    );
    check_egress("allow dns to any", &["8.8.8.8 17 53"], &["8.8.8.8 17 54"]);
    check_egress("deny dns; allow", &["8.8.8.8 17 54"], &["8.8.8.8 17 53", "9.9.9.9 6 53"]);
    check(Direction::Ingress, &["allow dns"], &["8.8.8.8 17 53"], &["8.8.8.8 17 54"]);
}

#[test]
fn every_layer_has_to_allow() {
    let layers = ["allow tcp", "allow tcp 80; deny", "allow to internet"];
    check(Direction::Egress, &layers, &["1.1.1.1 6 80"], &["1.1.1.1 6 81", "10.0.0.1 6 80"]);
    check(Direction::Egress, &[], &["1.1.1.1 6 81", "::1 58 1"], &[]);
    let probe = Probe { remote: "1.1.1.1".parse().unwrap(), protocol: 6, number: 443 };
    let verdict = judged(&expanded(Direction::Egress, &layers), &probe);
    assert_eq!(verdict, Verdict { allowed: false, deciding: vec![Some(0), Some(1), Some(0)] });
}

#[test]
fn expansion_tells_what_it_waits_for_and_merges_what_touches() {
    let text =
        "allow to service:api; allow to container:db; allow tcp 81-90,80,85 to container:x,lan";
    let expansion = expanded(Direction::Egress, &["deny", text]);
    let at = |rule| RuleId { layer: 1, rule };
    assert_eq!(expansion.waiting, [at(0), at(2)]);
    let rules = expansion.layers.get(1).unwrap();
    let shown: Vec<String> = rules
        .iter()
        .map(|rule| {
            rule.remote.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(shown.first().unwrap(), "172.17.0.4/31");
    assert_eq!(shown.get(1).unwrap(), "172.17.0.3 fd00::3");
    let services = &rules.get(2).unwrap().traffic;
    assert_eq!(services, &[Service { protocol: Some(6), first: 80, last: 90, version: None }]);
}

#[test]
fn entries_are_counted_and_limited() {
    for (text, entries) in [
        ("allow", 1),
        ("allow dns", 4),
        ("allow dns to any", 2),
        ("allow icmp", 2),
        ("allow tcp 1,3,5 to lan", 21),
        ("allow to container:gone", 1),
        ("allow; deny", 2),
    ] {
        let expansion = expanded(Direction::Egress, &[text]);
        let found: usize = expansion.layers.iter().flatten().map(ResolvedRule::entries).sum();
        assert_eq!(found, entries, "{text}");
    }
    let ports: Vec<String> = (1..=64).map(|port| (port * 2).to_string()).collect();
    let hosts: Vec<String> = (1..=4).map(|host| format!("10.0.0.{}", host * 2)).collect();
    let rule = format!("allow tcp {} to {}", ports.join(","), hosts.join(","));
    let expansion = expanded(Direction::Egress, &[&[rule.as_str(); 4].join("\n")]);
    assert_eq!(check_entries([&expansion]), Ok(()), "1,024 fit");
    let one = expanded(Direction::Ingress, &["deny"]);
    let said = check_entries([&expansion, &one]).unwrap_err().to_string();
    assert!(said.contains("1025") && said.contains("1024"), "{said}");
}

/// A trap of another tool's: a list of values matched none of them.
#[test]
fn t3_every_value_of_a_list_matches() {
    let text =
        "allow tcp 80,443,8000-8001 to 10.0.0.1,10.0.1.0/24,10.0.2.1-10.0.2.3,fd00::1,fd01::/64";
    let remotes =
        ["10.0.0.1", "10.0.1.0", "10.0.1.255", "10.0.2.1", "10.0.2.3", "fd00::1", "fd01::ffff"];
    let others =
        ["10.0.0.0", "10.0.0.2", "10.0.2.0", "10.0.2.4", "10.0.3.0", "fd00::2", "fd01:0:0:1::"];
    for port in [80, 443, 8000, 8001] {
        for remote in remotes {
            check_egress(text, &[&format!("{remote} 6 {port}")], &[]);
        }
        for other in others {
            check_egress(text, &[], &[&format!("{other} 6 {port}")]);
        }
    }
    for (remote, port) in remotes.iter().zip([79, 81, 442, 444, 7999, 8002, 0]) {
        check_egress(text, &[], &[&format!("{remote} 6 {port}")]);
    }
}

/// A trap of another tool's: who was the target, or had the port, was let through.
#[test]
fn t15_port_and_target_have_to_match_both() {
    let text = "allow tcp 443 to 10.0.0.1; allow udp 53 to 10.0.0.2";
    check_egress(
        text,
        &["10.0.0.1 6 443", "10.0.0.2 17 53"],
        &["10.0.0.1 6 53", "10.0.0.1 17 53", "10.0.0.2 6 443", "10.0.0.2 17 443", "10.0.0.3 6 443"],
    );
}

/// A trap of another tool's: with a protocol that it learnt later, rules that did not name it began
/// to allow it. What a word means is written down here, for every protocol.
#[test]
fn t16_a_rule_is_about_the_protocols_that_it_names_and_no_other() {
    let everything: Vec<u8> = (0..=u8::MAX).collect();
    for (rule, v4, v6) in [
        ("allow tcp", &[6][..], &[6][..]),
        ("allow tcp 1-65535", &[6], &[6]),
        ("allow udp", &[17], &[17]),
        ("allow sctp", &[132], &[132]),
        ("allow icmp", &[1], &[58]),
        ("allow dns to any", &[6, 17], &[6, 17]),
        ("allow 47", &[47], &[47]),
        ("allow 1", &[1], &[1]),
        ("allow 58", &[58], &[58]),
        ("allow any", &everything, &everything),
        ("allow to 0.0.0.0/0", &everything, &[]),
    ] {
        let expansion = expanded(Direction::Egress, &[rule]);
        for (remote, expected) in [("1.1.1.1", v4), ("2606::1", v6)] {
            let remote: IpAddr = remote.parse().unwrap();
            let allowed: Vec<u8> = (0..=u8::MAX)
                .filter(|protocol| {
                    let probe = Probe { remote, protocol: *protocol, number: 53 };
                    judged(&expansion, &probe).allowed
                })
                .collect();
            assert_eq!(allowed, expected, "{rule} to {remote}");
        }
    }
}

/// GO-2024-3208 of Cilium: a narrow rule that allows, within a wide one that denies, took its place.
#[test]
fn go_2024_3208_a_narrow_rule_is_not_stronger_than_the_one_before() {
    let (wide, narrow) = ("deny to 10.0.0.0/8", "allow tcp 443 to 10.0.0.1");
    let (target, near, far) = ("10.0.0.1 6 443", "10.0.0.2 6 443", "11.0.0.1 6 443");
    check_egress(&format!("{wide};{narrow};allow"), &[far], &[target, near]);
    check_egress(&format!("{narrow};{wide};allow"), &[far, target], &[near]);
    for layers in [[wide, narrow], [narrow, wide]] {
        check(Direction::Egress, &layers, &[], &[target, near, far]);
    }
}

/// Ingredients of rules that have no text: addresses that stand for anything.
fn resolved() -> impl Strategy<Value = ResolvedRule> {
    let service = prop_oneof![
        Just(Service::ANY),
        (proptest::option::of(protocol()), port(), port()).prop_map(|(protocol, one, other)| {
            Service { protocol, first: one.min(other), last: one.max(other), version: None }
        }),
    ];
    let remote = proptest::option::of(vec(range(), 0..3));
    (action(), vec(service, 0..3), remote).prop_map(|(action, traffic, remote)| ResolvedRule {
        action,
        log: false,
        traffic,
        remote,
        source: RuleId { layer: 0, rule: 0 },
    })
}

pub(crate) fn probe() -> impl Strategy<Value = Probe> {
    let number = prop_oneof![port(), Just(0), Just(8), Just(128)];
    (address(), protocol(), number).prop_map(|(remote, protocol, number)| Probe {
        remote,
        protocol,
        number,
    })
}

pub(crate) fn layers() -> impl Strategy<Value = Vec<Vec<ResolvedRule>>> {
    vec(vec(resolved(), 0..6), 0..4)
}

fn allows(layers: &[Vec<ResolvedRule>], probe: &Probe) -> bool {
    judge(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>(), probe).allowed
}

proptest! {
    #[test]
    fn a_rule_that_denies_never_allows_more(
        before in layers(),
        mut rule in resolved(),
        layer: sample::Index,
        place: sample::Index,
        probes in vec(probe(), 1..16),
    ) {
        prop_assume!(!before.is_empty());
        rule.action = Action::Deny;
        let mut after = before.clone();
        let layer = layer.get_mut(&mut after);
        let place = place.index(layer.len() + 1);
        layer.insert(place, rule);
        for probe in probes {
            prop_assert!(allows(&before, &probe) || !allows(&after, &probe), "{:?}", probe);
        }
    }

    #[test]
    fn another_layer_never_allows_more(
        before in layers(),
        layer in vec(resolved(), 0..6),
        place: sample::Index,
        probes in vec(probe(), 1..16),
    ) {
        let mut after = before.clone();
        after.insert(place.index(before.len() + 1), layer);
        for probe in probes {
            prop_assert!(allows(&before, &probe) || !allows(&after, &probe), "{:?}", probe);
        }
    }

    #[test]
    fn a_rule_that_allows_never_denies_more(
        before in layers(),
        mut rule in resolved(),
        layer: sample::Index,
        place: sample::Index,
        probes in vec(probe(), 1..16),
    ) {
        prop_assume!(!before.is_empty());
        rule.action = Action::Allow;
        let mut after = before.clone();
        let layer = layer.get_mut(&mut after);
        let place = place.index(layer.len() + 1);
        layer.insert(place, rule);
        for probe in probes {
            prop_assert!(!allows(&before, &probe) || allows(&after, &probe), "{:?}", probe);
        }
    }

    #[test]
    fn what_is_shown_means_the_same(rules in rule_list(), probes in vec(probe(), 1..16)) {
        let direction = Direction::Egress;
        let again = RuleList::parse(direction, &rules.show(direction).to_string());
        let again = again.map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let (one, other) = (expand(direction, [&rules], &Names), expand(direction, [&again], &Names));
        for probe in probes {
            prop_assert_eq!(judged(&one, &probe), judged(&other, &probe));
        }
    }
}

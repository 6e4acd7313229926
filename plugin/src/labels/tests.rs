//! What labels mean and what is refused, as tables.

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
    LabelPolicy { xdp: Some(XdpPolicy { presets, mode }), ..LabelPolicy::default() }
}

fn tc(presets: Presets, direction: Direction) -> LabelPolicy {
    let tc = TcPolicy { presets: Some(presets), direction, ..TcPolicy::default() };
    LabelPolicy { tc: Some(tc), ..LabelPolicy::default() }
}

#[test]
fn labels_of_others_are_no_policy() {
    for key in ["com.example.xdp.policy", "maintainer", "", "xdp", "tc", "tcp.policy", "étc.x"] {
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
    for (name, direction) in
        [("egress", Direction::Egress), ("ingress", Direction::Ingress), ("both", Direction::Both)]
    {
        let expected = tc(Presets::LOG, direction);
        accepts(&[("tc.policy", "log"), ("tc.direction", name)], &expected);
    }
}

#[test]
fn a_misspelt_preset_is_refused_with_column_and_suggestion() {
    refuses(&[("xdp.policy", "drop-tpc")], &["xdp.policy", "column 1", "drop-tpc", "drop-tcp?"]);
    refuses(&[("tc.policy", "log,drop-tpc")], &["tc.policy", "column 5", "drop-tpc"]);
    refuses(&[("tc.policy", "log, Drop-TCP")], &["column 6", "drop-tcp?"]);
}

#[test]
fn a_value_may_be_the_name_of_a_policy_and_of_nothing_else() {
    let named = [("web".to_owned(), Presets::DROP_UDP.into())].into();
    let policies = Policies::new("/etc/policies".to_owned(), named);
    let read = |value| parse_with(&labels(&[("tc.policy", value)]), &policies);
    let named = Named { tc: Some("web".to_owned()), xdp: None };
    let web = LabelPolicy { named, ..tc(Presets::DROP_UDP, Direction::Both) };
    assert_eq!(read("web"), Ok(Some(web)));
    assert_eq!(read("log"), Ok(Some(tc(Presets::LOG, Direction::Both))));
    let error = read("bew").expect_err("refused").to_string();
    assert!(!error.contains("did you mean"), "two of three letters differ: {error}");
    for (value, words) in [
        ("webb", ["tc.policy", "\"webb\"", "/etc/policies", "did you mean web?"]),
        ("wbe", ["tc.policy", "\"wbe\"", "/etc/policies", "did you mean web?"]),
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
        " ",
        "\t",
        ",",
        "drop-tcp,",
        ",drop-tcp",
        "drop-tcp,,log",
        "drop-tcp log",
        "drop-tcp;log",
        "drop\u{2010}tcp",
        "drop-tcp\u{200b}",
        "\"drop-tcp\"",
        "true",
        "0",
        "allow tcp 80",
        "${POLICY}",
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
fn rules_for_xdp_are_refused_with_the_reason() {
    for key in ["xdp.ingress", "xdp.egress"] {
        refuses(&[(key, "allow tcp 80")], &[key, "rules are for tc."]);
    }
}

#[test]
fn programs_are_named_by_file_and_function() {
    let labels = [
        ("xdp.program", "count.o"),
        ("xdp.mode", "native"),
        ("tc.program", "mark.o#mark"),
        ("tc.direction", "ingress"),
    ];
    let name = |value| ProgramName::parse(value).unwrap();
    let programs = Programs {
        xdp: Some((name("count.o"), XdpMode::Native)),
        tc: Some((name("mark.o#mark"), Direction::Ingress)),
    };
    accepts(&labels, &LabelPolicy { programs, ..LabelPolicy::default() });
    for key in ["xdp.program", "tc.program"] {
        refuses(&[(key, "../count.o")], &[key, "found \"../count.o\"", "no path"]);
        refuses(&[(key, "count.c")], &[key, "ends in .o"]);
        refuses(&[(key, "count.o#")], &[key, "as in C"]);
    }
    refuses(&[("xdp.program", "count.o"), ("xdp.audit", "true")], &["xdp.audit", "xdp.policy"]);
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
fn lists_and_keys_over_the_limit_are_refused() {
    let long = "drop-tcp,".repeat(456);
    refuses(&[("xdp.policy", &long)], &["xdp.policy", "4096 bytes"]);
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

/// What the labels mean, as it is shown.
#[track_caller]
fn means(pairs: &[(&str, &str)], expected: &str) {
    let policy = parse(&labels(pairs)).map(|policy| policy.map(|policy| policy.to_string()));
    assert_eq!(policy, Ok(Some(expected.to_owned())), "{pairs:?}");
}

#[test]
fn rules_and_audit_are_read() {
    means(&[("tc.egress", "allow dns")], "TC, egress rules: { allow dns }");
    means(
        &[("tc.ingress", "allow tcp 80,443\n"), ("tc.egress", "allow dns\ndeny log to lan")],
        "TC, egress rules: { allow dns; deny log to lan }; TC, ingress rules: { allow tcp 80,443 }",
    );
    let presets = [("tc.policy", "log"), ("tc.direction", "ingress")];
    means(
        &[&presets[..], &[("tc.egress", "deny"), ("tc.audit", "true")]].concat(),
        "TC (audit), ingress: log; TC (audit), egress rules: { deny }",
    );
    let xdp = [("xdp.policy", "drop-udp"), ("xdp.audit", "true")];
    means(
        &[&xdp[..], &[("tc.egress", "deny"), ("tc.audit", "false")]].concat(),
        "XDP (auto) (audit), egress: drop-udp; TC, egress rules: { deny }",
    );
}

#[test]
fn rules_are_refused_with_line_and_column_and_shown_where_there_is_room() {
    let value = "allow dns\nallow tcp 5432 to conatiner:db\nallow tcp 0";
    refuses(
        &[("tc.egress", value), ("tc.ingress", "allow tcp 80 to lan")],
        &[
            "label tc.egress, line 2, column 19: found \"conatiner:db\"",
            "did you mean container:db?; label tc.egress, line 3, column 11",
            "label tc.ingress, line 1, column 14: found \"to\"",
        ],
    );
    let errors = parse(&labels(&[("tc.egress", value), ("tc.polcy", "log")])).unwrap_err();
    let expected = [
        "label tc.egress, line 2, column 19: found \"conatiner:db\", expected an address, a CIDR, \
         low-high, any, host, lan, metadata, internet, container:NAME, service:NAME or \
         network:NAME; did you mean container:db?",
        "    allow tcp 5432 to conatiner:db",
        "                      ^",
        "label tc.egress, line 3, column 11: found \"0\", expected a port from 1 to 65535 or \
         low-high",
        "    allow tcp 0",
        "              ^",
        "label tc.polcy: unknown key; did you mean tc.policy?",
    ];
    assert_eq!(format!("{errors:#}"), expected.join("\n"));
    refuses(&[("tc.egress", "")], &["label tc.egress: no rule in it"]);
    refuses(&[("tc.ingress", &"deny\n".repeat(820))], &["tc.ingress", "4096 bytes"]);
    refuses(&[("tc.egress", "allow to \u{202e}bd\u{1b}[2J")], &["\\u{202e}bd\\u{1b}[2J"]);
}

#[test]
fn an_audit_is_true_or_false_and_of_a_policy() {
    for value in ["", "True", "true ", "t"] {
        refuses(&[("tc.egress", "deny"), ("tc.audit", value)], &["tc.audit", "true, false"]);
        refuses(&[("xdp.policy", "log"), ("xdp.audit", value)], &["xdp.audit", "true, false"]);
    }
    refuses(&[("tc.audit", "true")], &["tc.audit", "tc.policy, tc.egress or tc.ingress"]);
    refuses(&[("tc.egress", "deny"), ("xdp.audit", "false")], &["xdp.audit", "xdp.policy"]);
    refuses(&[("tc.egress", "deny"), ("tc.direction", "egress")], &["tc.direction", "tc.policy"]);
}

#[test]
fn a_named_policy_with_rules_is_for_tc() {
    let rules = |direction, text: &str| parse_rules("tc", direction, text).ok();
    let egress =
        NamedPolicy { egress: rules(RuleDirection::Egress, "allow dns"), ..NamedPolicy::default() };
    let many = "deny\n".repeat(200);
    let both = NamedPolicy {
        presets: Some(Presets::DROP_UDP),
        ingress: rules(RuleDirection::Ingress, &many),
        ..egress.clone()
    };
    let named = [("egress".to_owned(), egress), ("both".to_owned(), both)].into();
    let policies = Policies::new("/etc/policies".to_owned(), named);
    for (pairs, expected) in [
        (&[("tc.policy", "egress")][..], "TC, egress rules: { allow dns }"),
        (
            &[("tc.policy", "both"), ("tc.direction", "egress"), ("tc.egress", "deny 6")],
            "TC, egress: drop-udp; TC, egress rules: { allow dns }; TC, egress rules: { deny 6 }",
        ),
        (
            &[("tc.policy", "egress"), ("tc.direction", "ingress")],
            "label tc.direction: has no effect: policy egress has nothing for ingress",
        ),
        (
            &[("xdp.policy", "egress")],
            "label xdp.policy: policy egress has rules, which are for tc",
        ),
        (
            &[("tc.policy", "both"), ("tc.egress", &many)],
            "label tc.egress: 401 rules in all, in both directions",
        ),
    ] {
        let said = match parse_with(&labels(pairs), &policies) {
            Ok(policy) => policy.map(|policy| policy.to_string()).unwrap_or_default(),
            Err(errors) => errors.to_string(),
        };
        assert!(said.starts_with(expected), "{pairs:?}: {said}");
    }
}

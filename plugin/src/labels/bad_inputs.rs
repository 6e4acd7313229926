//! Bad inputs by their numbers, with exactly what is said of each; a few are good after all, and say
//! what they mean. Sizes, L54 to L58, are made up in a test of their own.
//!
//! Not of labels and rules alone, and so not here: labels that stand twice in Docker's JSON, that are of
//! an image, or are too long for anything (L15 to L17, L20, L56, L57, L65) are the Docker source's;
//! names of network namespaces (L72) are links'. There are no rates (L70).

use super::*;

/// Its number, labels, and what is said of them, or what they mean.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// What sentences have in common.
const WORDS: [(&str, &str); 7] = [
    (
        "{TARGET}",
        "an address, a CIDR, low-high, any, host, lan, metadata, internet, container:NAME, service:NAME or network:NAME",
    ),
    ("{PORT}", "a port from 1 to 65535 or low-high"),
    ("{PRESET}", "one of pass, drop-all, drop-tcp, drop-udp, drop-icmp, log"),
    (
        "{TRAFFIC}",
        "log, dns, tcp, udp, icmp, sctp, any, a protocol's number from 0 to 255, to or the end of the rule",
    ),
    ("{SPACES}", "words are separated by spaces alone, rules by line feeds and ;"),
    (
        "{DOMAIN}",
        "domain names are not supported yet: use addresses, or names of containers, services and networks",
    ),
    ("{DECIMAL}", "numbers are decimal and have no leading zero"),
];

/// Spaces, controls, odd characters, and keys: L1 to L20.
const KEYS_AND_TEXT: &[Row] = &[
    ("L1", &[("tc.policy", "")], "label tc.policy: column 1: found \"\", expected {PRESET}"),
    (
        "L1",
        &[("tc.egress", "")],
        "label tc.egress: no rule in it: write one, such as deny, or leave the key out",
    ),
    ("L2", &[("tc.policy", "  ")], "label tc.policy: column 1: found \"  \", expected {PRESET}"),
    (
        "L2",
        &[("tc.egress", "  ")],
        "label tc.egress: no rule in it: write one, such as deny, or leave the key out",
    ),
    (
        "L3",
        &[("tc.egress", "allow\ttcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\ttcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{b}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{b}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{c}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{c}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{a0}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{a0}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{2003}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{2003}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{3000}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{3000}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("tc.egress", "allow\u{200b}tcp 80")],
        "label tc.egress, line 1, column 1: found \"allow\\u{200b}tcp\", expected allow or deny; {SPACES}",
    ),
    (
        "L3",
        &[("xdp.policy", "log,\u{a0}drop-tcp")],
        "label xdp.policy: column 5: found \"\\u{a0}drop-tcp\", expected {PRESET}; did you mean drop-tcp?",
    ),
    (
        "L4",
        &[("xdp.policy", " log")],
        "label xdp.policy: column 1: found \" log\", expected {PRESET}; did you mean log?",
    ),
    (
        "L4",
        &[("xdp.policy", "log ")],
        "label xdp.policy: column 1: found \"log \", expected {PRESET}; did you mean log?",
    ),
    ("L4", &[("tc.egress", "  allow dns  ")], "TC, egress rules: { allow dns }"),
    (
        "L5",
        &[("xdp.policy", "\u{feff}log")],
        "label xdp.policy: column 1: found \"\\u{feff}log\", expected {PRESET}; did you mean log?",
    ),
    (
        "L5",
        &[("tc.egress", "\u{feff}allow dns")],
        "label tc.egress, line 1, column 1: found \"\\u{feff}allow\", expected allow or deny; did you mean allow?",
    ),
    (
        "L6",
        &[("xdp.policy", "log\n")],
        "label xdp.policy: column 1: found \"log\\n\", expected {PRESET}; did you mean log?",
    ),
    (
        "L6",
        &[("tc.egress", "allow dns\rdeny")],
        "label tc.egress, line 1, column 7: found \"dns\\rdeny\", expected {TRAFFIC}; {SPACES}",
    ),
    ("L6", &[("tc.egress", "allow dns\ndeny")], "TC, egress rules: { allow dns; deny }"),
    (
        "L6",
        &[("tc.egress", "allow dns\r\ndeny")],
        "label tc.egress, line 1, column 7: found \"dns\\r\", expected {TRAFFIC}; {SPACES}",
    ),
    (
        "L6",
        &[("tc.egress", "allow dns\u{2028}deny")],
        "label tc.egress, line 1, column 7: found \"dns\\u{2028}deny\", expected {TRAFFIC}; {SPACES}",
    ),
    (
        "L7",
        &[("xdp.policy", "lo\0g")],
        "label xdp.policy: column 1: found \"lo\\u{0}g\", expected {PRESET}; did you mean log?",
    ),
    (
        "L7",
        &[("tc.egress", "allow\0dns")],
        "label tc.egress, line 1, column 1: found \"allow\\u{0}dns\", expected allow or deny; {SPACES}",
    ),
    (
        "L8",
        &[("xdp.policy", "log\0")],
        "label xdp.policy: column 1: found \"log\\u{0}\", expected {PRESET}; did you mean log?",
    ),
    (
        "L8",
        &[("tc.egress", "allow dns\0")],
        "label tc.egress, line 1, column 7: found \"dns\\u{0}\", expected {TRAFFIC}; {SPACES}",
    ),
    ("L9", &[("tc.polcy", "log")], "label tc.polcy: unknown key; did you mean tc.policy?"),
    ("L9", &[("tc.", "log")], "label tc.: unknown key"),
    (
        "L10",
        &[("XDP.policy", "log")],
        "label \"XDP.policy\": looks like xdp.policy but is not: write xdp.policy exactly",
    ),
    (
        "L11",
        &[("xdp. policy", "log")],
        "label \"xdp. policy\": looks like xdp.policy but is not: write xdp.policy exactly",
    ),
    ("L12", &[("", "log")], "not ours"),
    (
        "L13",
        &[("xdp.policy\0", "log")],
        "label \"xdp.policy\\u{0}\": looks like xdp.policy but is not: write xdp.policy exactly",
    ),
    (
        "L14",
        &[("\u{445}dp.policy", "log")],
        "label \"\u{445}dp.policy\": looks like xdp.policy but is not: write xdp.policy exactly",
    ),
    (
        "L14",
        &[("\u{ff54}c.policy", "log")],
        "label \"\u{ff54}c.policy\": looks like tc.policy but is not: write tc.policy exactly",
    ),
    (
        "L18",
        &[("tc.audit", "true")],
        "label tc.audit: has no effect without tc.policy, tc.egress or tc.ingress: add tc.policy, tc.egress or tc.ingress",
    ),
    (
        "L18",
        &[("xdp.mode", "generic")],
        "label xdp.mode: has no effect without xdp.policy or xdp.program: add xdp.policy or xdp.program",
    ),
    (
        "L19",
        &[("tc.policy", "drop-udp"), ("xdp.policy", "drop-tcp")],
        "XDP (auto), egress: drop-tcp; TC, egress and ingress: drop-udp",
    ),
];

/// Ports: L21 to L36.
const NUMBERS: &[Row] = &[
    (
        "L21",
        &[("tc.egress", "allow tcp 0")],
        "label tc.egress, line 1, column 11: found \"0\", expected {PORT}",
    ),
    (
        "L22",
        &[("tc.egress", "allow tcp 65536")],
        "label tc.egress, line 1, column 11: found \"65536\", expected {PORT}",
    ),
    (
        "L23",
        &[("tc.egress", "allow tcp -1")],
        "label tc.egress, line 1, column 11: found \"-1\", expected {PORT}",
    ),
    (
        "L24",
        &[("tc.egress", "allow tcp +80")],
        "label tc.egress, line 1, column 11: found \"+80\", expected {PORT}",
    ),
    (
        "L25",
        &[("tc.egress", "allow tcp 0x50")],
        "label tc.egress, line 1, column 11: found \"0x50\", expected {PORT}",
    ),
    (
        "L26",
        &[("tc.egress", "allow tcp 080")],
        "label tc.egress, line 1, column 11: found \"080\", expected {PORT}; {DECIMAL}",
    ),
    (
        "L27",
        &[("tc.egress", "allow tcp 8e1")],
        "label tc.egress, line 1, column 11: found \"8e1\", expected {PORT}",
    ),
    (
        "L28",
        &[("tc.egress", "allow tcp 80.0")],
        "label tc.egress, line 1, column 11: found \"80.0\", expected {PORT}",
    ),
    (
        "L29",
        &[("tc.egress", "allow tcp 99999999999999999999")],
        "label tc.egress, line 1, column 11: found \"99999999999999999999\", expected {PORT}",
    ),
    (
        "L30",
        &[("tc.egress", "allow tcp \u{668}\u{660}")],
        "label tc.egress, line 1, column 11: found \"\u{668}\u{660}\", expected {PORT}",
    ),
    (
        "L31",
        &[("tc.egress", "allow tcp 90-80")],
        "label tc.egress, line 1, column 11: found \"90-80\", expected {PORT}; the lower end of a range stands first",
    ),
    (
        "L32",
        &[("tc.egress", "allow tcp 80-")],
        "label tc.egress, line 1, column 11: found \"80-\", expected {PORT}",
    ),
    (
        "L33",
        &[("tc.egress", "allow tcp -80")],
        "label tc.egress, line 1, column 11: found \"-80\", expected {PORT}",
    ),
    (
        "L34",
        &[("tc.egress", "allow tcp 0-65535")],
        "label tc.egress, line 1, column 11: found \"0-65535\", expected {PORT}",
    ),
    ("L35", &[("tc.egress", "allow tcp 80,80")], "TC, egress rules: { allow tcp 80,80 }"),
    (
        "L36",
        &[("tc.egress", "allow tcp 1,000")],
        "label tc.egress, line 1, column 13: found \"000\", expected {PORT}; {DECIMAL}",
    ),
];

/// Whom rules are about: L37 to L53.
const ADDRESSES: &[Row] = &[
    (
        "L37",
        &[("tc.egress", "allow to 10.0.0.1/33")],
        "label tc.egress, line 1, column 10: found \"10.0.0.1/33\", expected a length of the prefix from 0 to 32 after the /",
    ),
    (
        "L38",
        &[("tc.egress", "allow to 10.0.0.1/-1")],
        "label tc.egress, line 1, column 10: found \"10.0.0.1/-1\", expected a length of the prefix from 0 to 32 after the /",
    ),
    (
        "L39",
        &[("tc.egress", "allow to 10.0.0.1/08")],
        "label tc.egress, line 1, column 10: found \"10.0.0.1/08\", expected a length of the prefix from 0 to 32 after the /; {DECIMAL}",
    ),
    (
        "L40",
        &[("tc.egress", "allow to 10.0.0.5/8")],
        "label tc.egress, line 1, column 10: found \"10.0.0.5/8\", expected {TARGET}; the address has bits set beyond the prefix: the network is 10.0.0.0/8",
    ),
    ("L41", &[("tc.egress", "allow to 0.0.0.0/0")], "TC, egress rules: { allow to 0.0.0.0/0 }"),
    (
        "L42",
        &[("tc.egress", "allow to 010.0.0.1")],
        "label tc.egress, line 1, column 10: found \"010.0.0.1\", expected {TARGET}; {DECIMAL}",
    ),
    (
        "L43",
        &[("tc.egress", "allow to 10.1")],
        "label tc.egress, line 1, column 10: found \"10.1\", expected {TARGET}",
    ),
    (
        "L44",
        &[("tc.egress", "allow to 167772161")],
        "label tc.egress, line 1, column 10: found \"167772161\", expected {TARGET}",
    ),
    (
        "L45",
        &[("tc.egress", "allow to 10.0.0.256")],
        "label tc.egress, line 1, column 10: found \"10.0.0.256\", expected {TARGET}",
    ),
    (
        "L46",
        &[("tc.egress", "allow to ::ffff:10.0.0.1")],
        "label tc.egress, line 1, column 10: found \"::ffff:10.0.0.1\", expected {TARGET}; an IPv4-mapped address is on no wire: write 10.0.0.1",
    ),
    ("L47", &[("tc.egress", "allow to ::/0")], "TC, egress rules: { allow to ::/0 }"),
    (
        "L48",
        &[("tc.egress", "allow to fe80::1%eth0")],
        "label tc.egress, line 1, column 10: found \"fe80::1%eth0\", expected {TARGET}; leave out the zone: the container's interface is meant",
    ),
    (
        "L49",
        &[("tc.egress", "allow to [::1]:80")],
        "label tc.egress, line 1, column 10: found \"[::1]:80\", expected {TARGET}; ports stand after the protocol: tcp 443 to ADDRESS",
    ),
    (
        "L50",
        &[("tc.egress", "allow to ::1/129")],
        "label tc.egress, line 1, column 10: found \"::1/129\", expected a length of the prefix from 0 to 128 after the /",
    ),
    (
        "L51",
        &[("tc.egress", "allow to 1:2:3:4:5:6:7:8:9")],
        "label tc.egress, line 1, column 10: found \"1:2:3:4:5:6:7:8:9\", expected {TARGET}",
    ),
    (
        "L52",
        &[("tc.egress", "allow to example.com")],
        "label tc.egress, line 1, column 10: found \"example.com\", expected {TARGET}; {DOMAIN}",
    ),
    (
        "L53",
        &[("tc.egress", "allow to example.com.")],
        "label tc.egress, line 1, column 10: found \"example.com.\", expected {TARGET}; {DOMAIN}",
    ),
    (
        "L53",
        &[("tc.egress", "allow to 10.0.0.1.")],
        "label tc.egress, line 1, column 10: found \"10.0.0.1.\", expected {TARGET}",
    ),
];

/// Quotes, code, escapes, and rules that are odd together: L59 to L71.
const SHAPES: &[Row] = &[
    (
        "L59",
        &[("tc.egress", "allow to \"lan")],
        "label tc.egress, line 1, column 10: found \"\"lan\", expected {TARGET}; did you mean lan?",
    ),
    (
        "L59",
        &[("xdp.policy", "'log")],
        "label xdp.policy: column 1: found \"'log\", expected {PRESET}; did you mean log?",
    ),
    (
        "L59",
        &[("tc.egress", "allow to lan\\")],
        "label tc.egress, line 1, column 10: found \"lan\\\", expected {TARGET}; did you mean lan?",
    ),
    (
        "L60",
        &[("tc.egress", "allow to $(id)")],
        "label tc.egress, line 1, column 10: found \"$(id)\", expected {TARGET}",
    ),
    (
        "L60",
        &[("tc.egress", "allow to `id`")],
        "label tc.egress, line 1, column 10: found \"`id`\", expected {TARGET}",
    ),
    (
        "L60",
        &[("xdp.policy", "%n%s")],
        "label xdp.policy: column 1: found \"%n%s\", expected {PRESET}",
    ),
    (
        "L60",
        &[("xdp.policy", "{{.}}")],
        "label xdp.policy: column 1: found \"{{.}}\", expected {PRESET}",
    ),
    (
        "L60",
        &[("tc.policy", "../../etc/passwd")],
        "label tc.policy: column 1: found \"../../etc/passwd\", expected {PRESET}",
    ),
    (
        "L60",
        &[("tc.egress", "deny;rm -rf /")],
        "label tc.egress, line 1, column 6: found \"rm\", expected allow or deny",
    ),
    (
        "L61",
        &[("xdp.policy", "\u{1b}[31mlog")],
        "label xdp.policy: column 1: found \"\\u{1b}[31mlog\", expected {PRESET}",
    ),
    (
        "L61",
        &[("xdp.policy", "\u{1b}]0;title\u{7}")],
        "label xdp.policy: column 1: found \"\\u{1b}]0;title\\u{7}\", expected {PRESET}",
    ),
    (
        "L62",
        &[("tc.egress", "allow to \u{202e}nal")],
        "label tc.egress, line 1, column 10: found \"\\u{202e}nal\", expected {TARGET}",
    ),
    (
        "L63",
        &[("xdp.policy", "\u{1f600}")],
        "label xdp.policy: column 1: found \"\u{1f600}\", expected {PRESET}",
    ),
    (
        "L63",
        &[("tc.egress", "allow to la\u{301}n")],
        "label tc.egress, line 1, column 10: found \"la\u{301}n\", expected {TARGET}; did you mean lan?",
    ),
    (
        "L64",
        &[("xdp.policy", "\u{fffd}")],
        "label xdp.policy: column 1: found \"\u{fffd}\", expected {PRESET}",
    ),
    (
        "L66",
        &[("tc.egress", "deny tcp 80; allow tcp 80")],
        "TC, egress rules: { deny tcp 80; allow tcp 80 }",
    ),
    (
        "L67",
        &[("tc.egress", "deny to 10.0.0.0/8; allow to 10.0.0.1")],
        "TC, egress rules: { deny to 10.0.0.0/8; allow to 10.0.0.1 }",
    ),
    ("L68", &[("tc.egress", "allow any")], "TC, egress rules: { allow }"),
    (
        "L69",
        &[("tc.egress", "allow to container:gone,network:gone")],
        "TC, egress rules: { allow to container:gone,network:gone }",
    ),
    (
        "L71",
        &[("tc.audit", "yes"), ("tc.policy", "log")],
        "label tc.audit: column 1: found \"yes\", expected one of true, false",
    ),
    (
        "L71",
        &[("tc.audit", "on"), ("tc.policy", "log")],
        "label tc.audit: column 1: found \"on\", expected one of true, false",
    ),
    (
        "L71",
        &[("tc.audit", "1"), ("tc.policy", "log")],
        "label tc.audit: column 1: found \"1\", expected one of true, false",
    ),
    (
        "L71",
        &[("tc.audit", "TRUE"), ("tc.policy", "log")],
        "label tc.audit: column 1: found \"TRUE\", expected one of true, false; did you mean true?",
    ),
];

fn say(pairs: &[(&str, &str)]) -> String {
    let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    match parse(&labels.collect()) {
        Ok(None) => "not ours".to_owned(),
        Ok(Some(policy)) => policy.to_string(),
        Err(errors) => errors.to_string(),
    }
}

#[track_caller]
fn check(rows: &[Row]) {
    for (id, pairs, expected) in rows {
        let expected = WORDS
            .iter()
            .fold((*expected).to_owned(), |text, (word, means)| text.replace(word, means));
        let said = say(pairs);
        assert_eq!(said, expected, "{id}: {pairs:?}");
        assert!(!said.contains(char::is_control), "{id}: a control character in {said:?}");
        // Of rules, the same is said on another line.
        if let [("tc.egress", value)] = pairs
            && said.contains("line 1, ")
        {
            let later = format!("allow dns\n\n{value}");
            let expected = expected.replace("line 1, ", "line 3, ");
            assert_eq!(say(&[("tc.egress", &later)]), expected, "{id}: on another line");
        }
    }
}

#[test]
fn spaces_controls_and_keys_are_told_by_name_and_place() {
    check(KEYS_AND_TEXT);
}

#[test]
fn numbers_that_are_no_ports_are_told() {
    check(NUMBERS);
    let ports = (0..1000).map(|port| (port * 2 + 1).to_string()).collect::<Vec<_>>().join(",");
    let said = say(&[("tc.egress", &format!("allow tcp {ports}"))]);
    assert_eq!(said, "label tc.egress: the value is longer than 4096 bytes", "L36");
}

#[test]
fn addresses_that_are_none_are_told() {
    check(ADDRESSES);
}

#[test]
fn quotes_code_and_escapes_are_text_like_any_other() {
    check(SHAPES);
}

/// G6: sizes around every limit, and far beyond.
#[test]
fn sizes_over_the_limits_are_told_and_those_within_are_read() {
    let fill = |length: usize| format!("deny{}", " ".repeat(length - 4));
    let lines = |bytes: usize| {
        let (whole, rest) = (bytes / 512, bytes % 512);
        let text = format!("{}\n", fill(511)).repeat(whole);
        text + &if rest >= 4 { fill(rest) } else { " ".repeat(rest) }
    };
    let value = "label tc.egress: the value is longer than 4096 bytes";
    let line = "label tc.egress, line 1, column 1: the line is longer than 512 bytes";
    let rules = "label tc.egress: more than 256 rules";
    for (id, text, said) in [
        ("within", fill(512), None),
        ("within", lines(4096), None),
        ("within", "deny\n".repeat(256), None),
        ("line", fill(513), Some(line)),
        ("L54", lines(4097), Some(value)),
        ("L55", fill(1 << 20), Some(value)),
        ("L58", "deny\n".repeat(257), Some(rules)),
        ("L58", "deny\n".repeat(10_000), Some(value)),
    ] {
        let found = say(&[("tc.egress", &text)]);
        match said {
            Some(said) => assert_eq!(found, said, "{id}"),
            None => assert!(found.starts_with("TC, egress rules: { deny"), "{id}: {found}"),
        }
    }
}

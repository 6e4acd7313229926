//! What is read and what is refused, as tables.

use super::super::Rule;
use super::*;

/// In egress, `text` means what `shown` says, and that means itself.
#[track_caller]
fn reads(text: &str, shown: &str) {
    reads_in(Direction::Egress, text, shown);
}

#[track_caller]
fn reads_in(direction: Direction, text: &str, shown: &str) {
    for text in [text, shown] {
        match RuleList::parse(direction, text) {
            Ok(rules) => assert_eq!(rules.show(direction).to_string(), shown, "{text:?}"),
            Err(errors) => assert!(errors.is_empty(), "{text:?} is refused: {errors:?}"),
        }
    }
}

/// In egress, `text` is refused with one sentence, at this line and column, which has every one of
/// these words.
#[track_caller]
fn refuses(text: &str, line: usize, column: usize, words: &[&str]) {
    let said = errors_of(Direction::Egress, text);
    let place = format!("line {line}, column {column}: ");
    let [said] = said.as_slice() else {
        assert_eq!(said, Vec::<String>::new(), "{text:?} has one error");
        return;
    };
    assert!(said.starts_with(&place), "{text:?}: {said:?} is not at {place:?}");
    for word in words {
        assert!(said.contains(word), "{text:?}: {said:?} lacks {word:?}");
    }
}

fn errors_of(direction: Direction, text: &str) -> Vec<String> {
    let errors = RuleList::parse(direction, text).err().unwrap_or_default();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for said in &said {
        assert!(!said.contains(char::is_control), "a control character in {said:?}");
        assert!(said.len() < 1000, "a flood in {said:?}");
    }
    said
}

#[test]
fn every_form_of_a_rule_is_read() {
    for text in [
        "allow",
        "deny",
        "deny log",
        "allow dns",
        "allow log dns to 9.9.9.9",
        "allow tcp",
        "allow tcp 443",
        "allow tcp 80,443,8000-8999 to lan",
        "allow udp 53 to 10.0.0.1,10.0.0.2-10.0.0.9,10.1.0.0/16,2001:db8::/32,::1-::9",
        "allow sctp 3868 to container:hss",
        "allow icmp",
        "allow icmp echo-request,packet-too-big,3 to any",
        "allow 47 to 192.0.2.1",
        "deny 0",
        "deny 255",
        "deny log to lan,metadata,host,internet",
        "allow to service:api,network:back_end,container:web.1.x",
        "allow to 0.0.0.0/0,::/0,255.255.255.255",
        "allow tcp 1-65535",
        "allow tcp 65535",
    ] {
        reads(text, text);
    }
    for (text, shown) in [
        ("allow any", "allow"),
        ("allow any to any", "allow to any"),
        ("  allow   tcp  80,  443   to  lan,   host  ", "allow tcp 80,443 to lan,host"),
        ("allow dns;deny", "allow dns\ndeny"),
        ("\n\nallow dns\n  \n; ;deny;\n", "allow dns\ndeny"),
        ("allow tcp 80-80", "allow tcp 80"),
        ("allow tcp 80,80", "allow tcp 80,80"),
        ("allow to 10.0.0.0-10.255.255.255", "allow to 10.0.0.0/8"),
        ("allow to 10.0.0.1/32,::1/128", "allow to 10.0.0.1,::1"),
        ("allow to 2001:DB8:0::0001", "allow to 2001:db8::1"),
        ("allow to 1:0:2:3:4:5:6:7", "allow to 1:0:2:3:4:5:6:7"),
        ("allow to container:to,host", "allow to container:to,host"),
    ] {
        reads(text, shown);
    }
    reads_in(Direction::Ingress, "allow tcp 80 from lan ; deny", "allow tcp 80 from lan\ndeny");
}

#[test]
fn rules_know_their_lines() {
    let rules = RuleList::parse(Direction::Egress, "allow dns; deny 6\n\n deny\n").unwrap();
    let lines: Vec<u32> = rules.iter().map(|Rule { line, .. }| line.get()).collect();
    assert_eq!(lines, [1, 1, 3]);
}

#[test]
fn what_is_no_rule_is_refused() {
    for (text, column, words) in [
        ("alow tcp 80", 1, &["\"alow\"", "allow or deny", "did you mean allow?"][..]),
        ("Allow tcp 80", 1, &["did you mean allow?"]),
        ("drop-tcp", 1, &["\"drop-tcp\", expected allow or deny"]),
        ("# web", 1, &["\"#\"", "rules have no comments"]),
        ("allow dns # ask", 11, &["\"#\"", "to or the end of the rule"]),
        ("allow,deny", 6, &["\",\"", "log, dns, tcp"]),
        ("true", 1, &["allow or deny"]),
        ("allow tpc 80", 7, &["\"tpc\"", "tcp, udp, icmp, sctp, any"]),
        ("allow TCP 80", 7, &["did you mean tcp?"]),
        ("allow tpc 80", 7, &["did you mean tcp?"]),
        ("allow lgo tcp", 7, &["log, dns"]),
        ("allow tcp log", 11, &["\"log\"", "a port from 1 to 65535"]),
        ("log allow", 1, &["\"log\"", "allow or deny"]),
        ("allow log log", 11, &["\"log\", expected dns, tcp"]),
        ("allow 256", 7, &["from 0 to 255", "write tcp 256"]),
        ("allow 443-444", 7, &["write tcp 443-444"]),
        ("allow 017", 7, &["no leading zero"]),
        ("allow -1", 7, &["\"-1\""]),
        ("allow tcp/443", 7, &["write tcp 443"]),
        ("allow udp:53 to lan", 7, &["write udp 53"]),
        ("allow dns 53", 11, &["\"53\"", "ports are of tcp, udp and sctp"]),
        ("allow any 80", 11, &["ports are of tcp, udp and sctp"]),
        ("allow 6 80 to lan", 9, &["ports are of tcp, udp and sctp"]),
        ("allow tcp 80 443", 14, &["\"443\"", "commas stand between ports"]),
        ("allow from lan", 7, &["\"from\", expected to", "from belongs to ingress"]),
        ("allow tcp from lan", 11, &["from belongs to ingress"]),
        ("allow tcp 80 form lan", 14, &["to or the end of the rule"]),
        ("allow to", 9, &["the end of the rule, expected an address"]),
        ("allow to lan host", 14, &["\"host\", expected a comma or the end of the rule"]),
        ("allow to lan to host", 14, &["a comma or the end"]),
        ("allow to lan,", 14, &["the end of the rule, expected an address"]),
        ("allow to ,lan", 10, &["\",\", expected an address"]),
        ("allow to lan,,host", 14, &["\",\", expected an address"]),
        ("allow to lan ,host", 14, &["\",\", expected a comma or the end"]),
        ("allow tcp 80,", 14, &["the end of the rule, expected a port"]),
        ("allow tcp ,80", 11, &["\",\", expected a port"]),
        ("allow tcp 80,to lan", 14, &["\"to\", expected a port"]),
        ("allow icmp ping", 12, &["\"ping\"", "echo-request"]),
        ("allow icmp echo-reqest", 12, &["did you mean echo-request?"]),
        ("allow icmp 256", 12, &["a number from 0 to 255"]),
        ("allow icmp 0-3", 12, &["a number from 0 to 255"]),
    ] {
        refuses(text, 1, column, words);
        refuses(&format!("allow dns\n\n{text}\ndeny"), 3, column, words);
        refuses(&format!("deny; {text}"), 1, column + 6, words);
    }
}

#[test]
fn numbers_are_plain_decimal() {
    for port in [
        "00",
        "\u{661}\u{662}",
        "90-80",
        "-",
        "1-65536",
        "80-443-8080",
        "8_0",
        "80:",
        "\u{ff18}0",
        "80\u{200b}",
        "1-0",
        "80\u{20ac}",
        "https",
    ] {
        refuses(&format!("allow tcp {port}"), 1, 11, &["a port from 1 to 65535 or low-high"]);
        refuses(&format!("allow tcp 22,{port}"), 1, 14, &["a port from 1 to 65535 or low-high"]);
    }
    refuses("allow tcp 090", 1, 11, &["decimal and have no leading zero"]);
    refuses("allow udp 90-80", 1, 11, &["the lower end of a range stands first"]);
}

#[test]
fn addresses_are_plain() {
    for (target, words) in [
        ("10.0.0.1/33", &["a length of the prefix from 0 to 32"][..]),
        ("10.0.0.0/", &["from 0 to 32"]),
        ("10.0.0.0/255.0.0.0", &["from 0 to 32"]),
        ("10.0.0.0/8/8", &["from 0 to 32"]),
        ("2001:db8::1/32", &["the network is 2001:db8::/32"]),
        ("0x0a.0.0.1", &["an address, a CIDR"]),
        ("10.0.0.1.2", &["an address, a CIDR"]),
        ("::ffff:a00:1", &["write 10.0.0.1"]),
        ("::ffff:10.0.0.0/104", &["write 10.0.0.0/8"]),
        ("::ffff:0:0/96", &["write 0.0.0.0/0"]),
        ("::1-::ffff:0:1", &["write 0.0.0.1"]),
        ("fe80::/10%2", &["a length of the prefix"]),
        ("[::1]", &["ports stand after the protocol"]),
        ("10.0.0.1:80", &["ports stand after the protocol"]),
        ("1::2::3", &["an address, a CIDR"]),
        (":", &["an address, a CIDR"]),
        ("/8", &["an address, a CIDR"]),
        ("-", &["an address, a CIDR"]),
        ("10.0.0.9-10.0.0.1", &["the lower end of a range stands first"]),
        ("10.0.0.1-::1", &["both ends of a range are of the same version"]),
        ("10.0.0.1-10.0.0.2-10.0.0.3", &["an address, a CIDR"]),
        ("10.0.0.1-9", &["an address, a CIDR"]),
        ("10.0.0.0/8-11.0.0.0/8", &["from 0 to 32"]),
        ("1.example.com", &["domain names are not supported yet"]),
        ("xn--bcher-kva.example", &["domain names are not supported yet"]),
        ("*.example.com", &["an address, a CIDR"]),
        ("https://example.com", &["an address, a CIDR"]),
        ("db", &["a container is written container:db"]),
        ("localhst", &["a container is written container:localhst"]),
        ("lam", &["did you mean lan?"]),
        ("INTERNET", &["did you mean internet?"]),
        ("metdata", &["did you mean metadata?"]),
        ("conatiner:db", &["\"conatiner:db\"", "did you mean container:db?"]),
        ("Container:db", &["did you mean container:db?"]),
        ("container:", &["container:NAME with a name"]),
        ("container:/db", &["container:NAME with a name"]),
        ("container:a:b", &["container:NAME with a name"]),
        ("network:my/net", &["network:NAME with a name"]),
        ("service:\u{43e}", &["service:NAME with a name"]),
        ("dns", &["a container is written container:dns"]),
        ("{{.}}", &["\"{{.}}\""]),
        ("%n%s", &["\"%n%s\""]),
        ("../../etc/passwd", &["\"../../etc/passwd\""]),
        ("\"lan\"", &["\"\"lan\"\""]),
    ] {
        refuses(&format!("allow to {target}"), 1, 10, words);
        refuses(&format!("allow tcp 22 to host, {target}"), 1, 23, words);
    }
}

#[test]
fn only_spaces_separate_and_nothing_strange_reaches_a_terminal() {
    for (strange, shown) in [
        ("\t", "\\t"),
        ("\u{b}", "\\u{b}"),
        ("\u{c}", "\\u{c}"),
        ("\u{a0}", "\\u{a0}"),
        ("\u{2003}", "\\u{2003}"),
        ("\u{3000}", "\\u{3000}"),
        ("\u{200b}", "\\u{200b}"),
        ("\u{feff}", "\\u{feff}"),
        ("\r", "\\r"),
        ("\u{2028}", "\\u{2028}"),
        ("\0", "\\u{0}"),
        ("\u{1b}[31m", "\\u{1b}[31m"),
        ("\u{1b}]0;title\u{7}", "\\u{1b}]0"),
        ("\u{202e}", "\\u{202e}"),
        ("\u{fffd}", "\u{fffd}"),
    ] {
        for text in [
            format!("allow{strange}tcp 80"),
            format!("{strange}allow tcp 80"),
            format!("allow tcp 80{strange}"),
            format!("allow tcp 80,{strange}443"),
            format!("allow to lan{strange}"),
            format!("allow to container:a{strange}b"),
            format!("allow tcp 80{strange}\nallow udp 53"),
        ] {
            let said = errors_of(Direction::Egress, &text).join("\n");
            assert!(said.contains(shown), "{text:?}: {said:?} lacks {shown:?}");
        }
    }
    refuses("allow\ttcp 80", 1, 1, &["separated by spaces alone"]);
    refuses("allow tcp 80\r\nallow udp 53", 1, 11, &["by spaces alone, rules by line feeds and ;"]);
}

#[test]
fn a_text_without_a_rule_is_refused() {
    for text in ["", " ", "\n", ";", " ; \n ;;\n"] {
        let said = errors_of(Direction::Egress, text);
        assert_eq!(said, ["no rule in it: write one, such as deny, or leave the key out"]);
    }
}

#[test]
fn sizes_over_the_limit_are_refused() {
    let at_most = format!("allow to container:{}", "x".repeat(255));
    reads(&at_most, &at_most);
    refuses(&format!("{at_most}x"), 1, 10, &["of 255 bytes at most"]);
    let long = format!("allow{:507}", "");
    reads(&long, "allow");
    refuses(&format!("deny\n{long} "), 2, 1, &["longer than 512 bytes"]);
    let many = "deny;".repeat(100);
    reads(&format!("{many}\n{many}"), &["deny"; 200].join("\n"));
    let many = "deny\n".repeat(MAX_RULES);
    assert_eq!(RuleList::parse(Direction::Egress, &many).map(|rules| rules.len()), Ok(256));
    let said = errors_of(Direction::Egress, &format!("{many}deny"));
    assert_eq!(said, ["more than 256 rules"]);
}

#[test]
fn every_error_is_told_in_the_order_of_the_text() {
    let said = errors_of(
        Direction::Ingress,
        "alow tcp 80\nallow tcp 0,80,x from lan,10.0.0.5/8,db; deny to lan\nallow dns",
    );
    let places: Vec<&str> = said.iter().filter_map(|said| said.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "line 1, column 1",
            "line 2, column 11",
            "line 2, column 16",
            "line 2, column 27",
            "line 2, column 38",
            "line 2, column 47",
        ]
    );
    assert!(said.iter().any(|said| said.contains("in ingress, say where from")), "{said:?}");
}

#[test]
fn a_caret_stands_below_what_is_wrong() {
    let far = format!("allow tcp 80 to {}db2", "container:db,".repeat(20));
    for (text, expected) in [
        (
            "allow dns\nallow tcp 5432 to conatiner:db",
            "    allow tcp 5432 to conatiner:db\n                      ^",
        ),
        ("\u{1b}allow", "    \\u{1b}allow\n    ^"),
        ("allow \u{202e}to lan", "    allow \\u{202e}to lan\n          ^"),
        ("allow é\u{202e}à to lann", "    allow é\\u{202e}à to lann\n          ^"),
        ("allow to", "    allow to\n            ^"),
        (far.as_str(), "tainer:db,db2\n"),
    ] {
        let errors = RuleList::parse(Direction::Egress, text).unwrap_err();
        let shown = errors.first().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(shown.contains(expected), "{text:?}: {shown}\nlacks\n{expected}");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.iter().skip(1).all(|line| line.len() < 200), "{shown}");
    }
}

/// Every byte of good rules left out, doubled, swapped with its neighbour and replaced.
#[test]
fn a_slip_of_the_finger_is_read_as_it_is_shown_or_refused() {
    let good = "allow dns\nallow tcp 5432,80-90 to container:db,10.0.0.0/8\n\
                deny log to lan, metadata; allow icmp echo-request,3 to ::1-::9";
    let bytes: Vec<char> = good.chars().collect();
    let mut slips = Vec::new();
    for (at, here) in bytes.iter().enumerate() {
        let (before, after) = (bytes.iter().take(at), bytes.iter().skip(at + 1));
        for middle in [vec![], vec![*here; 2], vec!['0'], vec![','], vec![' '], vec!['\u{e9}']] {
            slips.push(before.clone().chain(&middle).chain(after.clone()).collect::<String>());
        }
        let mut swapped = bytes.clone();
        swapped.swap(at, (at + 1) % bytes.len());
        slips.push(swapped.into_iter().collect());
    }
    for slip in slips {
        match RuleList::parse(Direction::Egress, &slip) {
            Ok(rules) => reads(&slip, &rules.show(Direction::Egress).to_string()),
            Err(errors) => {
                assert!(!errors.is_empty() && !errors_of(Direction::Egress, &slip).is_empty());
            }
        }
    }
}

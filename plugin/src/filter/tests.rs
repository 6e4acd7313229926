//! What filters find, and what is refused.

use super::*;

fn seen(ip_version: u8, protocol: u8, ends: [(&str, u16); 2]) -> Seen {
    let [(source, source_port), (destination, destination_port)] = ends;
    Seen {
        ethertype: if ip_version == 6 { ethertype::IPV6 } else { ethertype::IPV4 },
        ip_version,
        protocol,
        source: source.parse().ok(),
        destination: destination.parse().ok(),
        source_port,
        destination_port,
        reason: Some(Reason::Tcp),
    }
}

fn packets() -> [(&'static str, Seen); 5] {
    let arp = Seen {
        ethertype: ethertype::ARP,
        reason: Some(Reason::Passed),
        ..seen(0, 0, [("", 0), ("", 0)])
    };
    [
        ("web", seen(4, protocol::TCP, [("10.0.0.1", 40_000), ("1.1.1.1", 443)])),
        ("dns", seen(4, protocol::UDP, [("10.0.0.1", 40_001), ("10.0.0.2", 53)])),
        ("ping", seen(4, protocol::ICMP, [("10.0.0.3", 8), ("10.0.0.1", 0)])),
        ("six", seen(6, protocol::TCP, [("fd00::1", 40_002), ("2001:db8::1", 80)])),
        ("arp", arp),
    ]
}

#[track_caller]
fn check(filter: &str, expected: &[&str]) {
    let parsed: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error:#}"));
    let found = packets().into_iter().filter(|(_, packet)| parsed.matches(packet));
    assert_eq!(found.map(|(name, _)| name).collect::<Vec<_>>(), expected, "{filter}");
}

#[test]
fn each_test_finds_its_packets() {
    check("tcp", &["web", "six"]);
    check("udp", &["dns"]);
    check("icmp", &["ping"]);
    check("icmp6", &[]);
    check("ip", &["web", "dns", "ping"]);
    check("ip6", &["six"]);
    check("arp", &["arp"]);
    check("proto 17", &["dns"]);
    check("host 10.0.0.1", &["web", "dns", "ping"]);
    check("src host 10.0.0.1", &["web", "dns"]);
    check("dst host 10.0.0.1", &["ping"]);
    check("net 10.0.0.2/31", &["dns", "ping"]);
    check("net 0.0.0.0/0", &["web", "dns", "ping"]);
    check("net ::/0", &["six"]);
    check("dst net 2001:db8::/32", &["six"]);
    check("port 53", &["dns"]);
    check("src port 53", &[]);
    check("portrange 40000-40001", &["web", "dns"]);
    check("port 8", &[]);
    check("reason passed", &["arp"]);
    check("reason drop-tcp and ip6", &["six"]);
}

#[test]
fn tests_are_put_together_as_tcpdump_does() {
    check("tcp port 443", &["web"]);
    check("udp dst port 443", &[]);
    check("tcp dst net 1.0.0.0/8", &["web"]);
    check("not tcp", &["dns", "ping", "arp"]);
    check("! tcp && !(arp || icmp)", &["dns"]);
    check("arp or tcp and ip6", &["six"]);
    check("arp or (tcp and ip6)", &["six", "arp"]);
    check("not host 10.0.0.1 and not arp", &["six"]);
    check("  tcp\tand  port 80 ", &["six"]);
}

#[track_caller]
fn refuses(filter: &str, expected: &str) {
    let error = filter.parse::<Filter>().expect_err(filter);
    let text = error.to_string();
    assert!(text.starts_with(expected), "{filter}: {text}");
}

#[test]
fn what_is_not_understood_is_told_with_its_place() {
    refuses("", "column 1: found the end of the filter, expected not, (");
    refuses("tcp and", "column 8: found the end of the filter, expected not, (");
    refuses("tcp prot 80", "column 5: found \"prot\", expected and, or, or the end");
    refuses("prot 80", "column 1: found \"prot\", expected not, (");
    refuses("host web", "column 6: found \"web\", expected an address");
    refuses("host", "column 5: found the end of the filter, expected an address");
    refuses("net 10.0.0.0/33", "column 14: found \"33\", expected a length from 0 to 32");
    refuses("net ::/129", "column 8: found \"129\", expected a length from 0 to 128");
    refuses("ip6 host 10.0.0.1", "column 10: found \"10.0.0.1\", expected an address of IPv6");
    refuses("icmp port 8", "column 6: found \"port\", expected no port, which icmp has not");
    refuses("port 70000", "column 6: found \"70000\", expected a port from 0 to 65535");
    refuses("portrange 9-8", "column 11: found \"9-8\", expected two ports");
    refuses("(tcp", "column 5: found the end of the filter, expected and, or, or )");
    refuses("(tcp udp)", "column 6: found \"udp\", expected and, or, or )");
    refuses("tcp)", "column 4: found \")\", expected and, or, or the end of the filter");
    refuses("reason bad", "column 8: found \"bad\", expected a reason, one of passed, drop-all");
    refuses("src tcp", "column 5: found \"tcp\", expected host, net, port or portrange");
    refuses("é host", "column 1: found \"é\"");
    refuses(&"(".repeat(100), "column 33: found \"(\", expected at most 32 not and ( in a row");
    refuses(&" ".repeat(2000), "column 1: found");
}

#[test]
fn what_was_probably_meant_is_said() {
    for (filter, hint) in [
        ("10.0.0.1", "did you mean host 10.0.0.1?"),
        ("not 10.0.0.0/8", "did you mean net 10.0.0.0/8?"),
        ("443", "did you mean port 443?"),
        ("drop-tcp", "did you mean reason drop-tcp?"),
        ("prto 6", "did you mean proto?"),
        ("icpm", "did you mean icmp?"),
    ] {
        let error = filter.parse::<Filter>().expect_err(filter).to_string();
        assert!(error.ends_with(hint), "{filter}: {error}");
    }
}

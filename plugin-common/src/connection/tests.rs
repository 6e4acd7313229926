//! What becomes of packets one after the other, and what the table keeps.

use std::vec;
use std::vec::Vec;

use super::flow::{self, EPOCH, FlowState, Found, Said, Tuple, WAYS, timeout};
use crate::abi::{Block, FlowSecret, RuleImage, RuleTable};
use crate::connection::{Decision, NO_RULE};
use crate::frames::Mutator;
use crate::frames::build::{Extension, Ipv4, Ipv6, MORE_FRAGMENTS, icmp};
use crate::frames::memory::{Flows, Places, Ways};
use crate::packet::{protocol, tcp_flag};
use crate::verdict::Reason;

const OWN: [u8; 4] = [10, 0, 0, 5];
const PEER: [u8; 4] = [10, 0, 0, 9];
const STRANGER: [u8; 4] = [10, 0, 0, 66];
const OWN_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const PEER_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const OUT: bool = true;
const IN: bool = false;

fn secret() -> FlowSecret {
    let mut random = Mutator::new(1);
    FlowSecret([(); 24].map(|()| random.number()))
}

/// A table with one rule for everything, and the end that is never come to.
fn everything(allow: bool, audited: bool, counters: u32) -> RuleTable {
    RuleTable {
        words: 1,
        layer_ends: 1,
        audited: audited.into(),
        counters,
        deny: if allow { 1 } else { 2 },
        log: 3,
        ..RuleTable::default()
    }
}

/// An interface whose container may begin connections, or be sent them, or neither.
struct Interface {
    image: RuleImage,
    places: Places,
    flows: Flows,
    now: u32,
}

impl Interface {
    fn new(egress: bool, ingress: bool) -> Self {
        let end = 1 << 63;
        let block = |word| Block([word, 0, 0, 0, 0, 0, 0, 0]);
        // What matches everything; what denies nothing but the end, and everything; what reports.
        let blocks = vec![block(end | 1), block(end), block(end | 1), block(0)];
        let image = RuleImage {
            egress: everything(egress, false, 100),
            ingress: everything(ingress, false, 200),
            flows_mask: 15,
            ..RuleImage::default()
        };
        let places = Places { blocks, leaves: vec![0] };
        Self { image, places, flows: Flows::new(secret(), 16), now: 1000 }
    }

    fn policy(&mut self, egress: bool, ingress: bool) {
        self.image.egress = everything(egress, false, 100);
        self.image.ingress = everything(ingress, false, 200);
        self.image.epoch += 1;
    }

    fn judge(&self, frame: &[u8], from_container: bool) -> Decision {
        self.flows.judge((&self.image, &self.places), frame, from_container, self.now)
    }

    #[track_caller]
    fn check(&self, name: &str, frame: &[u8], from_container: bool, expected: Reason) {
        assert_eq!(self.judge(frame, from_container).reason, expected, "{name}");
    }

    fn kept(&self) -> usize {
        let buckets = self.flows.buckets.iter().map(Ways::contents);
        buckets.map(|bucket| bucket.fingerprints.iter().filter(|it| **it != 0).count()).sum()
    }
}

fn header(number: u8, from_container: bool) -> Ipv4 {
    let (source, destination) = if from_container { (OWN, PEER) } else { (PEER, OWN) };
    Ipv4 { source, destination, ..Ipv4::new(number) }
}

fn header_6(number: u8, from_container: bool, extensions: &[Extension]) -> Ipv6 {
    let (source, destination) = if from_container { (OWN_6, PEER_6) } else { (PEER_6, OWN_6) };
    Ipv6 { source, destination, ..Ipv6::with(extensions, number) }
}

/// Port 40,000 of the container with port 80 of the other side.
fn segment(from_container: bool, flags: u8) -> Vec<u8> {
    let mut bytes = ports(from_container);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn datagram(from_container: bool) -> Vec<u8> {
    let mut bytes = ports(from_container);
    bytes.extend([0, 8, 0, 0]);
    bytes
}

fn ports(from_container: bool) -> Vec<u8> {
    let (source, destination) = if from_container { (40_000_u16, 80_u16) } else { (80, 40_000) };
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn tcp(from_container: bool, flags: u8) -> Vec<u8> {
    header(protocol::TCP, from_container).frame(&segment(from_container, flags))
}

fn udp(from_container: bool) -> Vec<u8> {
    header(protocol::UDP, from_container).frame(&datagram(from_container))
}

fn echo(from_container: bool, kind: u8, number: u8) -> Vec<u8> {
    header(protocol::ICMP, from_container).frame(&[kind, 0, 0, 0, 0, number, 0, 1])
}

const SYN: u8 = tcp_flag::SYN;
const ACK: u8 = tcp_flag::ACK;
const FIN: u8 = tcp_flag::FIN | tcp_flag::ACK;
const RST: u8 = tcp_flag::RST;

#[test]
fn answers_pass_and_what_nobody_asked_for_does_not() {
    let interface = Interface::new(true, false);
    interface.check("not asked for", &udp(IN), IN, Reason::Denied);
    assert_eq!(interface.kept(), 0, "what is denied is not kept");
    let first = interface.judge(&udp(OUT), OUT);
    assert_eq!((first.reason, first.rule), (Reason::Passed, 100));
    let answer = interface.judge(&udp(IN), IN);
    assert_eq!((answer.reason, answer.rule), (Reason::Passed, NO_RULE), "no rule is asked");
    interface.check("another protocol", &tcp(IN, ACK), IN, Reason::Denied);
    let six = |from| header_6(protocol::UDP, from, &[]).frame(&datagram(from));
    interface.check("another version", &six(IN), IN, Reason::Denied);
    interface.check("IPv6", &six(OUT), OUT, Reason::Passed);
    interface.check("its answer", &six(IN), IN, Reason::Passed);
    assert_eq!(interface.kept(), 2);
}

#[test]
fn an_echo_is_answered_by_its_number_and_only_by_what_answers_it() {
    for (question, answer, other) in [(8, 0, 14), (13, 14, 0)] {
        let interface = Interface::new(true, false);
        interface.check("a question", &echo(OUT, question, 7), OUT, Reason::Passed);
        interface.check("its answer", &echo(IN, answer, 7), IN, Reason::Passed);
        interface.check("another number", &echo(IN, answer, 8), IN, Reason::Denied);
        interface.check("another's answer", &echo(IN, other, 7), IN, Reason::Denied);
        interface.check("a question back", &echo(IN, question, 7), IN, Reason::Denied);
        let version = header(protocol::ICMP, IN).frame(&[129, 0, 0, 0, 0, 7, 0, 1]);
        interface.check("of the other version", &version, IN, Reason::Denied);
    }
    let interface = Interface::new(true, false);
    let ping =
        |from, kind| header_6(protocol::ICMPV6, from, &[]).frame(&[kind, 0, 0, 0, 0, 7, 0, 1]);
    interface.check("a question", &ping(OUT, 128), OUT, Reason::Passed);
    interface.check("its answer", &ping(IN, 129), IN, Reason::Passed);
    interface.check("of the other version", &ping(IN, 0), IN, Reason::Denied);
    interface.check("another message", &ping(OUT, 150), OUT, Reason::Passed);
    assert_eq!(interface.kept(), 1, "to which there is no answer");
}

/// An error about a datagram that went from here to there, sent by someone to someone.
fn error(quoted_from: [u8; 4], quoted_to: [u8; 4], (from, to): ([u8; 4], [u8; 4])) -> Vec<u8> {
    let out = quoted_from == OWN;
    let header = Ipv4 { source: quoted_from, destination: quoted_to, ..Ipv4::new(protocol::UDP) };
    let mut message = icmp(3, 1);
    message.extend(header.packet(&datagram(out)));
    Ipv4 { source: from, destination: to, ..Ipv4::new(protocol::ICMP) }.frame(&message)
}

#[test]
fn an_error_passes_to_who_sent_what_it_is_about() {
    let mut interface = Interface::new(true, false);
    let about = error(OWN, PEER, (STRANGER, OWN));
    interface.check("about nothing", &about, IN, Reason::Denied);
    interface.check("the connection", &udp(OUT), OUT, Reason::Passed);
    interface.check("from a router", &about, IN, Reason::Passed);
    interface.check("from the other side", &error(OWN, PEER, (PEER, OWN)), IN, Reason::Passed);
    interface.check("the other way", &error(PEER, OWN, (STRANGER, OWN)), IN, Reason::Malformed);
    // The container may not begin anything any more, but for what belongs to the connection.
    interface.image.egress = everything(false, false, 100);
    interface.check("to the sender", &error(PEER, OWN, (OWN, PEER)), OUT, Reason::Passed);
    let elsewhere = error(PEER, OWN, (OWN, STRANGER));
    interface.check("to anybody else", &elsewhere, OUT, Reason::Malformed);
    let mut short = error(OWN, PEER, (PEER, OWN));
    short.truncate(short.len() - 8);
    let [high, low] = u16::try_from(short.len() - 14).unwrap().to_be_bytes();
    short[16..18].copy_from_slice(&[high, low]);
    interface.check("with a short quote", &short, IN, Reason::Malformed);
}

#[test]
fn an_error_about_a_connection_of_another_policy_is_judged_by_itself() {
    let mut interface = Interface::new(true, false);
    interface.check("the connection", &udp(OUT), OUT, Reason::Passed);
    interface.policy(false, false);
    interface.check("in", &error(OWN, PEER, (PEER, OWN)), IN, Reason::Denied);
    interface.check("out", &error(PEER, OWN, (OWN, PEER)), OUT, Reason::Denied);
}

fn part(from_container: bool, number: u16, offset: u16) -> Vec<u8> {
    let fragment = offset | MORE_FRAGMENTS;
    Ipv4 { fragment, identification: number, ..header(protocol::UDP, from_container) }
        .frame(&datagram(from_container))
}

fn part_6(from_container: bool, offset: u16) -> Vec<u8> {
    header_6(protocol::UDP, from_container, &[Extension::fragment(offset, true)])
        .frame(&datagram(from_container))
}

#[test]
fn parts_of_a_datagram_follow_the_first_and_nothing_else() {
    let mut interface = Interface::new(true, false);
    interface.check("before the first", &part(OUT, 1, 1), OUT, Reason::LoneFragment);
    interface.check("the first", &part(OUT, 1, 0), OUT, Reason::Passed);
    interface.check("after it", &part(OUT, 1, 1), OUT, Reason::Passed);
    interface.check("again", &part(OUT, 1, 1), OUT, Reason::Passed);
    interface.check("of another", &part(OUT, 2, 1), OUT, Reason::LoneFragment);
    interface.check("the other way", &part(IN, 1, 1), IN, Reason::LoneFragment);
    interface.check("an answer's first", &part(IN, 1, 0), IN, Reason::Passed);
    interface.check("and its rest", &part(IN, 1, 1), IN, Reason::Passed);
    interface.check("IPv6, before", &part_6(OUT, 1), OUT, Reason::LoneFragment);
    interface.check("IPv6, the first", &part_6(OUT, 0), OUT, Reason::Passed);
    interface.check("IPv6, after it", &part_6(OUT, 1), OUT, Reason::Passed);
    interface.now += timeout::UDP_OPENING + 1;
    interface.check("too late", &part(OUT, 1, 1), OUT, Reason::LoneFragment);
    interface.check("a first again", &part(OUT, 1, 0), OUT, Reason::Passed);
    interface.policy(true, false);
    interface.check("under another policy", &part(OUT, 1, 1), OUT, Reason::LoneFragment);
    let denied = Interface::new(false, false);
    denied.check("a first denied", &part(OUT, 1, 0), OUT, Reason::Denied);
    denied.check("and its rest", &part(OUT, 1, 1), OUT, Reason::LoneFragment);
}

#[test]
fn a_connection_that_has_ended_is_begun_anew_by_who_may() {
    for ends in [&[(OUT, FIN), (IN, FIN)][..], &[(OUT, RST)], &[(IN, RST)]] {
        let interface = Interface::new(true, false);
        for (from, flags) in [(OUT, SYN), (IN, SYN | ACK), (OUT, ACK)] {
            interface.check("it opens", &tcp(from, flags), from, Reason::Passed);
        }
        for (from, flags) in ends {
            interface.check("it ends", &tcp(*from, *flags), *from, Reason::Passed);
        }
        interface.check("the last word", &tcp(IN, ACK), IN, Reason::Passed);
        interface.check("begun by the other side", &tcp(IN, SYN), IN, Reason::Denied);
        let again = interface.judge(&tcp(OUT, SYN), OUT);
        assert_eq!((again.reason, again.rule), (Reason::Passed, 100), "judged anew");
        interface.check("and answered", &tcp(IN, SYN | ACK), IN, Reason::Passed);
        assert_eq!(interface.kept(), 1);
    }
}

#[test]
fn a_policy_that_changes_lets_be_what_it_allows_and_ends_what_it_does_not() {
    let mut interface = Interface::new(true, false);
    for (from, flags) in [(OUT, SYN), (IN, SYN | ACK), (OUT, ACK)] {
        interface.check("it opens", &tcp(from, flags), from, Reason::Passed);
    }
    for epoch in [1, 255, 256, 257, EPOCH, EPOCH + 1] {
        interface.image.epoch = epoch;
        let judged = interface.judge(&tcp(IN, ACK), IN);
        assert_eq!((judged.reason, judged.rule), (Reason::Passed, 100), "by who began");
        assert_eq!(interface.judge(&tcp(OUT, ACK), OUT).rule, NO_RULE, "once");
    }
    // What it says while it is judged again counts too.
    interface.policy(true, false);
    interface.check("a reset", &tcp(IN, RST), IN, Reason::Passed);
    interface.check("begun by the other side", &tcp(IN, SYN), IN, Reason::Denied);
    interface.policy(false, true);
    interface.check("denied, though its answer", &tcp(IN, ACK), IN, Reason::Denied);
    interface.check("denied", &tcp(OUT, ACK), OUT, Reason::Denied);
    assert_eq!(interface.kept(), 0, "it is forgotten");
    interface.check("begun by the other side", &tcp(IN, ACK), IN, Reason::Passed);
}

#[test]
fn an_audit_counts_what_would_be_denied_and_lets_it_pass() {
    let mut interface = Interface::new(true, false);
    interface.image.ingress = everything(false, true, 200);
    let decision = interface.judge(&udp(IN), IN);
    let expected = Decision { reason: Reason::Passed, rule: 200, audited: 200, log: false };
    assert_eq!(decision, expected);
    interface.check("it is kept", &udp(OUT), OUT, Reason::Passed);
}

#[test]
fn tables_that_contradict_themselves_let_nothing_pass() {
    let mut interface = Interface::new(true, true);
    interface.places.leaves.clear();
    interface.check("no leaf", &udp(OUT), OUT, Reason::Closed);
    let mut interface = Interface::new(true, true);
    interface.places.blocks[0] = Block::default();
    interface.check("no end", &udp(OUT), OUT, Reason::Closed);
    interface.image.egress = RuleTable::default();
    interface.check("no rules at all", &udp(OUT), OUT, Reason::Passed);
}

#[test]
fn a_full_table_refuses_what_is_new_and_pushes_nothing_out_that_goes_on() {
    let mut interface = Interface::new(true, true);
    interface.image.flows_mask = 0;
    let from = |host: u8, from_container| {
        let (source, destination) =
            if from_container { (OWN, [10, 0, 1, host]) } else { ([10, 0, 1, host], OWN) };
        Ipv4 { source, destination, ..Ipv4::new(protocol::UDP) }.frame(&datagram(from_container))
    };
    for host in 0..8 {
        interface.check("there is room", &from(host, OUT), OUT, Reason::Passed);
        interface.check("answered", &from(host, IN), IN, Reason::Passed);
        if host != 3 {
            interface.check("it goes on", &from(host, OUT), OUT, Reason::Passed);
        }
    }
    interface.check("in place of what did not", &from(8, OUT), OUT, Reason::Passed);
    interface.check("answered", &from(8, IN), IN, Reason::Passed);
    interface.check("it goes on", &from(8, OUT), OUT, Reason::Passed);
    let refused = interface.judge(&from(9, OUT), OUT);
    assert_eq!((refused.reason, refused.rule), (Reason::FlowTableFull, 100));
    for host in [0, 1, 2, 4, 5, 6, 7, 8] {
        assert_eq!(interface.judge(&from(host, OUT), OUT).rule, NO_RULE, "{host} is still there");
    }
    interface.now += timeout::UDP + 1;
    interface.check("there is room again", &from(9, OUT), OUT, Reason::Passed);
}

#[test]
fn who_pretends_to_be_another_fills_no_table() {
    // Each is answered, as a server would, and nobody hears the answer.
    for flags in [&[SYN][..], &[SYN, SYN]] {
        let bucket = Ways::default();
        let (began, answer) = (Said::new(protocol::TCP, SYN), Said::new(protocol::TCP, SYN | ACK));
        for fingerprint in 1..=100 {
            let state = FlowState::begin(IN, 0, began, 7);
            assert!(flow::insert(&bucket, fingerprint, state, 7), "{fingerprint}");
            flow::touch(&bucket, fingerprint, OUT, answer, 7, |_| true);
            for again in flags {
                let said = Said::new(protocol::TCP, *again);
                let state = flow::touch(&bucket, fingerprint, IN, said, 7, |_| true);
                assert!(state.is_some_and(|state| !state.is_assured()));
            }
            let state = flow::find(&bucket, fingerprint, 7);
            assert_eq!(state.map(FlowState::expires), Some(7 + timeout::TCP_OPENING));
        }
    }
}

#[test]
fn what_has_ended_gives_way() {
    let bucket = Ways::default();
    let said = |flags| Said::new(protocol::TCP, flags);
    for fingerprint in 1..=100 {
        let state = FlowState::begin(OUT, 0, said(SYN), 7);
        assert!(flow::insert(&bucket, fingerprint, state, 7), "{fingerprint}");
        for (from, flags) in [(IN, SYN | ACK), (OUT, ACK), (OUT, FIN | ACK), (IN, FIN | ACK)] {
            assert!(flow::touch(&bucket, fingerprint, from, said(flags), 7, |_| true).is_some());
        }
        let state = flow::find(&bucket, fingerprint, 7);
        assert!(state.is_some_and(|state| state.is_assured() && state.has_ended()));
    }
}

#[test]
fn what_was_not_answered_gives_way_the_next_to_be_forgotten_first() {
    let bucket = Ways::default();
    let said = Said::new(protocol::UDP, 0);
    for way in 0..8_u32 {
        // Of the one in the middle the time is up first.
        let state = FlowState::begin(OUT, 0, said, 100 + (way + 4) % 8);
        assert!(flow::insert(&bucket, u64::from(way) + 1, state, 100));
    }
    let state = FlowState::begin(OUT, 0, said, 110);
    for (fingerprint, gone) in [(101, 5), (102, 6), (103, 7)] {
        assert!(flow::insert(&bucket, fingerprint, state, 110));
        assert_eq!(flow::find(&bucket, gone, 110), None);
        assert!(flow::find(&bucket, fingerprint, 110).is_some());
    }
    flow::remove(&bucket, 102);
    assert_eq!(flow::find(&bucket, 102, 110), None);
    assert!(flow::insert(&bucket, 104, state, 110));
    assert!(flow::find(&bucket, 8, 110).is_some(), "what is free is taken first");
    assert_eq!(bucket.contents().fingerprints.len(), WAYS);
}

/// A protocol, its packets, and how long they are remembered.
type Lifetime = (u8, &'static [(bool, u8)], u32);

#[test]
fn connections_are_forgotten_when_their_time_is_up() {
    const TCP: u8 = protocol::TCP;
    let cases: [Lifetime; 12] = [
        (TCP, &[(OUT, SYN)], timeout::TCP_OPENING),
        (TCP, &[(OUT, SYN), (IN, SYN | ACK)], timeout::TCP_OPENING),
        (TCP, &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK)], timeout::TCP),
        (TCP, &[(OUT, SYN), (IN, ACK), (OUT, FIN)], timeout::TCP_CLOSING),
        (TCP, &[(OUT, SYN), (IN, FIN), (OUT, FIN)], timeout::TCP_CLOSING),
        (TCP, &[(OUT, SYN), (IN, RST)], timeout::TCP_RESET),
        (protocol::UDP, &[(IN, 0)], timeout::UDP_OPENING),
        (protocol::UDP, &[(IN, 0), (OUT, 0)], timeout::UDP_OPENING),
        (protocol::UDP, &[(IN, 0), (OUT, 0), (IN, 0)], timeout::UDP),
        (protocol::ICMPV6, &[(OUT, 0), (IN, 0)], timeout::ICMP),
        (47, &[(OUT, 0)], timeout::OTHER),
        (Tuple::FRAGMENTS, &[(OUT, 0)], timeout::UDP_OPENING),
    ];
    // Also while the clock goes round.
    for start in [0, 1000, u32::MAX - 20, u32::MAX] {
        for (number, packets, lifetime) in cases {
            let bucket = Ways::default();
            let [(from, flags), rest @ ..] = packets else { continue };
            let state = FlowState::begin(*from, 5, Said::new(number, *flags), start);
            assert!(flow::insert(&bucket, 9, state, start));
            for (from, flags) in rest {
                let said = Said::new(number, *flags);
                assert!(flow::touch(&bucket, 9, *from, said, start, |_| true).is_some());
            }
            let last = start.wrapping_add(lifetime);
            let found = flow::find(&bucket, 9, last);
            assert_eq!(found.map(FlowState::epoch), Some(5), "{number} {packets:?}");
            let over = last.wrapping_add(1);
            assert_eq!(flow::find(&bucket, 9, over), None, "{number} {packets:?} at {start}");
            let said = Said::new(number, 0);
            let found = flow::touch(&bucket, 9, OUT, said, over, |_| true);
            assert_eq!(found, None, "it does not come back");
        }
    }
}

#[test]
fn a_state_keeps_its_parts_apart() {
    let said = Said::new(protocol::TCP, FIN | RST);
    for from_container in [OUT, IN] {
        for epoch in [0, 1, 0xff, 0x100, EPOCH] {
            let state = FlowState::begin(from_container, epoch, said, u32::MAX);
            assert_eq!(state.from_container(), from_container);
            assert_eq!(state.epoch(), epoch);
            assert!(!state.is_assured() && state.has_ended());
            let state = state.heard(!from_container, said, 7);
            assert!(!state.is_assured());
            let state = state.heard(from_container, said, 7);
            assert!(state.is_assured());
            assert_eq!((state.epoch(), state.from_container()), (epoch, from_container));
            assert_eq!(state.expires(), 7 + timeout::TCP_RESET);
            assert_eq!(state.with_epoch(epoch ^ 1).epoch(), epoch ^ 1);
        }
    }
}

#[test]
fn nobody_is_let_in_by_packets_of_which_no_rule_says_that_he_may_send_them() {
    let between = |[own, peer]: [[u8; 2]; 2], from: bool, flags: u8| {
        let (source, destination) = if from { (OWN, PEER) } else { (PEER, OWN) };
        let ports = if from { [own, peer] } else { [peer, own] }.concat();
        let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 9, 9, 0, 0, 0, 0];
        let payload = [&ports[..], &rest].concat();
        Ipv4 { source, destination, ..Ipv4::new(protocol::TCP) }.frame(&payload)
    };
    let segment = |from, flags| between([[156, 65], [1, 187]], from, flags);
    // Nothing may leave, and nothing is said of what comes in.
    let mut interface = Interface::new(false, true);
    interface.image.ingress = RuleTable::default();
    interface.check("from before the rules", &segment(IN, ACK), IN, Reason::Passed);
    interface.check("it is no answer", &segment(OUT, ACK), OUT, Reason::Denied);
    assert_eq!(interface.kept(), 0);
    interface.check("a new one", &segment(IN, SYN), IN, Reason::Passed);
    interface.check("its answer", &segment(OUT, SYN | ACK), OUT, Reason::Passed);
    // To a port of a server's.
    let other = Interface { now: 2000, ..interface };
    let served = |from| between([[0, 80], [156, 65]], from, ACK);
    other.check("from before the rules", &served(IN), IN, Reason::Passed);
    other.check("its answer", &served(OUT), OUT, Reason::Passed);
    // A rule says that it may be sent.
    let interface = Interface::new(false, true);
    interface.check("from before the rules", &segment(IN, ACK), IN, Reason::Passed);
    interface.check("its answer", &segment(OUT, ACK), OUT, Reason::Passed);
}

#[test]
fn connections_to_one_peer_are_spread_over_the_table() {
    const HTTPS: u32 = 0x1bb;
    let image = RuleImage { flows_mask: 1023, ..RuleImage::default() };
    let mut random = Mutator::new(5);
    for round in 0..100 {
        let secret = FlowSecret([(); 24].map(|()| random.number()));
        let mut filled = [0_u32; 1024];
        for port in 30_000..31_000 {
            let tuple = Tuple {
                ip_version: 4,
                protocol: protocol::TCP,
                local: [1, 0, 0, 0],
                remote: [2, 0, 0, 0],
                ports: port << 16 | HTTPS,
                extra: 0,
            };
            filled[super::bucket(&image, tuple.fingerprint(&secret)) as usize] += 1;
        }
        // At random, one in a million buckets has nine.
        let most = filled.into_iter().max();
        assert!(most <= Some(8), "round {round}: {most:?} in one bucket");
    }
}

#[test]
fn fingerprints_differ_where_anything_does() {
    let base = Tuple {
        ip_version: 4,
        protocol: protocol::TCP,
        local: [1, 0, 0, 0],
        remote: [2, 0, 0, 0],
        ports: 3,
        extra: 0,
    };
    let mut tuples = Vec::new();
    for ip_version in [4, 6] {
        for number in 0..=u8::MAX {
            tuples.push(Tuple { ip_version, protocol: number, ..base });
        }
        for bit in 0..32 {
            tuples.push(Tuple { ip_version, ports: 3 ^ 1 << bit, ..base });
            tuples.push(Tuple { ip_version, extra: 1 << bit, ..base });
            let words = if ip_version == 4 { 1 } else { 4 };
            for word in 0..words {
                let (mut local, mut remote) = (base.local, base.remote);
                local[word] ^= 1 << bit;
                remote[word] ^= 1 << bit;
                tuples.push(Tuple { ip_version, local, ..base });
                tuples.push(Tuple { ip_version, remote, ..base });
            }
        }
        let (local, remote) = (base.remote, base.local);
        tuples.push(Tuple { ip_version, local, remote, ..base });
    }
    let secret = secret();
    let mut fingerprints: Vec<_> = tuples.iter().map(|it| it.fingerprint(&secret)).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), tuples.len());
    assert!(!fingerprints.contains(&0));
    assert_eq!(base.fingerprint(&FlowSecret([0; 24])), 1, "0 stands for none");
}

/// The short way takes a connection for steady just where noting the packet would change nothing, and
/// where that passes.
#[test]
fn what_is_steady_is_what_a_packet_leaves_as_it_is() {
    const SYN_ACK: u8 = SYN | ACK;
    let mut random = Mutator::new(7);
    let mut steady = 0;
    for _ in 0..200_000 {
        let now = [5, u32::MAX - 60_000][random.below(2)];
        let protocol = [protocol::TCP, protocol::UDP][random.below(2)];
        let flags = [ACK, ACK, SYN, SYN_ACK, FIN, RST][random.below(6)];
        let said = Said::new(protocol, if protocol == protocol::TCP { flags } else { 0 });
        let lifetimes = [timeout::TCP, timeout::UDP, timeout::TCP_CLOSING];
        let expires = now.wrapping_add(lifetimes[random.below(3)]);
        let epoch = [0, 3, EPOCH][random.below(3)];
        let sides = [0x19, random.number() & 0xff][random.below(2)];
        let began = random.number() >> 63 << 63;
        let state = FlowState(began | sides << 32 | u64::from(expires)).with_epoch(epoch);
        let bucket = Ways::default();
        assert!(flow::insert(&bucket, 9, state, now));
        let from_container = random.below(2) == 0;
        let found = flow::look(&bucket, 9, FlowState::steady(3, said, now));
        if found == Found::Steady {
            steady += 1;
            assert_eq!(state.heard(from_container, said, now), state, "{said:?} at {now}");
            assert!(!state.is_over(now) && !state.gives_way(said) && state.epoch() == 3);
        } else {
            assert_eq!(found, Found::Other(state));
            let lifetime = if protocol == protocol::TCP { timeout::TCP } else { timeout::UDP };
            let is_plain = protocol == protocol::UDP || matches!(flags, ACK | SYN_ACK);
            let is_of_now = epoch == 3 && expires == now.wrapping_add(lifetime);
            assert!(!is_plain || !is_of_now || sides != 0x19, "{state:x?} {said:?} at {now}");
        }
        assert_eq!(flow::look(&bucket, 8, FlowState::steady(3, said, now)), Found::Nothing);
    }
    assert!(steady > 1000, "{steady} were steady");
}

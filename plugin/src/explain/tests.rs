//! Packets in words and in captures, and from there to a case: what the programs make of it is for the
//! tests against the kernel.

use std::fs;
use std::net::IpAddr;

use ebpf_netns::Ifindex;
use plugin_common::abi::{Endpoint, InterfacePolicy};
use plugin_common::packet::{Bytes, parse};
use plugin_common::presets::Presets;

use super::frame::Words;
use super::*;

const HOST: Endpoint = Endpoint {
    v4: [u32::from_ne_bytes([10, 0, 0, 2]), 0, 0, 0],
    v6: [
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        [0; 16],
        [0; 16],
    ],
    mac: [2, 0, 0, 0, 0, 2],
    checked: 1,
};

fn candidate(name: &str) -> Candidate {
    let ifindex = Ifindex::try_from(7).unwrap();
    Candidate {
        name: name.to_owned(),
        network: None,
        host: HostSide { name: "veth7".to_owned(), ifindex, bridge: None },
        state: State::Enforced,
        reason: None,
        endpoint: HOST,
        policy: InterfacePolicy { egress: Presets::DROP_TCP, ..InterfacePolicy::default() },
        ways: Vec::new(),
        own: Vec::new(),
        asked: Vec::new(),
        rules: None,
    }
}

fn subject(interfaces: Vec<Candidate>) -> Subject {
    Subject {
        container: "web".to_owned(),
        interfaces,
        programs: std::collections::BTreeMap::new(),
        maps: PathBuf::new(),
    }
}

fn question(packet: &str) -> Question {
    Question {
        container: "web".to_owned(),
        interface: None,
        direction: None,
        packet: Given::Described(packet.parse().unwrap()),
    }
}

/// What a case says of its packet, and the direction.
fn told(question: &Question) -> Result<(Direction, String), String> {
    let case = case(question, &subject(vec![candidate("eth0")])).map_err(|error| error.reason)?;
    let words = Words(&parse(&Bytes(&case.frame))).to_string();
    assert!(case.on.packet.starts_with(&words), "{}", case.on.packet);
    Ok((case.on.direction, words))
}

#[test]
fn a_packet_in_words_becomes_a_frame_that_reads_back() {
    use Direction::{Egress, Ingress};
    for (text, direction, words) in [
        ("tcp 10.0.0.2:5000 > 1.1.1.1:443", Egress, "tcp 10.0.0.2:5000 > 1.1.1.1:443 SYN"),
        ("tcp container > 1.1.1.1:443", Egress, "tcp 10.0.0.2:49152 > 1.1.1.1:443 SYN"),
        ("6 container > 1.1.1.1:443", Egress, "tcp 10.0.0.2:49152 > 1.1.1.1:443 SYN"),
        ("udp 1.1.1.1:53 > container:5000", Ingress, "udp 1.1.1.1:53 > 10.0.0.2:5000"),
        ("sctp 1.1.1.1 > 10.0.0.2:80", Ingress, "sctp 1.1.1.1:49152 > 10.0.0.2:80"),
        ("icmp container > 1.1.1.1", Egress, "icmp 10.0.0.2 > 1.1.1.1 type 8"),
        ("icmp container > 1.1.1.1 time-exceeded", Egress, "icmp 10.0.0.2 > 1.1.1.1 type 11"),
        ("icmp 2001:db8::1 > container", Ingress, "icmp 2001:db8::1 > fd00::2 type 128"),
        ("icmp fe80::1 > container 2", Ingress, "icmp fe80::1 > fe80::2 type 2"),
        (
            "tcp container > [2001:db8::1]:443",
            Egress,
            "tcp [fd00::2]:49152 > [2001:db8::1]:443 SYN",
        ),
        ("tcp [fd00::2]:5 > [::2]:443", Egress, "tcp [fd00::2]:5 > [::2]:443 SYN"),
        ("47 container > 10.0.0.9", Egress, "47 10.0.0.2 > 10.0.0.9"),
        ("  58   container >   ::9  echo-reply", Egress, "icmp fd00::2 > ::9 type 129"),
    ] {
        assert_eq!(told(&question(text)), Ok((direction, words.to_owned())), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_packet_is_told_with_its_column() {
    for (text, column, words) in [
        ("", 1, &["the end of the packet", "tcp, udp, sctp, icmp"][..]),
        ("tpc container > 1.1.1.1:443", 1, &["\"tpc\"", "tcp"]),
        ("256 container > 1.1.1.1", 1, &["\"256\"", "0 to 255"]),
        ("tcp 10.0.0.256 > 1.1.1.1:443", 5, &["\"10.0.0.256\"", "an address, or container"]),
        ("tcp container 1.1.1.1:443", 15, &["\"1.1.1.1:443\"", "expected >"]),
        ("tcp container", 14, &["the end of the packet", "expected >"]),
        ("tcp container > container:80", 17, &["the other side"]),
        ("tcp 10.0.0.2:1 > [::1]:443", 18, &["same version"]),
        ("tcp container > 1.1.1.1", 17, &["ADDRESS:PORT"]),
        ("tcp container > ::1", 17, &["[ADDRESS]:PORT"]),
        ("tcp container > 1.1.1.1:0", 25, &["\"0\"", "1 to 65535"]),
        ("udp container > [::1]:65536", 23, &["\"65536\"", "1 to 65535"]),
        ("icmp container > 1.1.1.1:7", 26, &["\"7\"", "no port"]),
        ("icmp container > 1.1.1.1 packet-too-big", 26, &["a type of ICMP"]),
        ("tcp container > 1.1.1.1:443 syn", 29, &["\"syn\"", "expected the end"]),
        ("tcp \u{1b}[2J > 1.1.1.1:443", 5, &["\\u{1b}[2J"]),
        (&"x".repeat(257), 1, &["at most 256 bytes"]),
    ] {
        let error = text.parse::<Described>().unwrap_err();
        let shown = format!("{error:#}");
        assert!(shown.starts_with(&format!("column {column}: ")), "{text}: {shown}");
        assert!(words.iter().all(|word| shown.contains(word)), "{words:?}: {shown}");
    }
    let error = "tcp container > 1.1.1.1:0".parse::<Described>().unwrap_err();
    let expected = "column 25: found \"0\", expected a port from 1 to 65535
    tcp container > 1.1.1.1:0
                            ^";
    assert_eq!(format!("{error:#}"), expected);
}

#[test]
fn whose_packet_it_is_follows_from_its_addresses() {
    let error = told(&question("tcp 10.0.0.9:1 > 1.1.1.1:443")).unwrap_err();
    assert!(error.contains("eth0 10.0.0.2 fe80::2 fd00::2"), "{error}");
    assert!(error.contains("--direction"), "{error}");
    let spoofed =
        Question { direction: Some(Direction::Egress), ..question("tcp 10.0.0.9:1 > 1.1.1.1:443") };
    let words = "tcp 10.0.0.9:1 > 1.1.1.1:443 SYN".to_owned();
    assert_eq!(told(&spoofed), Ok((Direction::Egress, words)));
    let error = told(&question("tcp 10.0.0.2:1 > 10.0.0.2:2")).unwrap_err();
    assert!(error.contains("both"), "{error}");
    let own =
        Question { direction: Some(Direction::Ingress), ..question("tcp 10.0.0.2:1 > 10.0.0.2:2") };
    assert!(matches!(told(&own), Ok((Direction::Ingress, _))), "{:?}", told(&own));
}

#[test]
fn an_interface_is_named_where_there_are_several() {
    let two = || subject(vec![candidate("eth0"), candidate("eth1")]);
    let asked = question("tcp container > 1.1.1.1:443");
    let refused = case(&asked, &two()).unwrap_err();
    assert_eq!(refused.kind, RefusedKind::Unclear);
    assert!(refused.reason.contains("eth0, eth1"), "{refused}");
    let named = Question { interface: Some("eth1".to_owned()), ..asked.clone() };
    assert_eq!(case(&named, &two()).unwrap().on.interface, "eth1");
    let unknown = Question { interface: Some("eth2".to_owned()), ..asked };
    let refused = case(&unknown, &two()).unwrap_err();
    assert_eq!(refused.kind, RefusedKind::NotFound);
}

#[test]
fn a_frame_is_the_containers_by_its_mac_address() {
    let described = question("tcp 1.1.1.1:443 > container:5000");
    let frame = case(&described, &subject(vec![candidate("eth0")])).unwrap().frame;
    let of = |frame: Vec<u8>| Question { packet: Given::Frame(frame), ..described.clone() };
    assert!(matches!(told(&of(frame.clone())), Ok((Direction::Ingress, _))));
    let foreign = [&[2, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8], frame.get(12..).unwrap()].concat();
    let error = told(&of(foreign)).unwrap_err();
    assert!(error.contains("02:00:00:00:00:02"), "{error}");
    let long = Question { direction: Some(Direction::Egress), ..of(vec![0; MAX_FRAME + 1]) };
    let error = told(&long).unwrap_err();
    assert!(error.contains("3521"), "{error}");
}

#[test]
fn an_address_that_the_container_lacks_is_told() {
    let endpoint = Endpoint { v6: [[0; 16]; 4], ..HOST };
    let subject = subject(vec![Candidate { endpoint, ..candidate("eth0") }]);
    let mut asked = question("tcp container > [2001:db8::1]:443");
    assert!(case(&asked, &subject).is_err());
    asked.direction = Some(Direction::Egress);
    let refused = case(&asked, &subject).unwrap_err();
    assert!(refused.reason.contains("no address of that version"), "{refused}");
}

#[test]
fn presets_are_layers_with_their_origin() {
    let author = crate::origin::Author::Labels { container: "web".to_owned() };
    let origin = Origin { author, key: "tc.policy".to_owned(), policy: None };
    let asked = |hook, presets| crate::policy::Asked {
        hook,
        presets,
        audit: false,
        origin: origin.clone().into(),
    };
    let asked = vec![
        asked(Hook::Xdp, Presets::DROP_UDP),
        asked(Hook::Egress, Presets::DROP_TCP),
        asked(Hook::Ingress, Presets::DROP_ALL),
    ];
    let subject = subject(vec![Candidate { asked, ..candidate("eth0") }]);
    let case = case(&question("tcp container > 1.1.1.1:443"), &subject).unwrap();
    let said: Vec<(&str, Says)> =
        case.layers.iter().map(|layer| (layer.rule.as_str(), layer.verdict)).collect();
    assert_eq!(said, [("drop-udp", Says::Allow), ("drop-tcp", Says::Deny)]);
}

#[test]
fn a_frame_is_read_from_digits() {
    let frame = of_hex("02:00:00:00:00:01 020000000002\n0806 0001").unwrap();
    assert_eq!(frame, [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1]);
    for (text, words) in [
        ("0g", &["digit 2", "\"g\""][..]),
        ("00é", &["digit 3"]),
        ("000", &["3 hexadecimal digits", "two for each"]),
        ("", &["0 bytes", "15 to 3520"]),
        (&"00".repeat(14), &["14 bytes"]),
        (&"00".repeat(3521), &["3521 bytes"]),
    ] {
        let error = of_hex(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
}

/// A capture in the older format.
fn pcap(link: u32, packets: &[(u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    bytes.extend(link.to_le_bytes());
    for (original, packet) in packets {
        bytes.extend([0; 8]);
        bytes.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
        bytes.extend(original.to_le_bytes());
        bytes.extend(*packet);
    }
    bytes
}

/// A capture in the newer format, of one packet.
fn pcapng(packet: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = u32::try_from(body.len() + padding.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &padding, &length].concat()
    };
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [1, 0, 0, 0, 0xff, 0xff, 0, 0];
    let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
    let enhanced = [&[0; 12][..], &length, &length, packet].concat();
    [block(0x0a0d_0d0a, &section), block(1, &interface), block(6, &enhanced)].concat()
}

#[test]
fn frames_are_read_from_captures() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.pcap");
    let (one, other) = ([1_u8; 20], [2_u8; 60]);
    let read = |bytes: &[u8], most| {
        fs::write(&path, bytes).unwrap();
        of_capture(&path, most).map_err(|error| error.to_string())
    };
    let both = pcap(1, &[(20, &one), (60, &other)]);
    assert_eq!(read(&both, 1), Ok(vec![one.to_vec()]));
    assert_eq!(read(&both, 9), Ok(vec![one.to_vec(), other.to_vec()]));
    assert_eq!(read(&pcapng(&other), 9), Ok(vec![other.to_vec()]));
    for (bytes, words) in [
        (pcap(113, &[(20, &one)]), "link type 113"),
        (pcap(1, &[(21, &one)]), "packet 1 was captured in part"),
        (pcap(1, &[(20, &one), (4, &[0; 4])]), "packet 2 has 4 bytes"),
        (pcap(1, &[]), "no packets"),
        (b"no capture, but long enough for one".to_vec(), "no capture"),
        (Vec::new(), "no capture"),
        (both.get(..50).unwrap().to_vec(), "no capture"),
    ] {
        let error = read(&bytes, 9).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(of_capture(&path, 1).unwrap_err().to_string().starts_with("read "));
}

#[test]
fn questions_and_answers_survive_the_socket() {
    let asked = question("icmp container > 1.1.1.1");
    let back: Question = serde_json::from_slice(&serde_json::to_vec(&asked).unwrap()).unwrap();
    assert_eq!(back, asked);
    let address: IpAddr = "1.1.1.1".parse().unwrap();
    assert!(matches!(back.packet, Given::Described(it) if it.destination.address == Some(address)));
    let case = case(&asked, &subject(vec![candidate("eth0")])).unwrap();
    let answer = Answer::Case(Box::new(case));
    let back: Answer = serde_json::from_slice(&serde_json::to_vec(&answer).unwrap()).unwrap();
    assert_eq!(back, answer);
}

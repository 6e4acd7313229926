//! The parts of a capture that need no kernel: what is told comes through in any pieces, what is written
//! is read by others, and the file is nobody else's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use etherparse::PacketBuilder;
use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator as _};
use pcap_parser::{Block, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};
use plugin_common::abi::Observer;
use plugin_common::capture::Head;
use plugin_common::connection::NO_RULE;
use plugin_common::verdict::Reason;

use super::*;
use crate::capture::stream::{frame, note};

fn head(observer: Observer, reason: Reason) -> Head {
    Head {
        time_ns: 1_000_000_001,
        ifindex: 7,
        observer: observer as u32,
        reason: reason as u32,
        length: 100,
        captured: 5,
        segments: 1,
        rule: NO_RULE,
        audited: NO_RULE,
    }
}

/// As a ring buffer has it.
fn record(head: &Head, bytes: &[u8]) -> Vec<u8> {
    let Head { time_ns, ifindex, observer, reason, length, captured, segments, rule, audited } =
        *head;
    let words = [ifindex, observer, reason, length, captured, segments, rule, audited];
    let words = words.into_iter().flat_map(u32::to_ne_bytes);
    time_ns.to_ne_bytes().into_iter().chain(words).chain(bytes.iter().copied()).collect()
}

fn captured() -> Captured {
    Captured {
        ifindex: 7,
        name: "veth7".to_owned(),
        container: "web".to_owned(),
        interface: "eth0".to_owned(),
        network: Some("lan".to_owned()),
        unseen: vec![Direction::Ingress],
    }
}

fn begun() -> Begun {
    let system = "Linux 6.18".to_owned();
    Begun {
        id: CaptureId(1),
        container: "web".to_owned(),
        ahead_ns: 1_700_000_000_000_000_000,
        system,
    }
}

fn wanted() -> Wanted {
    Wanted { snaplen: 96, ..Wanted::default() }
}

#[test]
fn messages_come_through_in_pieces_of_any_size() {
    let notes = [
        Note::Opening(Opening::Begun(begun())),
        Note::Interfaces(vec![captured()]),
        Note::Rules(RuleTexts::from([(3, "\"allow tcp\" (label tc.egress, line 1)".to_owned())])),
        Note::Lost(12),
        Note::End(End::Failed("why".to_owned())),
    ];
    let sent = head(Observer::Egress, Reason::Denied);
    let mut told = Vec::new();
    for one in &notes {
        note(&mut told, one).unwrap();
        frame(&mut told, &record(&sent, b"frame"));
    }
    for size in [1, 3, 64, told.len()] {
        let mut decoder = Decoder::default();
        let (mut came, mut frames) = (Vec::new(), 0);
        for piece in told.chunks(size) {
            decoder.push(piece);
            while let Some(message) = decoder.message().unwrap() {
                match message {
                    Message::Note(note) => came.push(note),
                    Message::Frame(head, bytes) => {
                        assert_eq!((head, bytes), (sent, b"frame".as_slice()));
                        frames += 1;
                    }
                }
            }
        }
        assert_eq!((came.as_slice(), frames), (notes.as_slice(), notes.len()), "pieces of {size}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for (bytes, what) in [
        (vec![9, 0, 0, 0, 0], "a kind that is not known"),
        (vec![1, 0xff, 0xff, 0xff, 0xff], "a length beyond all"),
        (vec![1, 2, 0, 0, 0, b'{', b'}'], "JSON of something else"),
        (vec![2, 3, 0, 0, 0, 0, 0, 0], "a frame without a head"),
    ] {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.message().expect_err(what);
    }
}

#[test]
fn what_became_of_a_frame_is_said_in_words() {
    let rules = RuleTexts::from([
        (3, "\"deny tcp\" (label tc.egress, line 2)".to_owned()),
        (4, "\"deny udp\" (label tc.egress, line 9)".to_owned()),
    ]);
    let passed = head(Observer::Ingress, Reason::Passed);
    let denied = head(Observer::Egress, Reason::Denied);
    let at_xdp = head(Observer::Xdp, Reason::Tcp);
    let later = Head { reason: 999, ..denied };
    for (head, expected) in [
        (passed, "passed, hook tc ingress"),
        (
            Head { rule: 3, ..denied },
            "dropped, reason denied, hook tc egress, rule \"deny tcp\" (label tc.egress, line 2)",
        ),
        (Head { rule: 77, ..denied }, "dropped, reason denied, hook tc egress"),
        (at_xdp, "dropped, reason drop-tcp, hook xdp egress"),
        (
            Head { audited: 4, segments: 12, ..passed },
            "passed, hook tc ingress, audit: would be dropped by \"deny udp\" (label tc.egress, \
             line 9), 12 packets on the wire",
        ),
        (later, "dropped, reason unknown, hook tc egress"),
    ] {
        assert_eq!(Told { head: &head, rules: &rules }.to_string(), expected);
    }
}

/// The blocks of a capture, each in a line of what matters of it.
fn blocks(file: &[u8]) -> Vec<String> {
    let mut reader = PcapNGReader::new(1 << 16, file).unwrap();
    let mut lines = Vec::new();
    loop {
        let all_read = reader.reader_exhausted();
        match reader.next() {
            Ok((used, PcapBlockOwned::NG(block))) => {
                lines.push(line(&block));
                reader.consume(used);
            }
            Ok(_) => unreachable!("it is no old capture"),
            Err(PcapError::Eof) => return lines,
            Err(PcapError::Incomplete(_)) if !all_read => {
                reader.refill().unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn line(block: &Block<'_>) -> String {
    match block {
        Block::SectionHeader(section) => {
            format!("section {:?} {:?}", section.shb_os(), section.shb_userappl().is_some())
        }
        Block::InterfaceDescription(interface) => {
            let (name, described) = (interface.if_name(), interface.if_description());
            let per_second = interface.ts_resolution();
            format!("interface {name:?} {described:?} {per_second:?} {}", interface.snaplen)
        }
        Block::EnhancedPacket(packet) => {
            let option =
                |code| packet.options.iter().find(|option| option.code == OptionCode(code));
            let comment = option(1).map(|option| option.as_str().unwrap().to_owned());
            let flags = option(2).map(|option| option.as_bytes().unwrap().to_vec());
            let verdict = option(7).map(|option| option.as_bytes().unwrap().to_vec());
            let (seconds, rest) = packet.decode_ts(0, 1_000_000_000);
            format!(
                "packet {} at {seconds}.{rest:09} {:?} of {} {comment:?} {flags:?} {verdict:?}",
                packet.if_id,
                packet.packet_data(),
                packet.origlen
            )
        }
        Block::InterfaceStatistics(end) => {
            format!("end {} {:?} {:?}", end.if_id, end.isb_ifrecv(), end.isb_ifdrop())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_capture_is_read_by_others() {
    let mut file = Vec::new();
    let mut recording = Recording::new(&mut file, &begun(), wanted()).unwrap();
    let said = recording.take(Message::Note(Note::Interfaces(vec![captured()]))).unwrap();
    assert_eq!(said.len(), 2, "which interface, and what is not seen: {said:?}");
    let again = recording.take(Message::Note(Note::Interfaces(vec![captured()]))).unwrap();
    assert_eq!(again, Vec::<String>::new(), "nothing new");
    let rules = RuleTexts::from([(3, "\"deny tcp\"".to_owned())]);
    recording.take(Message::Note(Note::Rules(rules))).unwrap();
    let denied = Head { rule: 3, ..head(Observer::Egress, Reason::Denied) };
    recording.take(Message::Frame(denied, b"frame")).unwrap();
    recording.take(Message::Frame(head(Observer::Ingress, Reason::Passed), b"fram")).unwrap();
    recording.take(Message::Frame(head(Observer::Xdp, Reason::Udp), b"")).unwrap();
    recording.take(Message::Note(Note::Lost(2))).unwrap();
    assert!(!recording.is_complete(), "more may come");
    let summary = recording.finish(1_700_000_002_000_000_000).unwrap();
    assert_eq!(summary, Summary { captured: 3, dropped: 2, filtered: 0, lost: 2 });
    let drop_at_tc = [1, 2, 0, 0, 0, 0, 0, 0, 0];
    let pass_at_tc = [1, 255, 255, 255, 255, 255, 255, 255, 255];
    let drop_at_xdp = [2, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        blocks(&file),
        [
            "section Some(Ok(\"Linux 6.18\")) true".to_owned(),
            "interface Some(Ok(\"veth7\")) Some(Ok(\"container web, eth0, network lan\")) \
             Some(1000000000) 96"
                .to_owned(),
            format!(
                "packet 0 at 1700000001.000000001 [102, 114, 97, 109, 101] of 100 \
                 Some(\"dropped, reason denied, hook tc egress, rule \\\"deny tcp\\\"\") \
                 Some([2, 0, 0, 0]) Some({drop_at_tc:?})"
            ),
            format!(
                "packet 0 at 1700000001.000000001 [102, 114, 97, 109] of 100 \
                 Some(\"passed, hook tc ingress\") Some([1, 0, 0, 0]) Some({pass_at_tc:?})"
            ),
            format!(
                "packet 0 at 1700000001.000000001 [] of 100 \
                 Some(\"dropped, reason drop-udp, hook xdp egress\") Some([2, 0, 0, 0]) \
                 Some({drop_at_xdp:?})"
            ),
            "end 0 Some(Ok(5)) Some(Ok(2))".to_owned(),
        ]
    );
}

#[test]
fn a_capture_is_complete_after_as_many_packets_as_were_asked_for() {
    let mut recording =
        Recording::new(Vec::new(), &begun(), Wanted { most: Some(2), ..wanted() }).unwrap();
    recording.take(Message::Note(Note::Interfaces(vec![captured()]))).unwrap();
    for complete in [false, true, true] {
        recording.take(Message::Frame(head(Observer::Egress, Reason::Passed), b"frame")).unwrap();
        assert_eq!(recording.is_complete(), complete);
    }
    assert_eq!(recording.finish(0).unwrap().captured, 2);
}

#[test]
fn a_frame_of_an_unknown_interface_is_an_error() {
    let mut recording = Recording::new(Vec::new(), &begun(), wanted()).unwrap();
    let frame = Message::Frame(head(Observer::Egress, Reason::Passed), b"frame");
    recording.take(frame).expect_err("nobody told of interface 7");
}

#[test]
fn the_file_is_its_owners_alone_and_replaces_nothing_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    drop(create(&path, Existing::Keep).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "precious").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = create(&path, Existing::Keep).expect_err("it is there");
    assert!(refused.to_string().contains("--force"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    drop(create(&path, Existing::Overwrite).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn links_directories_and_pipes_are_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nowhere"), &dangling).unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&link, &dangling, &pipe, &directory.path().to_owned()] {
        for existing in [Existing::Keep, Existing::Overwrite] {
            create(path, existing).expect_err(&path.display().to_string());
        }
    }
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(!directory.path().join("nowhere").exists(), "nothing is made through a link");
}

#[test]
fn a_filter_looks_at_more_than_is_written() {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut request = Vec::new();
    let builder = builder.ipv4([10, 0, 0, 2], [10, 0, 0, 9], 64).udp(5000, 53);
    builder.write(&mut request, b"a question").unwrap();
    for (filter, snaplen, written) in [
        ("udp dst port 53", 20, 1),
        ("udp dst port 53", 96, 1),
        ("not udp", 96, 0),
        ("host 10.0.0.2 and reason denied", 96, 1),
        ("reason no-rule", 96, 0),
    ] {
        let wanted = Wanted { snaplen, filter: Some(filter.parse().unwrap()), most: None };
        assert!(wanted.to_keep() >= 96, "enough for a filter");
        let mut file = Vec::new();
        let mut recording = Recording::new(&mut file, &begun(), wanted).unwrap();
        recording.take(Message::Note(Note::Interfaces(vec![captured()]))).unwrap();
        let length = u32::try_from(request.len()).unwrap();
        let head = Head { length, captured: length, ..head(Observer::Egress, Reason::Denied) };
        recording.take(Message::Frame(head, &request)).unwrap();
        let summary = recording.finish(0).unwrap();
        let expected =
            Summary { captured: written, dropped: written, filtered: 1 - written, lost: 0 };
        assert_eq!(summary, expected, "{filter}");
        let packets: Vec<String> =
            blocks(&file).into_iter().filter(|block| block.starts_with("packet")).collect();
        let cut = request.get(..usize::try_from(snaplen).unwrap()).unwrap_or(&request);
        assert!(
            packets.iter().all(|packet| packet.contains(&format!("{cut:?} of {length} "))),
            "{packets:?}"
        );
    }
}

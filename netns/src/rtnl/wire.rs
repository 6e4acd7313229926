//! Reads rtnetlink replies from bytes. Pure; takes any bytes and never panics.
//!
//! Attributes that are not needed are stepped over without a look, so that one that is new, odd or
//! chosen by a container cannot hide the rest of its message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::BpfFilter;
use crate::{Ifindex, Link, LinkKind, MacAddress, Nsid, XdpAttachment, XdpMode};

const HEADER_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;

// linux/if.h and linux/socket.h
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_LOWER_UP: u32 = 1 << 16;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_CARRIER: u16 = 33;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_NEW_NETNSID: u16 = 45;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;

// linux/if_addr.h and linux/net_namespace.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_TARGET_NETNSID: u16 = 10;
const NETNSA_NSID: u16 = 1;

// linux/rtnetlink.h and linux/pkt_cls.h
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_TAG: u16 = 10;
const TCA_BPF_ID: u16 = 11;

/// The type bits of an attribute, without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Bytes that do not read as the kernel's interface says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

type Parsed<T> = Result<T, Malformed>;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram, and an error at the end if the rest cannot be read.
pub(crate) struct Datagram<'a>(&'a [u8]);

impl<'a> Datagram<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Datagram<'a> {
    type Item = Parsed<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(message(bytes).inspect(|message| {
            let length = (HEADER_LEN + message.payload.len()).next_multiple_of(4);
            self.0 = bytes.get(length..).unwrap_or_default();
        }))
    }
}

fn message(bytes: &[u8]) -> Parsed<Message<'_>> {
    let length = usize::try_from(u32_at(bytes, 0)?).map_err(|_too_long| Malformed)?;
    Ok(Message {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        sequence: u32_at(bytes, 8)?,
        payload: bytes.get(HEADER_LEN..length).ok_or(Malformed)?,
    })
}

/// The code at the start of an error message or of the end of a dump: zero or a negative errno.
///
/// The end of a dump carries one too: a dump that fails on the way ends with its error there.
pub(crate) fn error_code(payload: &[u8]) -> Parsed<i32> {
    u32_at(payload, 0).map(u32::cast_signed)
}

/// What a link message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkMessageKind {
    /// A link itself.
    Link,
    /// A link's part in something else: bridges tell of their ports in messages that look alike but
    /// hold little, and "remove" one when a link merely leaves the bridge.
    Other,
}

/// A link message, read.
#[derive(Debug)]
pub(crate) struct ParsedLink {
    pub(crate) about: LinkMessageKind,
    pub(crate) link: Link,
    /// `IFLA_TARGET_NETNSID`: the namespace that the kernel says it looked in.
    pub(crate) target: Option<Nsid>,
    /// `IFLA_NEW_NETNSID`: the namespace that it is moved to.
    pub(crate) new_nsid: Option<Nsid>,
    /// `IFLA_NEW_IFINDEX`: its index there.
    pub(crate) new_index: Option<Ifindex>,
}

pub(crate) fn parse_link(payload: &[u8]) -> Parsed<ParsedLink> {
    let flags = u32_at(payload, 8)?;
    let attributes = payload.get(16..).ok_or(Malformed)?;
    let kind = if flags & IFF_LOOPBACK == 0 { LinkKind::Physical } else { LinkKind::Loopback };
    let mut parsed = ParsedLink {
        about: if payload.first() == Some(&AF_UNSPEC) {
            LinkMessageKind::Link
        } else {
            LinkMessageKind::Other
        },
        link: Link {
            index: index(u32_at(payload, 4)?)?,
            name: String::new(),
            kind,
            mac: None,
            peer_index: None,
            peer_nsid: None,
            master: None,
            mtu: 0,
            up: flags & IFF_UP != 0,
            carrier: flags & IFF_LOWER_UP != 0,
            xdp: None,
        },
        target: None,
        new_nsid: None,
        new_index: None,
    };
    for attribute in Attributes::new(attributes) {
        let (kind, value) = attribute?;
        link_attribute(&mut parsed, kind, value)?;
    }
    Ok(parsed)
}

fn link_attribute(parsed: &mut ParsedLink, kind: u16, value: &[u8]) -> Parsed<()> {
    let link = &mut parsed.link;
    match kind {
        IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
        IFLA_IFNAME => link.name = text(value),
        IFLA_MTU => link.mtu = u32_at(value, 0)?,
        // 0 is what a link whose parent is gone or that has none shows.
        IFLA_LINK => link.peer_index = u32_at(value, 0)?.try_into().ok(),
        IFLA_MASTER => link.master = u32_at(value, 0)?.try_into().ok(),
        IFLA_CARRIER => link.carrier = u8_at(value, 0)? != 0,
        IFLA_LINK_NETNSID => link.peer_nsid = nsid(value)?,
        IFLA_TARGET_NETNSID => parsed.target = nsid(value)?,
        IFLA_NEW_NETNSID => parsed.new_nsid = nsid(value)?,
        // 0 is what it has while it is not settled: it keeps the one it has.
        IFLA_NEW_IFINDEX => parsed.new_index = u32_at(value, 0)?.try_into().ok(),
        IFLA_LINKINFO => {
            if let Some(kind) = find(value, IFLA_INFO_KIND)? {
                link.kind = LinkKind::from_kernel(&text(kind));
            }
        }
        IFLA_XDP => link.xdp = xdp(value)?,
        _ => {}
    }
    Ok(())
}

fn xdp(value: &[u8]) -> Parsed<Option<XdpAttachment>> {
    let Some(attached) = find(value, IFLA_XDP_ATTACHED)? else {
        return Ok(None);
    };
    // linux/if_link.h, XDP_ATTACHED_*
    let mode = match u8_at(attached, 0)? {
        1 => XdpMode::Native,
        2 => XdpMode::Generic,
        3 => XdpMode::Offload,
        4 => XdpMode::Multiple,
        _ => return Ok(None),
    };
    for kind in [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID] {
        if let Some(id) = find(value, kind)? {
            return Ok(Some(XdpAttachment { mode, program_id: u32_at(id, 0)? }));
        }
    }
    Ok(None)
}

/// An address message, read.
#[derive(Debug)]
pub(crate) struct ParsedAddress {
    pub(crate) family: u8,
    pub(crate) target: Option<Nsid>,
    /// `None` for an address that is not IP.
    pub(crate) entry: Option<(Ifindex, IpAddr, u8)>,
}

pub(crate) fn parse_address(payload: &[u8]) -> Parsed<ParsedAddress> {
    let family = u8_at(payload, 0)?;
    let prefix = u8_at(payload, 1)?;
    let index = index(u32_at(payload, 4)?)?;
    let (mut target, mut address, mut local) = (None, None, None);
    for attribute in Attributes::new(payload.get(8..).ok_or(Malformed)?) {
        let (kind, value) = attribute?;
        match kind {
            IFA_ADDRESS => address = ip(family, value),
            IFA_LOCAL => local = ip(family, value),
            IFA_TARGET_NETNSID => target = nsid(value)?,
            _ => {}
        }
    }
    // On a point-to-point link the one is the other end's and the other our own.
    let entry = local.or(address).map(|ip| (index, ip, prefix));
    Ok(ParsedAddress { family, target, entry })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(|b| Ipv4Addr::from(b).into()),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

/// The id in a reply to `RTM_GETNSID`; negative means that there is none.
pub(crate) fn parse_nsid(payload: &[u8]) -> Parsed<i32> {
    let attributes = payload.get(4..).ok_or(Malformed)?;
    let value = find(attributes, NETNSA_NSID)?.ok_or(Malformed)?;
    u32_at(value, 0).map(u32::cast_signed)
}

/// The link that a message about a qdisc or filter is about; `None` if it is about a block of them.
pub(crate) fn parse_filter_link(payload: &[u8]) -> Parsed<Option<Ifindex>> {
    // linux/rtnetlink.h
    const TCM_IFINDEX_MAGIC_BLOCK: u32 = u32::MAX;
    match u32_at(payload, 4)? {
        TCM_IFINDEX_MAGIC_BLOCK => Ok(None),
        raw => index(raw).map(Some),
    }
}

/// The eBPF program of a traffic control filter; `None` for a filter that is something else.
pub(crate) fn parse_bpf_filter(payload: &[u8]) -> Parsed<Option<BpfFilter>> {
    let attributes = payload.get(20..).ok_or(Malformed)?;
    if find(attributes, TCA_KIND)?.map(text).as_deref() != Some("bpf") {
        return Ok(None);
    }
    let options = find(attributes, TCA_OPTIONS)?.unwrap_or_default();
    // The first message of each priority tells of no program, and classic BPF has no id.
    let Some(id) = find(options, TCA_BPF_ID)? else {
        return Ok(None);
    };
    let info = u32_at(payload, 16)?;
    Ok(Some(BpfFilter {
        handle: u32_at(payload, 8)?,
        // The lower half is the protocol.
        priority: (info >> 16) as u16,
        program_id: u32_at(id, 0)?,
        name: find(options, TCA_BPF_NAME)?.map(text).unwrap_or_default(),
        tag: find(options, TCA_BPF_TAG)?.map(hex),
    }))
}

/// The number of a chain of filters; `None` for the one that needs none.
pub(crate) fn parse_chain(payload: &[u8]) -> Parsed<Option<u32>> {
    let attributes = payload.get(20..).ok_or(Malformed)?;
    find(attributes, TCA_CHAIN)?.map(|number| u32_at(number, 0)).transpose()
}

/// Which kind of traffic control filter it is; `None` where that is not told.
pub(crate) fn parse_filter_kind(payload: &[u8]) -> Parsed<Option<String>> {
    let attributes = payload.get(20..).ok_or(Malformed)?;
    Ok(find(attributes, TCA_KIND)?.map(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn index(raw: u32) -> Parsed<Ifindex> {
    raw.try_into().map_err(|_invalid| Malformed)
}

fn nsid(value: &[u8]) -> Parsed<Option<Nsid>> {
    u32_at(value, 0).map(|raw| Nsid::new(raw.cast_signed()))
}

fn find(attributes: &[u8], wanted: u16) -> Parsed<Option<&[u8]>> {
    for attribute in Attributes::new(attributes) {
        let (kind, value) = attribute?;
        if kind == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Text that ends at its NUL; bytes that are not UTF-8 are replaced.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// Type and value of each attribute, and an error at the end if the rest cannot be read.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Parsed<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(attribute(bytes).inspect(|(_kind, value)| {
            let length = (ATTRIBUTE_LEN + value.len()).next_multiple_of(4);
            self.0 = bytes.get(length..).unwrap_or_default();
        }))
    }
}

fn attribute(bytes: &[u8]) -> Parsed<(u16, &[u8])> {
    let length = usize::from(u16_at(bytes, 0)?);
    let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
    Ok((kind, bytes.get(ATTRIBUTE_LEN..length).ok_or(Malformed)?))
}

fn u8_at(bytes: &[u8], at: usize) -> Parsed<u8> {
    bytes.get(at).copied().ok_or(Malformed)
}

fn u16_at(bytes: &[u8], at: usize) -> Parsed<u16> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    Ok(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Parsed<u32> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    Ok(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link_message(family: u8, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![family, 0, 1, 0];
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attributes.concat());
        bytes
    }

    fn veth() -> Vec<u8> {
        let info = encode(IFLA_INFO_KIND, b"veth\0");
        let xdp = [encode(IFLA_XDP_ATTACHED, &[1]), encode(IFLA_XDP_PROG_ID, &[9, 0, 0, 0])];
        link_message(
            AF_UNSPEC,
            IFF_UP,
            &[
                encode(IFLA_IFNAME, b"eth0\0"),
                encode(IFLA_ADDRESS, &[2, 0x42, 0xac, 0x11, 0, 2]),
                encode(IFLA_MTU, &1500_u32.to_ne_bytes()),
                encode(IFLA_LINK, &8_u32.to_ne_bytes()),
                encode(IFLA_LINK_NETNSID, &3_u32.to_ne_bytes()),
                encode(IFLA_TARGET_NETNSID, &0_u32.to_ne_bytes()),
                encode(IFLA_LINKINFO | 0x8000, &info),
                encode(IFLA_CARRIER, &[1]),
                encode(IFLA_XDP | 0x8000, &xdp.concat()),
                encode(999, b"from the future"),
            ],
        )
    }

    #[test]
    fn a_veth_is_read_whole() {
        let parsed = parse_link(&veth()).unwrap();
        let expected = Link {
            index: 7.try_into().unwrap(),
            name: "eth0".into(),
            kind: LinkKind::Veth,
            mac: Some(MacAddress([2, 0x42, 0xac, 0x11, 0, 2])),
            peer_index: Some(8.try_into().unwrap()),
            peer_nsid: Nsid::new(3),
            master: None,
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: Some(XdpAttachment { mode: XdpMode::Native, program_id: 9 }),
        };
        assert_eq!(parsed.link, expected);
        assert_eq!(parsed.target, Nsid::new(0));
    }

    /// A container that gives its interface such a name must not make it disappear.
    #[test]
    fn a_name_that_is_not_utf8_does_not_hide_the_link() {
        let name = encode(IFLA_IFNAME, b"e\xff\xfe0\0");
        let parsed = parse_link(&link_message(AF_UNSPEC, 0, &[name])).unwrap();
        assert_eq!(parsed.link.name, "e\u{fffd}\u{fffd}0");
    }

    #[test]
    fn a_bridge_port_message_is_not_about_the_link() {
        let parsed = parse_link(&link_message(7, 0, &[])).unwrap();
        assert_eq!(parsed.about, LinkMessageKind::Other);
    }

    #[test]
    fn cut_or_garbled_bytes_are_refused_and_never_panic() {
        let whole = veth();
        for length in 0..whole.len() {
            // Cutting between two attributes leaves a message that is shorter but whole.
            let _shorter_or_refused = parse_link(&whole[..length]);
            assert!(length >= 16 || parse_link(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
                let mut garbled = whole.clone();
                garbled[at] = value;
                let _read_or_refused = parse_link(&garbled);
                let _read_or_refused = parse_address(&garbled);
                let _read_or_refused = parse_nsid(&garbled);
                let _read_or_refused = parse_bpf_filter(&garbled);
                let _read_or_refused = parse_chain(&garbled);
                let _read_or_refused = parse_filter_kind(&garbled);
                let messages = Datagram::new(&garbled).count();
                assert!(messages <= garbled.len(), "an iterator must end");
            }
        }
    }

    #[test]
    fn own_end_of_a_point_to_point_address_wins() {
        let mut bytes = vec![AF_INET, 24, 0, 0];
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(encode(IFA_ADDRESS, &[10, 0, 0, 1]));
        bytes.extend(encode(IFA_LOCAL, &[10, 0, 0, 2]));
        let entry = parse_address(&bytes).unwrap().entry.unwrap();
        assert_eq!(entry, (7.try_into().unwrap(), Ipv4Addr::new(10, 0, 0, 2).into(), 24));
    }

    #[test]
    fn unassigned_nsid_is_negative() {
        let reply = |id: i32| [vec![0; 4], encode(NETNSA_NSID, &id.to_ne_bytes())].concat();
        assert_eq!(parse_nsid(&reply(-1)), Ok(-1));
        assert_eq!(parse_nsid(&reply(5)), Ok(5));
        assert_eq!(parse_nsid(&[0; 4]), Err(Malformed));
    }

    #[test]
    fn only_a_bpf_filter_with_a_program_counts() {
        let filter = |kind: &[u8], options: &[Vec<u8>]| {
            let kind = encode(TCA_KIND, kind);
            let options = encode(TCA_OPTIONS | 0x8000, &options.concat());
            parse_bpf_filter(&[vec![0; 20], kind, options].concat())
        };
        let id = encode(TCA_BPF_ID, &9_u32.to_ne_bytes());
        let options = [encode(TCA_BPF_NAME, b"prog\0"), encode(TCA_BPF_TAG, &[0xab; 8]), id];
        let expected = BpfFilter {
            handle: 0,
            priority: 0,
            program_id: 9,
            name: "prog".into(),
            tag: Some("abababababababab".into()),
        };
        assert_eq!(filter(b"bpf\0", &options), Ok(Some(expected)));
        assert_eq!(filter(b"bpf\0", &[]), Ok(None));
        assert_eq!(filter(b"flower\0", &options), Ok(None));
        assert_eq!(parse_bpf_filter(&[0; 19]), Err(Malformed));
    }

    #[test]
    fn a_filter_of_another_kind_is_told_by_it() {
        let filter = |attributes: &[u8]| parse_filter_kind(&[&[0; 20], attributes].concat());
        assert_eq!(filter(&encode(TCA_KIND, b"flower\0")), Ok(Some("flower".to_owned())));
        assert_eq!(filter(&[]), Ok(None));
        assert_eq!(parse_filter_kind(&[0; 19]), Err(Malformed));
    }

    #[test]
    fn a_chain_has_a_number_unless_it_is_the_first() {
        let chain = |attributes: &[u8]| parse_chain(&[&[0; 20], attributes].concat());
        assert_eq!(chain(&encode(TCA_CHAIN, &7_u32.to_ne_bytes())), Ok(Some(7)));
        assert_eq!(chain(&[]), Ok(None));
        assert_eq!(chain(&encode(TCA_CHAIN, &[7])), Err(Malformed));
        assert_eq!(parse_chain(&[0; 19]), Err(Malformed));
    }

    #[test]
    fn a_datagram_is_split_into_its_messages() {
        let mut bytes = Vec::new();
        for (kind, payload) in [(16_u16, &b"abcde"[..]), (3, b"")] {
            let length = u32::try_from(HEADER_LEN + payload.len()).unwrap();
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([2, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let messages: Vec<_> = Datagram::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].kind, messages[0].payload), (16, &b"abcde"[..]));
        assert_eq!((messages[1].kind, messages[1].sequence), (3, 9));
        assert_eq!(Datagram::new(&bytes[..10]).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}

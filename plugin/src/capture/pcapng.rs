//! Writes a capture in the format of pcapng (draft-ietf-opsawg-pcapng): one section, with an interface
//! for each host-side veth, and beside each frame its direction and what became of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, InterfaceStatisticsBlock, Linktype, OptionCode,
    PcapNGOption, SectionHeaderBlock, ToVec,
};

use super::{Captured, Told};
use crate::rules::Direction;

/// Timestamps are in units of `10^-9` seconds.
const NANOSECONDS: u8 = 9;
/// `epb_flags`, whose lowest bits say inbound (1) or outbound (2).
const FLAGS: OptionCode = OptionCode(2);
/// `epb_verdict`: what a program at TC (1) or XDP (2) returned.
const VERDICT: OptionCode = OptionCode(7);

/// What stands before everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The kernel.
    pub system: String,
    /// What writes it.
    pub program: String,
    /// What it is of.
    pub comment: String,
    /// How many bytes are kept of a frame.
    pub snaplen: u32,
    /// How many nanoseconds the time of day is ahead of the frames' clock.
    pub ahead_ns: u64,
}

/// What there is of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Described {
    /// Its number in the file.
    number: u32,
    /// Frames of it.
    frames: u64,
}

/// Writes blocks.
pub struct Writer<W> {
    out: W,
    section: Section,
    interfaces: BTreeMap<u32, Described>,
}

impl<W: Write> Writer<W> {
    /// Begins with the section.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(mut out: W, section: Section) -> io::Result<Self> {
        let Section { system, program, comment, .. } = &section;
        let block = SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 0,
            minor_version: 0,
            // Not known: it is being written.
            section_len: -1,
            options: vec![
                text(OptionCode::Comment, comment),
                text(OptionCode::ShbOs, system),
                text(OptionCode::ShbUserAppl, program),
            ],
            block_len2: 0,
        };
        write(&mut out, block)?;
        Ok(Self { out, section, interfaces: BTreeMap::new() })
    }

    /// Tells of an interface, unless that was done.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn interface(&mut self, interface: &Captured) -> io::Result<()> {
        if self.interfaces.contains_key(&interface.ifindex) {
            return Ok(());
        }
        let number = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        self.interfaces.insert(interface.ifindex, Described { number, frames: 0 });
        let Captured { name, container, interface, network, .. } = interface;
        let network =
            network.as_ref().map_or(String::new(), |network| format!(", network {network}"));
        let description = format!("container {container}, {interface}{network}");
        let block = InterfaceDescriptionBlock {
            block_type: 0,
            block_len1: 0,
            linktype: Linktype::ETHERNET,
            reserved: 0,
            snaplen: self.section.snaplen,
            options: vec![
                text(OptionCode::IfName, name),
                text(OptionCode::IfDescription, &description),
                text(OptionCode::IfOs, &self.section.system),
            ],
            block_len2: 0,
            if_tsresol: NANOSECONDS,
            if_tsoffset: 0,
        };
        write(&mut self.out, block)
    }

    /// Writes a frame. One of an interface that was not told of is an error.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn frame(&mut self, told: &Told<'_>, frame: &[u8]) -> io::Result<()> {
        let head = told.head;
        let described = self.interfaces.get_mut(&head.ifindex).ok_or_else(|| {
            io::Error::other(format!("a frame of interface {}, which is not known", head.ifindex))
        })?;
        described.frames += 1;
        let (ts_high, ts_low) = time(self.section.ahead_ns.wrapping_add(head.time_ns));
        let block = EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: described.number,
            ts_high,
            ts_low,
            caplen: u32::try_from(frame.len()).map_err(io::Error::other)?,
            origlen: head.length,
            data: frame,
            options: vec![
                text(OptionCode::Comment, &told.to_string()),
                bytes(FLAGS, &flags(told.direction()).to_le_bytes()),
                bytes(VERDICT, &verdict(told)),
            ],
            block_len2: 0,
        };
        write(&mut self.out, block)
    }

    /// Hands on what was written so far.
    ///
    /// # Errors
    ///
    /// When it cannot be.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends with how many frames there were and how many were lost, as far as it is known of which
    /// interface; gives back what was written to.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(mut self, lost: u64, now_ns: u64) -> io::Result<W> {
        let (ts_high, ts_low) = time(now_ns);
        let is_alone = self.interfaces.len() == 1;
        for Described { number, frames } in self.interfaces.values() {
            let received = frames.saturating_add(if is_alone { lost } else { 0 });
            let mut options = vec![bytes(OptionCode::IsbIfRecv, &received.to_le_bytes())];
            if is_alone {
                options.push(bytes(OptionCode::IsbIfDrop, &lost.to_le_bytes()));
            }
            let block = InterfaceStatisticsBlock {
                block_type: 0,
                block_len1: 0,
                if_id: *number,
                ts_high,
                ts_low,
                options,
                block_len2: 0,
            };
            write(&mut self.out, block)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn write(out: &mut impl Write, mut block: impl ToVec) -> io::Result<()> {
    out.write_all(&block.to_vec().map_err(io::Error::other)?)
}

/// The halves of a time in nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "they are halves")]
const fn time(ns: u64) -> (u32, u32) {
    ((ns >> 32) as u32, ns as u32)
}

/// By the container's direction, as it would be captured in the container.
const fn flags(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => 1,
        Direction::Egress => 2,
    }
}

/// What the program returned.
fn verdict(told: &Told<'_>) -> Vec<u8> {
    const XDP: u8 = 2;
    const TC: u8 = 1;
    let (at, returned): (u8, i64) = match (told.is_at_xdp(), told.passed()) {
        (true, true) => (XDP, 2),
        (true, false) => (XDP, 1),
        (false, true) => (TC, -1),
        (false, false) => (TC, 2),
    };
    let returned = returned.to_le_bytes();
    [at].into_iter().chain(returned).collect()
}

fn text<'a>(code: OptionCode, text: &str) -> PcapNGOption<'a> {
    /// Room for the comments of a frame, and for what an option's length can say.
    const LONGEST: usize = 4096;
    bytes(code, text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text).as_bytes())
}

fn bytes<'a>(code: OptionCode, value: &[u8]) -> PcapNGOption<'a> {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    PcapNGOption { code, len, value: Cow::Owned(value.to_vec()) }
}

//! Frames as they were seen: in hexadecimal digits, or in a capture of tcpdump or Wireshark.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ebpf_netns::text::printable_up_to;
use ebpf_netns::{ErrorClass, exit};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::{MAX_FRAME, MIN_FRAME};

/// Bytes that are read of a capture at once: a block has to fit.
const BUFFER: usize = 1 << 18;

/// What was given is no frame that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not hexadecimal digits.
    #[error(
        "digit {position}: found \"{}\", expected hexadecimal digits",
        printable_up_to(found, 10)
    )]
    NoDigit {
        /// Which character, without spaces and colons; 1 is the first.
        position: usize,
        /// What it is.
        found: String,
    },
    /// A byte is cut in half.
    #[error("{digits} hexadecimal digits, expected two for each byte")]
    Odd {
        /// How many.
        digits: usize,
    },
    /// The kernel takes no such frame.
    #[error(
        "{what} has {length} bytes, expected a frame from its Ethernet header on, of {MIN_FRAME} to \
         {MAX_FRAME} bytes, which is what the kernel runs a program on"
    )]
    Length {
        /// Which frame.
        what: String,
        /// Its length.
        length: usize,
    },
    /// A packet was captured in part.
    #[error("packet {number} was captured in part: capture with a larger snapshot length")]
    Cut {
        /// Which; 1 is the first.
        number: usize,
    },
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no capture.
    #[error("{} is no capture in the format of pcap or pcapng: {why}", path.display())]
    NoCapture {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was not captured on Ethernet.
    #[error(
        "{}: packets of link type {link}, expected Ethernet (1): capture on the veth or in the \
         container, and not on \"any\"",
        path.display()
    )]
    NotEthernet {
        /// The file.
        path: PathBuf,
        /// The number of the type.
        link: i32,
    },
    /// There is nothing in it.
    #[error("{} has no packets", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl CaptureError {
    /// The exit code that a command ends with because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoDigit { .. } | Self::Odd { .. } => exit::USAGE,
            Self::Read { source, .. } => exit::of_class(ErrorClass::of_io(source)),
            Self::Length { .. }
            | Self::Cut { .. }
            | Self::NoCapture { .. }
            | Self::NotEthernet { .. }
            | Self::Empty { .. } => exit::BAD_DATA,
        }
    }
}

/// Reads a frame in hexadecimal digits. Spaces and colons may stand between bytes.
///
/// # Errors
///
/// When it is none.
pub fn of_hex(text: &str) -> Result<Vec<u8>, CaptureError> {
    let digits = text.chars().filter(|c| !c.is_whitespace() && *c != ':');
    let digits: Vec<char> = digits.collect();
    let mut values = Vec::with_capacity(digits.len());
    for (position, digit) in (1..).zip(&digits) {
        let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
        let found = || digit.to_string();
        values.push(value.ok_or_else(|| CaptureError::NoDigit { position, found: found() })?);
    }
    let (bytes, []) = values.as_chunks::<2>() else {
        return Err(CaptureError::Odd { digits: digits.len() });
    };
    let frame: Vec<u8> = bytes.iter().map(|[high, low]| high << 4 | low).collect();
    check_length("the frame", &frame)?;
    Ok(frame)
}

/// Reads the first `most` packets of a capture.
///
/// # Errors
///
/// When it cannot be read, is none, or has other packets than whole ones of Ethernet.
pub fn of_capture(path: &Path, most: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let read = |source| CaptureError::Read { path: path.to_owned(), source };
    let none = |why: String| CaptureError::NoCapture { path: path.to_owned(), why };
    let file = File::open(path).map_err(read)?;
    let mut reader = create_reader(BUFFER, file).map_err(|error| none(error.to_string()))?;
    let mut links = Vec::new();
    let mut frames = Vec::new();
    while frames.len() < most {
        let all_read = reader.reader_exhausted();
        let used = match reader.next() {
            Ok((used, block)) => {
                if let Some((link, length, data)) = packet(&block, &mut links) {
                    if link != Linktype::ETHERNET {
                        let Linktype(link) = link;
                        return Err(CaptureError::NotEthernet { path: path.to_owned(), link });
                    }
                    let number = frames.len() + 1;
                    let frame = data.get(..length).ok_or(CaptureError::Cut { number })?;
                    check_length(&format!("packet {number}"), frame)?;
                    frames.push(frame.to_vec());
                }
                used
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) if !all_read => {
                let before = reader.data().len();
                reader.refill().map_err(|error| none(error.to_string()))?;
                if reader.data().len() == before && !reader.reader_exhausted() {
                    return Err(none(format!("a block of it is longer than {BUFFER} bytes")));
                }
                continue;
            }
            Err(error) => return Err(none(error.to_string())),
        };
        reader.consume(used);
    }
    if frames.is_empty() { Err(CaptureError::Empty { path: path.to_owned() }) } else { Ok(frames) }
}

/// The packet of a block, with its link type and the length that it had on the wire; `None` if the
/// block is something else. `links` are the types of the interfaces that were told so far.
fn packet<'a>(
    block: &'a PcapBlockOwned<'_>,
    links: &mut Vec<Linktype>,
) -> Option<(Linktype, usize, &'a [u8])> {
    let link = |links: &[Linktype], interface: usize| links.get(interface).copied();
    let (interface, length, data) = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            links.push(header.network);
            return None;
        }
        PcapBlockOwned::Legacy(packet) => (0, packet.origlen, packet.data),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            links.clear();
            return None;
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            links.push(interface.linktype);
            return None;
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            (usize::try_from(packet.if_id).ok()?, packet.origlen, packet.packet_data())
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            (0, packet.origlen, packet.packet_data())
        }
        PcapBlockOwned::NG(_) => return None,
    };
    Some((link(links, interface)?, usize::try_from(length).ok()?, data))
}

fn check_length(what: &str, frame: &[u8]) -> Result<(), CaptureError> {
    if (MIN_FRAME..=MAX_FRAME).contains(&frame.len()) {
        return Ok(());
    }
    Err(CaptureError::Length { what: what.to_owned(), length: frame.len() })
}

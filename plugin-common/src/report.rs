//! What the programs report of packets, and how much of it.
//!
//! Two may want to know of a packet: the daemon's log, by the preset `log` or a rule that says `log`,
//! and whoever watches the interface. Each has a rate of its own, so that nobody's listening changes
//! what is in the log.

use crate::verdict::Reason;

/// For the daemon's log.
pub const FOR_LOG: u16 = 1 << 0;
/// For whoever watches.
pub const FOR_WATCH: u16 = 1 << 1;

/// Records that are written for whoever watches in one [`WATCH_WINDOW_NS`], for each interface,
/// program, reason and CPU.
pub const WATCH_BURST: u64 = 100;
/// Length of the window that [`WATCH_BURST`] counts in, in nanoseconds.
pub const WATCH_WINDOW_NS: u64 = 100_000_000;

/// What is told of one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRecord {
    /// When it was judged, in nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// The interface that the program is attached to.
    pub ifindex: u32,
    /// An [`Observer`](crate::abi::Observer) as a number.
    pub observer: u32,
    /// A [`Reason`] as a number: what became of the packet.
    pub reason: u32,
    /// The place of the counter of the rule that decided;
    /// [`NO_RULE`](crate::connection::NO_RULE) if none did.
    pub rule: u32,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// For whom it is: [`FOR_LOG`], [`FOR_WATCH`], or both.
    pub wanted: u16,
    /// The flags of TCP; else 0.
    pub tcp_flags: u16,
    /// `EtherType` behind any VLAN tags; 0 when the frame could not be read.
    pub ethertype: u16,
    /// 4, 6, or 0 for what is not IP.
    pub ip_version: u8,
    /// IP protocol number behind any extension headers.
    pub protocol: u8,
    /// Source port; for ICMP the type.
    pub source_port: u16,
    /// Destination port; for ICMP the code.
    pub destination_port: u16,
    /// Source address in network byte order; IPv4 takes the first four bytes.
    pub source: [u8; 16],
    /// Destination address, as `source`.
    pub destination: [u8; 16],
}

const _: () = assert!(size_of::<PacketRecord>() == PacketRecord::BYTES);

impl PacketRecord {
    /// Its size in bytes.
    pub const BYTES: usize = 72;

    /// Reads a record as the ring buffer holds it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let u32 = |at| u32::from_ne_bytes(part(bytes, at));
        let u16 = |at| u16::from_ne_bytes(part(bytes, at));
        let [ip_version, protocol] = part(bytes, 34);
        Self {
            time_ns: u64::from_ne_bytes(part(bytes, 0)),
            ifindex: u32(8),
            observer: u32(12),
            reason: u32(16),
            rule: u32(20),
            length: u32(24),
            wanted: u16(28),
            tcp_flags: u16(30),
            ethertype: u16(32),
            ip_version,
            protocol,
            source_port: u16(36),
            destination_port: u16(38),
            source: part(bytes, 40),
            destination: part(bytes, 56),
        }
    }

    /// What became of the packet; `None` for a reason that a newer version knows.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| *reason as u32 == self.reason)
    }
}

/// So many bytes from there on; zeros behind the end.
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Key of [`PACES_MAP`](crate::abi::PACES_MAP).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceKey {
    /// The interface.
    pub ifindex: u32,
    /// An [`Observer`](crate::abi::Observer) as a number.
    pub observer: u32,
    /// A [`Reason`] as a number.
    pub reason: u32,
}

const _: () = assert!(size_of::<PaceKey>() == 12);

/// How much was told of late to whoever watches, on one CPU: value of
/// [`PACES_MAP`](crate::abi::PACES_MAP).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Start of the current window, in nanoseconds of the monotonic clock.
    pub window_ns: u64,
    /// Records written in that window.
    pub in_window: u64,
    /// Packets that were not reported: over the rate, or because the ring buffer was full.
    pub suppressed: u64,
}

const _: () = assert!(size_of::<Pace>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_lies_in_memory() {
        let record = PacketRecord {
            time_ns: 0x0102_0304_0506_0708,
            ifindex: 7,
            observer: 2,
            reason: Reason::Denied as u32,
            rule: 9,
            length: 74,
            wanted: FOR_LOG | FOR_WATCH,
            ethertype: 0x86dd,
            ip_version: 6,
            protocol: 17,
            source_port: 4000,
            destination_port: 53,
            source: [1; 16],
            destination: [2; 16],
            tcp_flags: 18,
        };
        let mut bytes = [0; PacketRecord::BYTES];
        let mut write = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        write(core::mem::offset_of!(PacketRecord, time_ns), &record.time_ns.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, ifindex), &record.ifindex.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, observer), &record.observer.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, reason), &record.reason.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, rule), &record.rule.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, length), &record.length.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, wanted), &record.wanted.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, ethertype), &record.ethertype.to_ne_bytes());
        write(core::mem::offset_of!(PacketRecord, ip_version), &[record.ip_version]);
        write(core::mem::offset_of!(PacketRecord, protocol), &[record.protocol]);
        let ports = [record.source_port.to_ne_bytes(), record.destination_port.to_ne_bytes()];
        write(core::mem::offset_of!(PacketRecord, source_port), &ports.concat());
        write(core::mem::offset_of!(PacketRecord, source), &record.source);
        write(core::mem::offset_of!(PacketRecord, destination), &record.destination);
        write(core::mem::offset_of!(PacketRecord, tcp_flags), &record.tcp_flags.to_ne_bytes());
        assert_eq!(PacketRecord::from_bytes(&bytes), record);
        assert_eq!(record.reason(), Some(Reason::Denied));
        assert_eq!(PacketRecord { reason: 1000, ..record }.reason(), None);
    }
}

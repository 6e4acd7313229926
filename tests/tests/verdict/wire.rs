//! Raw Ethernet in this network namespace, which must be a test's own.

use std::{
    ffi::c_int,
    fs, io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

const ETH_P_ALL: u16 = 3;

/// A packet socket on an interface.
pub(crate) struct Wire {
    socket: OwnedFd,
}

impl Wire {
    pub(crate) fn open(interface: &str) -> Result<Self> {
        // SAFETY: takes three numbers.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(socket >= 0, "open a packet socket: {}", io::Error::last_os_error());
        // SAFETY: the descriptor was just opened and is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };

        let path = format!("/sys/class/net/{interface}/ifindex");
        let ifindex = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // SAFETY: a plain structure, for which zeros are values.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_protocol = ETH_P_ALL.to_be();
        address.sll_ifindex = ifindex.trim().parse()?;
        let length = libc::socklen_t::try_from(size_of_val(&address))?;
        // SAFETY: the address is one of this family, and has the length that is told.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        ensure!(bound == 0, "bind to {interface}: {}", io::Error::last_os_error());
        Ok(Self { socket })
    }

    /// Sends a frame from a buffer that the kernel copies: all of it is linear.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the buffer is as long as is told.
        let sent =
            unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        ensure!(sent >= 0, "send {frame:02x?}: {}", io::Error::last_os_error());
        Ok(())
    }

    /// The next frame that goes out or comes in.
    pub(crate) fn receive(&self, deadline: Duration) -> Result<Vec<u8>> {
        let timeout = libc::timeval {
            tv_sec: i64::try_from(deadline.as_secs())?,
            tv_usec: i64::from(deadline.subsec_micros()),
        };
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        let mut frame = vec![0; 4096];
        // SAFETY: the buffer is as long as is told.
        let received = unsafe {
            libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0)
        };
        ensure!(received >= 0, "receive a frame: {}", io::Error::last_os_error());
        frame.truncate(usize::try_from(received)?);
        Ok(frame)
    }

    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> Result<()> {
        let length = libc::socklen_t::try_from(size_of_val(value))?;
        let value = ptr::from_ref(value).cast();
        // SAFETY: the value is as long as is told; which type the option takes is the caller's.
        let set =
            unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, option, value, length) };
        ensure!(set == 0, "set option {option}: {}", io::Error::last_os_error());
        Ok(())
    }
}

/// A ring that the kernel sends from without copying: the packet has its Ethernet header in the
/// linear part and all else in the ring's page
/// ([`tpacket_fill_skb`](https://elixir.bootlin.com/linux/v6.12/source/net/packet/af_packet.c#L2549)).
pub(crate) struct Ring {
    wire: Wire,
    /// Mapped until the process ends.
    slot: *mut libc::tpacket2_hdr,
}

impl Ring {
    /// One block of one slot: the next frame may be sent when the last one has arrived.
    const BYTES: u32 = 4096;
    /// Where a slot has its frame.
    const DATA: usize = libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>();

    pub(crate) fn open(interface: &str) -> Result<Self> {
        let wire = Wire::open(interface)?;
        let version = c_int::try_from(libc::tpacket_versions::TPACKET_V2 as u32)?;
        wire.set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let request = libc::tpacket_req {
            tp_block_size: Self::BYTES,
            tp_block_nr: 1,
            tp_frame_size: Self::BYTES,
            tp_frame_nr: 1,
        };
        wire.set(libc::SOL_PACKET, libc::PACKET_TX_RING, &request)?;
        let (access, length) = (libc::PROT_READ | libc::PROT_WRITE, usize::try_from(Self::BYTES)?);
        let descriptor = wire.socket.as_raw_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let slot =
            unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, descriptor, 0) };
        ensure!(slot != libc::MAP_FAILED, "map the ring: {}", io::Error::last_os_error());
        Ok(Self { wire, slot: slot.cast() })
    }

    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<()> {
        ensure!(Self::DATA + frame.len() <= usize::try_from(Self::BYTES)?, "too long for a slot");
        // SAFETY: a plain structure, for which zeros are values.
        let mut header: libc::tpacket2_hdr = unsafe { mem::zeroed() };
        header.tp_status = libc::TP_STATUS_SEND_REQUEST;
        header.tp_len = u32::try_from(frame.len())?;
        // SAFETY: a slot has room for a header and, as just checked, for the frame behind it.
        let data = unsafe { self.slot.byte_add(Self::DATA) };
        // SAFETY: as above; the frame lies elsewhere.
        unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), data.cast(), frame.len()) };
        // SAFETY: a slot begins with a header, and the first one with the page; the kernel looks
        // at it when asked to send, which is below.
        unsafe { self.slot.write_volatile(header) };
        self.wire.send(&[]).context("send from the ring")
    }
}

//! Senders: from their first instruction on, on every interface there is.

use std::{
    collections::BTreeMap,
    fs,
    io::IoSlice,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, sendmmsg, sendto,
        socket,
    },
};

use super::{EARLY, Frame, Kind};
use crate::wait::Pacer;

/// Frames of one call of `sendmmsg`.
const BATCH: usize = 64;
/// How often a flood tells how much it has sent.
const TOLD: Duration = Duration::from_millis(100);

/// Sends one frame of each kind on each interface in each period, until killed. Interfaces that
/// come later are sent on from then on.
///
/// What is sent before an interface is operational is of the run [`EARLY`].
///
/// # Errors
///
/// When there can be no packet socket.
pub fn send(sender: u32, period: Duration) -> Result<()> {
    let (socket, run) = (packet_socket()?, run_number()?);
    let mut numbers: BTreeMap<(usize, u64, Kind), u64> = BTreeMap::new();
    let mut pacer = Pacer::every(period);
    loop {
        for (link, operational) in links() {
            let run = if operational { run } else { EARLY };
            for kind in Kind::ALL {
                let number = numbers.entry((link.ifindex(), run, kind)).or_default();
                let interface = u32::try_from(link.ifindex())?;
                let frame = Frame { sender, run, interface, kind, number: *number }.bytes();
                // An interface that is down or on its way out takes none: then it was not sent.
                if sendto(socket.as_raw_fd(), &frame, &link, MsgFlags::empty()).is_ok() {
                    *number += 1;
                }
            }
        }
        pacer.tick();
    }
}

/// Sends frames of one kind on the first interface as fast as the kernel takes them, until killed;
/// `told` always holds their number. They are all numbered 0.
///
/// # Errors
///
/// When there can be no packet socket, or the number cannot be told.
pub fn flood(sender: u32, kind: Kind, told: &Path) -> Result<()> {
    let (socket, run) = (packet_socket()?, run_number()?);
    let mut sent = 0_u64;
    loop {
        let Some((link, _)) = links().into_iter().next() else { continue };
        let interface = u32::try_from(link.ifindex())?;
        let bytes = Frame { sender, run, interface, kind, number: 0 }.bytes();
        let slices = [[IoSlice::new(&bytes)]; BATCH];
        let addresses = [Some(link); BATCH];
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
        let start = Instant::now();
        while start.elapsed() < TOLD {
            let flags = MsgFlags::empty();
            let taken = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, addresses, [], flags);
            match taken {
                Ok(results) => sent += u64::try_from(results.count())?,
                // The interface went down or away: look again.
                Err(_gone) => break,
            }
        }
        write_whole(told, &sent.to_string())?;
    }
}

/// A socket that sends frames as they are, and receives none.
fn packet_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .context("open a packet socket, which takes CAP_NET_RAW")
}

/// Tells this run from any other: the time.
fn run_number() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_nanos())?)
}

/// The interfaces that are up, but for the loopback; and whether they are operational.
fn links() -> Vec<(LinkAddr, bool)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter(|interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    })
    .filter_map(|interface| {
        let operational = interface.flags.contains(InterfaceFlags::IFF_RUNNING);
        Some((*interface.address?.as_link_addr()?, operational))
    })
    .collect()
}

/// Replaces a file, so that a reader sees the old or the new text and nothing between.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("replace {}", path.display()))
}

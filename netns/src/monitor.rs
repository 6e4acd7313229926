//! News of links, and of the filters on them, as the kernel multicasts it.
//!
//! News may be lost when it comes faster than it is read; then the reader is told so and lists
//! again. Nothing here decides anything.

use std::{io, iter};

use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use rustix::{
    io::Errno,
    net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force},
};

use crate::{
    ErrorClass, Ifindex, Link, Nsid,
    rtnl::{Datagram, LinkMessageKind, ParsedLink, parse_filter_link, parse_link},
};

// linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTNLGRP_TC: u32 = 4;
const RTM_DELLINK: u16 = 17;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;

/// Room for some 4,000 messages: a hundred containers that start at once send about 3,000.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// How many datagrams are read at a time at most, so that the caller is not kept waiting.
const BATCH: usize = 256;

/// News of a link of our own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The link is new, or something about it changed; this is how it is now.
    Changed(Box<Link>),
    /// The link is gone.
    Removed(Ifindex),
    /// The link moved to another namespace.
    Moved(Moved),
    /// A filter of the link was removed or replaced, or its qdisc removed, by whomever.
    FiltersChanged(Ifindex),
    /// News was lost: list the links again.
    Overrun,
}

/// Where a link went, that is in our own namespace no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its index in our own namespace.
    pub index: Ifindex,
    /// The other namespace, as our own numbers it.
    pub nsid: Nsid,
    /// Its index there.
    pub new_index: Ifindex,
}

/// Why news of links cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The socket could not be made ready.
    #[error("subscribe to link events")]
    Subscribe(#[source] io::Error),
    /// The socket failed.
    #[error("receive link events")]
    Receive(#[source] io::Error),
}

impl MonitorError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        let (Self::Subscribe(source) | Self::Receive(source)) = self;
        ErrorClass::of_io(source)
    }
}

/// A subscription to news of the links of the namespace in which it was opened.
///
/// Subscribe first and list afterwards: what happens in between is then told twice rather than not.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: TokioSocketDebug,
    /// News was lost, and what is waiting is not all thrown away yet.
    lost: bool,
}

impl LinkMonitor {
    /// Subscribes. Must be called from within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open() -> Result<Self, MonitorError> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            let raw = socket.socket_mut();
            raw.bind(&SocketAddr::new(0, 1 << (RTNLGRP_LINK - 1) | 1 << (RTNLGRP_TC - 1)))?;
            // The first goes beyond the system's limit and needs CAP_NET_ADMIN; the second is cut
            // down to that limit.
            set_socket_recv_buffer_size_force(&*raw, RECEIVE_BUFFER)
                .or_else(|_| set_socket_recv_buffer_size(&*raw, RECEIVE_BUFFER))?;
            Ok(socket)
        };
        let socket = open().map_err(MonitorError::Subscribe)?;
        Ok(Self { socket: TokioSocketDebug(socket), lost: false })
    }

    /// Waits for news and returns what there is, in the order in which it happened. Nothing is lost
    /// when the future is dropped.
    ///
    /// [`LinkEvent::Overrun`] comes alone, and only once all that was waiting is thrown away: until
    /// its queue has been empty once, the kernel drops further news without saying so again, and a
    /// list made before that would miss it.
    ///
    /// # Errors
    ///
    /// When the socket fails; lost news is not an error.
    pub async fn next(&mut self) -> Result<Vec<LinkEvent>, MonitorError> {
        loop {
            let first = if self.lost {
                self.socket.0.socket_ref().recv_from_full()
            } else {
                self.socket.0.recv_from_full().await
            };
            let mut events = Vec::new();
            let drained = self.read_batch(first, &mut events)?;
            self.lost |= events.contains(&LinkEvent::Overrun);
            if self.lost && drained {
                self.lost = false;
                return Ok(vec![LinkEvent::Overrun]);
            }
            if self.lost {
                tokio::task::yield_now().await;
            } else if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Reads what is waiting after `first`, up to a limit; true if nothing is left.
    fn read_batch(
        &self,
        first: io::Result<(Vec<u8>, SocketAddr)>,
        events: &mut Vec<LinkEvent>,
    ) -> Result<bool, MonitorError> {
        let more = iter::repeat_with(|| self.socket.0.socket_ref().recv_from_full());
        for received in iter::once(first).chain(more).take(BATCH) {
            match received {
                Ok((bytes, from)) if from.port_number() == 0 => read(&bytes, events),
                Ok(_) => {}
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(true),
                    Some(Errno::INTR) => {}
                    Some(Errno::NOBUFS) => events.push(LinkEvent::Overrun),
                    _ => return Err(MonitorError::Receive(error)),
                },
            }
        }
        Ok(false)
    }
}

/// Reads a datagram. What cannot be read is news that was lost.
fn read(bytes: &[u8], events: &mut Vec<LinkEvent>) {
    for message in Datagram::new(bytes) {
        let Ok(message) = message else {
            events.push(LinkEvent::Overrun);
            return;
        };
        match message.kind {
            RTM_NEWLINK | RTM_DELLINK => {}
            RTM_DELQDISC | RTM_NEWTFILTER | RTM_DELTFILTER => {
                match parse_filter_link(message.payload) {
                    Ok(Some(index)) => events.push(LinkEvent::FiltersChanged(index)),
                    // Of a block that links share.
                    Ok(None) => {}
                    Err(_malformed) => events.push(LinkEvent::Overrun),
                }
                continue;
            }
            _ => continue,
        }
        match parse_link(message.payload) {
            Err(_malformed) => events.push(LinkEvent::Overrun),
            Ok(parsed) if parsed.about != LinkMessageKind::Link => {}
            Ok(parsed) if message.kind == RTM_DELLINK => {
                events.push(removal(&parsed));
            }
            Ok(parsed) => events.push(LinkEvent::Changed(Box::new(parsed.link))),
        }
    }
}

/// What became of a link that is not in our own namespace any more.
fn removal(parsed: &ParsedLink) -> LinkEvent {
    let index = parsed.link.index;
    match parsed.new_nsid {
        Some(nsid) => {
            let new_index = parsed.new_index.unwrap_or(index);
            LinkEvent::Moved(Moved { index, nsid, new_index })
        }
        None => LinkEvent::Removed(index),
    }
}

/// The socket of netlink-sys has no `Debug`.
struct TokioSocketDebug(TokioSocket);

impl std::fmt::Debug for TokioSocketDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokioSocket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, family: u8) -> Vec<u8> {
        let mut bytes = 32_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([family, 0, 1, 0]);
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    fn events(bytes: &[u8]) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        read(bytes, &mut events);
        events
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_a_link_that_is_gone() {
        let bridge = 7;
        assert_eq!(events(&message(RTM_DELLINK, bridge)), []);
        assert_eq!(events(&message(RTM_NEWLINK, bridge)), []);
        let index = 7.try_into().unwrap();
        assert_eq!(events(&message(RTM_DELLINK, 0)), [LinkEvent::Removed(index)]);
    }

    #[test]
    fn a_link_that_moves_is_told_with_where_it_went() {
        const IFLA_NEW_NETNSID: u16 = 45;
        const IFLA_NEW_IFINDEX: u16 = 49;
        let [index, nsid, new_index] = [7, 3, 9];
        let mut bytes = message(RTM_DELLINK, 0);
        let moved = |bytes: &[u8], new_index: u32| {
            let [index, new_index] = [index, new_index].map(|raw: u32| raw.try_into().unwrap());
            let expected = Moved { index, nsid: Nsid::new(3).unwrap(), new_index };
            assert_eq!(events(bytes), [LinkEvent::Moved(expected)]);
        };
        add(&mut bytes, IFLA_NEW_NETNSID, nsid);
        moved(&bytes, index);
        add(&mut bytes, IFLA_NEW_IFINDEX, new_index);
        moved(&bytes, new_index);
    }

    fn add(message: &mut Vec<u8>, attribute: u16, value: u32) {
        message.extend(8_u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value.to_ne_bytes());
        let length = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&length.to_ne_bytes());
    }

    #[test]
    fn filters_that_change_are_told_with_their_link() {
        for kind in [RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER] {
            let index = 7.try_into().unwrap();
            assert_eq!(events(&message(kind, 0)), [LinkEvent::FiltersChanged(index)]);
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_lost() {
        assert_eq!(events(&[1, 2, 3]), [LinkEvent::Overrun]);
        let mut cut = message(RTM_NEWLINK, 0);
        cut[0] = 20;
        cut.truncate(20);
        assert_eq!(events(&cut), [LinkEvent::Overrun]);
    }

    #[test]
    fn a_subscription_can_be_opened_and_waited_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut monitor = LinkMonitor::open().unwrap();
            let quiet = std::time::Duration::from_millis(1);
            if let Ok(events) = tokio::time::timeout(quiet, monitor.next()).await {
                assert!(!events.unwrap().is_empty(), "next never returns an empty list");
            }
        });
    }
}

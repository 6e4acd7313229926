//! A blocking rtnetlink socket: requests out, raw reply payloads in.
//!
//! Knows the framing of netlink and nothing of links or addresses.

use std::{cell::Cell, io, time::Duration};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NLMSG_OVERRUN, NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use super::{
    error::{Operation, RtnlError},
    wire::{Datagram, Malformed, error_code},
};

/// The kernel answers from within `send`: an answer that is not there never comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a datagram is tried to be read.
const RECEIVE_ATTEMPTS: u32 = 16;

#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    // A `Cell`, so that two threads cannot share the socket and take each other's replies.
    sequence: Cell<u32>,
}

/// What one message of a reply means.
enum Reply {
    Data(Vec<u8>),
    /// The end of a dump, or an acknowledgement.
    End,
}

impl Socket {
    pub(crate) fn open() -> Result<Self, RtnlError> {
        let open = || {
            let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Without it, the kernel ignores what it does not know instead of saying so, and old
            // dumps ignore the target namespace.
            socket.set_netlink_get_strict_chk(true)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| RtnlError::Open { source })?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Asks for one thing and returns the payload of the reply.
    pub(crate) fn get(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<u8>, RtnlError> {
        let sequence = self.send(operation, request, NLM_F_REQUEST)?;
        let mut data = None;
        self.receive(operation, sequence, |reply, _flags| {
            if let Reply::Data(payload) = reply {
                data = Some(payload);
            }
            true
        })?;
        data.ok_or(RtnlError::Malformed { operation, what: "payload" })
    }

    /// Asks for a change and waits for the acknowledgement.
    pub(crate) fn change(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
    ) -> Result<(), RtnlError> {
        self.change_with(operation, request, 0)
    }

    /// As [`Socket::change`], with more flags.
    pub(crate) fn change_with(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), RtnlError> {
        let sequence = self.send(operation, request, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.receive(operation, sequence, |reply, _flags| matches!(reply, Reply::End))
    }

    /// Asks for several changes in one call, and returns what came of each, in order. A change that
    /// is refused does not keep the kernel from the next.
    pub(crate) fn change_all(
        &self,
        requests: &[(Operation, RouteNetlinkMessage, u16)],
    ) -> Result<Vec<Result<(), RtnlError>>, RtnlError> {
        let Some((first, ..)) = requests.first() else { return Ok(Vec::new()) };
        let mut buffer = Vec::new();
        let mut asked = Vec::new();
        for (operation, request, flags) in requests {
            let (bytes, sequence) = self.encode(request, NLM_F_REQUEST | NLM_F_ACK | flags);
            buffer.extend(bytes);
            buffer.resize(buffer.len().next_multiple_of(4), 0);
            asked.push((*operation, sequence));
        }
        retry(|| self.socket.send(&buffer, 0))
            .map_err(|source| RtnlError::Request { operation: *first, source })?;
        let answer = |(operation, sequence)| {
            self.receive(operation, sequence, |reply, _flags| matches!(reply, Reply::End))
        };
        Ok(asked.into_iter().map(answer).collect())
    }

    /// Asks for a list; `None` if it changed while it was read.
    pub(crate) fn dump(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
    ) -> Result<Option<Vec<Vec<u8>>>, RtnlError> {
        let sequence = self.send(operation, request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut payloads = Vec::new();
        let mut interrupted = false;
        self.receive(operation, sequence, |reply, flags| {
            interrupted |= flags & NLM_F_DUMP_INTR != 0;
            match reply {
                Reply::Data(payload) => {
                    payloads.push(payload);
                    false
                }
                Reply::End => true,
            }
        })?;
        Ok((!interrupted).then_some(payloads))
    }

    fn send(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
        flags: u16,
    ) -> Result<u32, RtnlError> {
        let (buffer, sequence) = self.encode(request, flags);
        retry(|| self.socket.send(&buffer, 0))
            .map_err(|source| RtnlError::Request { operation, source })?;
        Ok(sequence)
    }

    /// A request with a number of its own.
    fn encode(&self, request: &RouteNetlinkMessage, flags: u16) -> (Vec<u8>, u32) {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        (buffer, sequence)
    }

    /// Reads one datagram. The kernel reports memory that was short for others too; what it has for
    /// us waits all the same, or the patience of the socket ends.
    fn receive_datagram(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        for _ in 1..RECEIVE_ATTEMPTS {
            match retry(|| self.socket.recv_from_full()) {
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {}
                received => return received,
            }
        }
        retry(|| self.socket.recv_from_full())
    }

    /// Hands each message of the reply to `take` until that returns true.
    fn receive(
        &self,
        operation: Operation,
        sequence: u32,
        mut take: impl FnMut(Reply, u16) -> bool,
    ) -> Result<(), RtnlError> {
        let failed = |source| RtnlError::Request { operation, source };
        let malformed = |what| RtnlError::Malformed { operation, what };
        loop {
            let (bytes, from) = self.receive_datagram().map_err(failed)?;
            if from.port_number() != 0 {
                continue;
            }
            for message in Datagram::new(&bytes) {
                let message = message.map_err(|Malformed| malformed("framing"))?;
                // What is left of an earlier request that failed half way.
                if message.sequence != sequence {
                    continue;
                }
                let reply = match message.kind {
                    NLMSG_NOOP => continue,
                    NLMSG_OVERRUN => return Err(failed(Errno::NOBUFS.into())),
                    NLMSG_DONE | NLMSG_ERROR => {
                        let code = error_code(message.payload)
                            .map_err(|Malformed| malformed("error code"))?;
                        if code != 0 {
                            return Err(failed(io::Error::from_raw_os_error(
                                code.saturating_neg(),
                            )));
                        }
                        Reply::End
                    }
                    _ => Reply::Data(message.payload.to_vec()),
                };
                if take(reply, message.flags) {
                    return Ok(());
                }
            }
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

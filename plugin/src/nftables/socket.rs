//! A blocking socket to `nf_tables`: batches of changes, and questions. Knows of no table.
//!
//! The kernel answers from within `send`, so that nothing here waits for long.

use std::{cell::Cell, convert::Infallible, io};

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, ParseableParametrized as _,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily as Family,
    nftables::{GenAttribute, GenMessage, NfTablesMessage},
    none::ControlMessage,
};
use netlink_sys::{SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::SndBufForce},
};

use super::error::NfError;

/// As much as the kernel puts into one datagram of a list, and more.
const DATAGRAM: usize = 1 << 16;
/// Room for a batch: each of the ports of both of the gate's sets takes 16 bytes.
const BATCH: usize = 1 << 20;
/// `NFNL_SUBSYS_NFTABLES`: what a batch is for.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`, and its attribute `NFNL_BATCH_GENID`.
const BATCH_BEGIN: u8 = 16;
const BATCH_GENERATION: u16 = 1;
/// The bytes of `struct nfgenmsg`.
const NETFILTER_HEADER: usize = 4;
/// How often a list is read again that changed meanwhile.
const ATTEMPTS: u32 = 16;

/// A message of the kernel as it came, but for its header.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    kind: u16,
    payload: Vec<u8>,
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

impl Raw {
    /// The attributes, behind the header of netfilter.
    pub(crate) fn attributes(&self) -> &[u8] {
        self.payload.get(NETFILTER_HEADER..).unwrap_or_default()
    }

    /// What it says, if it is of nftables.
    fn read(&self) -> Result<Option<NfTablesMessage>, NfError> {
        let message = NetfilterMessage::parse_with_param(&self.payload, self.kind)
            .map_err(|source| NfError::Unreadable { source })?;
        Ok(match message.inner {
            NetfilterMessageInner::NfTables(message) => Some(message),
            _ => None,
        })
    }
}

/// One change within a batch.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) family: Family,
    pub(crate) flags: u16,
    pub(crate) message: NfTablesMessage,
}

/// The number of a state of all of nftables: each change makes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    // A `Cell`, so that two threads cannot share the socket and take each other's replies.
    sequence: Cell<u32>,
}

impl Socket {
    pub(crate) fn open() -> Result<Self, NfError> {
        let open = || {
            let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // A batch of all ports does not fit what a socket may send by default. Without the
            // capability for it nothing at all may be changed, and the change says so.
            setsockopt(&socket, SndBufForce, &BATCH).ok();
            // A refusal need not repeat the whole request.
            socket.set_cap_ack(true)?;
            // Whatever is to be had was answered within `send`: an answer that is missing must not
            // be waited for.
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| NfError::Open { source })?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Makes all of these changes, or none. With a generation, none either if nftables is in
    /// another one by now, which is refused with `ERESTART`.
    pub(crate) fn change(
        &self,
        based_on: Option<Generation>,
        commands: Vec<Command>,
    ) -> Result<(), NfError> {
        let begin = match based_on {
            None => ControlMessage::BatchBegin,
            Some(Generation(number)) => ControlMessage::Other {
                message_type: BATCH_BEGIN,
                attributes: vec![DefaultNla::new(BATCH_GENERATION, number.to_be_bytes().into())],
            },
        };
        let mut bytes = Vec::new();
        let first = self.write(&mut bytes, 0, control(begin));
        let count = commands.len();
        for Command { family, flags, message } in commands {
            self.write(&mut bytes, flags | NLM_F_ACK, of(family, message));
        }
        self.write(&mut bytes, 0, control(ControlMessage::BatchEnd));
        self.send(&bytes)?;
        self.acknowledgements(first, count)
    }

    /// The first refusal; none if all `count` commands, which come after the first message, are
    /// acknowledged.
    fn acknowledgements(&self, first: u32, count: usize) -> Result<(), NfError> {
        let mut missing = count;
        let mut refusal = None;
        self.each(|message| {
            let NetlinkPayload::Error(answer) = message.payload else { return true };
            let position = message.header.sequence_number.wrapping_sub(first);
            // What is left of an earlier batch has another number.
            let Some(position) = usize::try_from(position).ok().filter(|at| *at <= count) else {
                return true;
            };
            match answer.code {
                None => missing = missing.saturating_sub(1),
                Some(code) if refusal.is_none() => {
                    let source = io::Error::from_raw_os_error(code.get().saturating_neg());
                    // The first message is no command.
                    refusal = Some(NfError::Refused { command: position.checked_sub(1), source });
                }
                Some(_) => {}
            }
            true
        })?;
        match refusal {
            Some(refusal) => Err(refusal),
            None if missing > 0 => Err(NfError::Unanswered),
            None => Ok(()),
        }
    }

    /// The present generation.
    pub(crate) fn generation(&self) -> Result<Generation, NfError> {
        let question = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        let Some(NfTablesMessage::NewGen(answer)) = self.get(Family::Unspec, question)? else {
            return Err(NfError::Unanswered);
        };
        let id = answer.attributes.iter().find_map(|attribute| match attribute {
            GenAttribute::Id(id) => Some(Generation(*id)),
            _ => None,
        });
        id.ok_or(NfError::Unanswered)
    }

    /// Asks for one thing; `None` if it is not there.
    pub(crate) fn get(
        &self,
        family: Family,
        question: NfTablesMessage,
    ) -> Result<Option<NfTablesMessage>, NfError> {
        match self.ask(0, family, question) {
            Ok(Answer { messages, .. }) => messages.first().map_or(Ok(None), Raw::read),
            Err(refused) if refused.is(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a list, which is empty also if what it is of is not there.
    pub(crate) fn list(
        &self,
        family: Family,
        question: &NfTablesMessage,
    ) -> Result<Vec<NfTablesMessage>, NfError> {
        let raw = self.list_raw(family, question)?;
        raw.iter().filter_map(|message| message.read().transpose()).collect()
    }

    /// As [`Self::list`], unread.
    pub(crate) fn list_raw(
        &self,
        family: Family,
        question: &NfTablesMessage,
    ) -> Result<Vec<Raw>, NfError> {
        for _ in 0..ATTEMPTS {
            match self.ask(NLM_F_DUMP, family, question.clone()) {
                Ok(Answer { interrupted: true, .. }) => {}
                Ok(Answer { messages, .. }) => return Ok(messages),
                Err(refused) if refused.is(Errno::ENOENT) => return Ok(Vec::new()),
                Err(error) if error.is(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NfError::Unsettled)
    }

    fn ask(
        &self,
        flags: u16,
        family: Family,
        question: NfTablesMessage,
    ) -> Result<Answer, NfError> {
        let mut bytes = Vec::new();
        // An acknowledgement ends the answer to a question that is not for a list.
        let number = self.write(&mut bytes, flags | NLM_F_ACK, of(family, question));
        self.send(&bytes)?;
        let mut answer = Answer::default();
        let mut end = None;
        self.each(|message| {
            if message.header.sequence_number != number {
                return true;
            }
            answer.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            let code = match message.payload {
                NetlinkPayload::InnerMessage(message) => {
                    answer.messages.push(message);
                    return true;
                }
                NetlinkPayload::Done(done) => done.code,
                NetlinkPayload::Error(error) => error.code.map_or(0, std::num::NonZero::get),
                _ => return true,
            };
            end = Some(code);
            false
        })?;
        match end {
            Some(0) => Ok(answer),
            Some(code) => {
                let source = io::Error::from_raw_os_error(code.saturating_neg());
                Err(NfError::Refused { command: None, source })
            }
            None => Err(NfError::Unanswered),
        }
    }

    /// Appends a message to `bytes`; returns its number.
    fn write(&self, bytes: &mut Vec<u8>, flags: u16, message: NetfilterMessage) -> u32 {
        let number = self.sequence.get().wrapping_add(1);
        self.sequence.set(number);
        let mut header = NetlinkHeader::default();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = number;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        bytes.append(&mut buffer);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        number
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NfError> {
        let refused = |source| NfError::Refused { command: None, source };
        retry(|| self.socket.send(bytes, 0)).map_err(refused)?;
        Ok(())
    }

    /// Hands over each message that is there, until there is none or `take` says that it is enough.
    fn each(&self, mut take: impl FnMut(NetlinkMessage<Raw>) -> bool) -> Result<(), NfError> {
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            match retry(|| self.socket.recv(&mut datagram, 0)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(NfError::Refused { command: None, source }),
            }
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<Raw>::deserialize(rest)
                    .map_err(|source| NfError::Unreadable { source })?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if !take(message) {
                    return Ok(());
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Answer {
    messages: Vec<Raw>,
    interrupted: bool,
}

fn of(family: Family, message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(Family::Unspec, 0, NFTABLES), message)
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

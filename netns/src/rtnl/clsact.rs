//! The clsact qdisc of a link and the filters on it.

use std::{collections::BTreeSet, os::fd::AsRawFd as _};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use rustix::io::Errno;

use super::{BpfFilter, Direction, NewBpfFilter, Operation, Rtnl, RtnlError, wire};
use crate::Ifindex;

impl Rtnl {
    /// The eBPF programs attached to one of our own links as traffic control filters, in the order
    /// in which they run.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn bpf_filters(
        &self,
        index: Ifindex,
        direction: Direction,
    ) -> Result<Vec<BpfFilter>, RtnlError> {
        let operation = Operation::Filters(index);
        let replies = self.filters(index, direction)?;
        let filters = replies.iter().map(|payload| wire::parse_bpf_filter(payload));
        filters
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()
            .map_err(|wire::Malformed| RtnlError::Malformed { operation, what: "filter" })
    }

    /// The kinds of the filters of one of our own links that are no eBPF programs, such as `flower`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn other_filters(
        &self,
        index: Ifindex,
        direction: Direction,
    ) -> Result<BTreeSet<String>, RtnlError> {
        let operation = Operation::Filters(index);
        let replies = self.filters(index, direction)?;
        let kinds = replies.iter().map(|payload| wire::parse_filter_kind(payload));
        let kinds: BTreeSet<String> = kinds
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()
            .map_err(|wire::Malformed| RtnlError::Malformed { operation, what: "filter" })?;
        Ok(kinds.into_iter().filter(|kind| kind != TcFilterBpf::KIND).collect())
    }

    /// Adds a clsact qdisc to one of our own links; false if it has one already, or an `ingress`
    /// qdisc, which excludes it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn add_clsact(&self, index: Ifindex) -> Result<bool, RtnlError> {
        let request = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.socket.borrow().change_with(Operation::AddClsact(index), &request, flags) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Adds a clsact qdisc, if there is none, and these filters, all in one call: nobody who waits
    /// for the kernel's lock comes in between because of us. Whether the qdisc was added.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; what came before in the list stands then.
    pub fn add_clsact_with(
        &self,
        index: Ifindex,
        filters: &[NewBpfFilter<'_>],
    ) -> Result<bool, RtnlError> {
        let qdisc = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
        let mut requests = vec![(Operation::AddClsact(index), qdisc, NLM_F_CREATE | NLM_F_EXCL)];
        for filter in filters {
            let request = RouteNetlinkMessage::NewTrafficFilter(new_filter(index, filter));
            requests.push((Operation::SetFilter(index), request, NLM_F_CREATE));
        }
        let mut answers = self.socket.borrow().change_all(&requests)?.into_iter();
        let added = match answers.next() {
            Some(Err(error)) if error.errno() == Some(Errno::EXIST) => false,
            Some(answer) => answer.map(|()| true)?,
            None => false,
        };
        answers.collect::<Result<(), _>>()?;
        Ok(added)
    }

    /// Attaches an eBPF program to one of our own links, which must have a clsact qdisc. A filter of
    /// the same priority and handle is replaced in one step: no packet passes between the two.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_bpf_filter(
        &self,
        index: Ifindex,
        filter: &NewBpfFilter<'_>,
    ) -> Result<(), RtnlError> {
        let request = RouteNetlinkMessage::NewTrafficFilter(new_filter(index, filter));
        self.socket.borrow().change_with(Operation::SetFilter(index), &request, NLM_F_CREATE)
    }

    /// Removes a filter from one of our own links; one that is not there is as good as removed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_filter(
        &self,
        index: Ifindex,
        direction: Direction,
        priority: u16,
        handle: u32,
    ) -> Result<(), RtnlError> {
        let message = filter_message(index, direction, (priority, handle));
        let request = RouteNetlinkMessage::DelTrafficFilter(message);
        match self.socket.borrow().change(Operation::RemoveFilter(index), &request) {
            // EINVAL: the qdisc is gone, and all filters with it.
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::INVAL)) => Ok(()),
            result => result,
        }
    }

    /// Adds a chain to the clsact qdisc of one of our own links, which has no filters and which
    /// nothing leads to: a mark, by which whoever made the qdisc knows it again. False if there is no
    /// qdisc; a chain that is there stays.
    ///
    /// Needs Linux 4.19.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn add_chain(&self, index: Ifindex, number: u32) -> Result<bool, RtnlError> {
        let mut message = at(index, Direction::Ingress);
        message.attributes.push(TcAttribute::Chain(number));
        let request = RouteNetlinkMessage::NewTrafficChain(message);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.socket.borrow().change_with(Operation::AddChain(index), &request, flags) {
            Err(error) if error.errno() == Some(Errno::INVAL) => Ok(false),
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// Whether the clsact qdisc of one of our own links has a chain of this number.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn has_chain(&self, index: Ifindex, number: u32) -> Result<bool, RtnlError> {
        let operation = Operation::Chains(index);
        let request = RouteNetlinkMessage::GetTrafficChain(at(index, Direction::Ingress));
        for payload in self.list(operation, &request)? {
            let chain = wire::parse_chain(&payload)
                .map_err(|wire::Malformed| RtnlError::Malformed { operation, what: "chain" })?;
            if chain == Some(number) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the clsact qdisc of one of our own links if it has no filter, of whatever kind;
    /// tells whether it was removed.
    ///
    /// On a link that is up, the kernel drops what is sent through it meanwhile, some tenths of a
    /// millisecond; the same goes for [adding](Self::add_clsact) one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_unused_clsact(&self, index: Ifindex) -> Result<bool, RtnlError> {
        for direction in [Direction::Ingress, Direction::Egress] {
            if !self.filters(index, direction)?.is_empty() {
                return Ok(false);
            }
        }
        let request = RouteNetlinkMessage::DelQueueDiscipline(clsact(index));
        self.socket.borrow().change(Operation::RemoveClsact(index), &request)?;
        Ok(true)
    }

    fn filters(&self, index: Ifindex, direction: Direction) -> Result<Vec<Vec<u8>>, RtnlError> {
        let request = RouteNetlinkMessage::GetTrafficFilter(at(index, direction));
        self.list(Operation::Filters(index), &request)
    }

    fn list(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<Vec<u8>>, RtnlError> {
        match self.dump(operation, request) {
            // A kernel without traffic control has none of it.
            Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Ok(Vec::new()),
            replies => replies,
        }
    }
}

fn clsact(index: Ifindex) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.get().cast_signed();
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

/// Where filters of one direction are.
fn at(index: Ifindex, direction: Direction) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.get().cast_signed();
    message.header.parent = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: match direction {
            Direction::Ingress => TcHandle::MIN_INGRESS,
            Direction::Egress => TcHandle::MIN_EGRESS,
        },
    };
    message
}

/// One filter, which sees packets of every protocol.
fn filter_message(
    index: Ifindex,
    direction: Direction,
    (priority, handle): (u16, u32),
) -> TcMessage {
    // linux/if_ether.h
    const ETH_P_ALL: u16 = 3;
    let mut message = at(index, direction);
    message.header.handle = handle.into();
    message.header.info = u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be());
    message
}

fn new_filter(index: Ifindex, filter: &NewBpfFilter<'_>) -> TcMessage {
    let mut message = filter_message(index, filter.direction, (filter.priority, filter.handle));
    let program = filter.program.as_raw_fd().cast_unsigned();
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message.attributes.push(TcAttribute::Options(
        [
            TcFilterBpfOption::ProgFd(program),
            TcFilterBpfOption::ProgName(filter.name.to_owned()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ]
        .map(TcOption::Bpf)
        .to_vec(),
    ));
    message
}

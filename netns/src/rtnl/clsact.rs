//! The clsact qdisc of a link and the filters on it.

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};
use rustix::io::Errno;

use super::{BpfFilter, Direction, Operation, Rtnl, RtnlError, wire};
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

    /// Removes the clsact qdisc of one of our own links if it has no filter, of whatever kind;
    /// tells whether it was removed.
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
        let mut message = TcMessage::default();
        message.header.index = index.get().cast_signed();
        message.header.parent = TcHandle::CLSACT;
        message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
        let request = RouteNetlinkMessage::DelQueueDiscipline(message);
        self.socket.change(Operation::RemoveClsact(index), &request)?;
        Ok(true)
    }

    fn filters(&self, index: Ifindex, direction: Direction) -> Result<Vec<Vec<u8>>, RtnlError> {
        let mut message = TcMessage::default();
        message.header.index = index.get().cast_signed();
        message.header.parent = TcHandle {
            major: TcHandle::CLSACT.major,
            minor: match direction {
                Direction::Ingress => TcHandle::MIN_INGRESS,
                Direction::Egress => TcHandle::MIN_EGRESS,
            },
        };
        let request = RouteNetlinkMessage::GetTrafficFilter(message);
        match self.dump(Operation::Filters(index), &request) {
            // A kernel without traffic control has no filters.
            Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Ok(Vec::new()),
            replies => replies,
        }
    }
}

//! The gate's questions and changes to `nf_tables`: of the family `bridge`, and with errors that say
//! what of the gate was asked for.

use netlink_packet_netfilter::{NetfilterProtoFamily as Family, nftables::NfTablesMessage};

use super::error::{GateError, Operation};
use crate::nftables::{self, NfError};
pub(super) use crate::nftables::{Generation, Raw};

const FAMILY: Family = Family::Bridge;

/// One change within a batch.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) operation: Operation,
    pub(super) flags: u16,
    pub(super) message: NfTablesMessage,
}

#[derive(Debug)]
pub(super) struct Socket(nftables::Socket);

impl Socket {
    pub(super) fn open() -> Result<Self, GateError> {
        nftables::Socket::open().map(Self).map_err(looking)
    }

    /// Makes all of these changes, or none. With a generation, none either if nftables is in
    /// another one by now, which is refused with `ERESTART`.
    pub(super) fn change(
        &self,
        based_on: Option<Generation>,
        commands: Vec<Command>,
    ) -> Result<(), GateError> {
        let operations: Vec<Operation> = commands.iter().map(|one| one.operation).collect();
        let command = |Command { operation: _, flags, message }| nftables::Command {
            family: FAMILY,
            flags,
            message,
        };
        let commands = commands.into_iter().map(command).collect();
        self.0.change(based_on, commands).map_err(|error| {
            let refused = match &error {
                NfError::Refused { command: Some(at), .. } => operations.get(*at).copied(),
                _ => None,
            };
            of_operation(refused.unwrap_or(Operation::Commit), error)
        })
    }

    /// The present generation.
    pub(super) fn generation(&self) -> Result<Generation, GateError> {
        self.0.generation().map_err(looking)
    }

    /// Asks for one thing; `None` if it is not there.
    pub(super) fn get(
        &self,
        question: NfTablesMessage,
    ) -> Result<Option<NfTablesMessage>, GateError> {
        self.0.get(FAMILY, question).map_err(looking)
    }

    /// Asks for a list, which is empty also if what it is of is not there.
    pub(super) fn list(
        &self,
        question: &NfTablesMessage,
    ) -> Result<Vec<NfTablesMessage>, GateError> {
        self.0.list(FAMILY, question).map_err(looking)
    }

    /// As [`Self::list`], unread.
    pub(super) fn list_raw(&self, question: &NfTablesMessage) -> Result<Vec<Raw>, GateError> {
        self.0.list_raw(FAMILY, question).map_err(looking)
    }
}

fn looking(error: NfError) -> GateError {
    of_operation(Operation::Look, error)
}

fn of_operation(operation: Operation, error: NfError) -> GateError {
    match error {
        NfError::Open { source } => GateError::Open { source },
        NfError::Refused { command: _, source } => GateError::Refused { operation, source },
        NfError::Unreadable { source } => GateError::Unreadable { source },
        NfError::Unanswered => GateError::Unanswered { operation },
        NfError::Unsettled => GateError::Unsettled { operation },
    }
}

//! Rules in iptables' chain `FORWARD`, where others drop what no rule of theirs accepts.
//!
//! Docker sets the policy of that chain to DROP, as `ufw` and others do, and a packet has to be accepted
//! by every table: what our own table accepts is dropped there all the same. So two rules at the end
//! of the chain accept what comes from our networks and what goes to them; what of that is not to be
//! is dropped by our own table. At the end, so that whatever an operator put into `DOCKER-USER` counts
//! for our networks too.
//!
//! Where there is no such table, nothing is to be done. That of iptables-legacy cannot be reached by
//! nftables: it is told in the log, with the rules that the operator has to add.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterProtoFamily as Family,
    nftables::{ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage},
};
use nix::errno::Errno;

use super::ids::BRIDGE;
use super::rule::{self, End};
use crate::nftables::{Command, NfError, Socket};

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
/// What our rules are known by, in the form in which `iptables` shows comments.
const COMMENTS: [(End, &str); 2] =
    [(End::In, "ebpf-netns: from its networks"), (End::Out, "ebpf-netns: to its networks")];
const COMMENT_TYPE: u8 = 0;

/// Adds what is missing; in how many of the two tables there is such a chain.
///
/// # Errors
///
/// When the kernel refuses.
pub(super) fn ensure(socket: &Socket) -> Result<usize, NfError> {
    let mut chains = 0;
    for family in [Family::IPv4, Family::IPv6] {
        if socket.get(family, chain())?.is_none() {
            continue;
        }
        chains += 1;
        let there = ours(socket, family)?;
        for (end, comment) in COMMENTS {
            if there.iter().any(|(_, found)| *found == comment) {
                continue;
            }
            match socket.change(None, vec![add(family, end, comment)]) {
                // It went away meanwhile.
                Err(error) if error.is(Errno::ENOENT) => {}
                result => result?,
            }
        }
    }
    Ok(chains)
}

/// Removes our rules; whether there were any.
///
/// # Errors
///
/// When the kernel refuses.
pub(super) fn remove(socket: &Socket) -> Result<bool, NfError> {
    let mut removed = false;
    for family in [Family::IPv4, Family::IPv6] {
        for (handle, _) in ours(socket, family)? {
            let mut attributes = of_chain();
            attributes.push(RuleAttribute::Handle(handle));
            let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
            match socket.change(None, vec![Command { family, flags: 0, message }]) {
                Err(error) if error.is(Errno::ENOENT) => {}
                result => result.map(|()| removed = true)?,
            }
        }
    }
    Ok(removed)
}

/// The handles of our rules, with their comments.
fn ours(socket: &Socket, family: Family) -> Result<Vec<(u64, &'static str)>, NfError> {
    let question = NfTablesMessage::GetRule(RuleMessage { attributes: of_chain() });
    let rules = socket.list(family, &question)?;
    Ok(rules.iter().filter_map(ours_of).collect())
}

fn ours_of(message: &NfTablesMessage) -> Option<(u64, &'static str)> {
    let NfTablesMessage::NewRule(rule) = message else { return None };
    let data = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::UserData(data) => Some(data),
        _ => None,
    })?;
    let (_, comment) = COMMENTS.into_iter().find(|(_, comment)| user_data(comment) == *data)?;
    let handle = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Handle(handle) => Some(*handle),
        _ => None,
    })?;
    Some((handle, comment))
}

/// The same as `iptables --append FORWARD --in-interface ebn-+ --jump ACCEPT` makes, so that
/// `iptables` reads it as a rule of its own.
fn add(family: Family, end: End, comment: &str) -> Command {
    let rule = [rule::interfaces(end, BRIDGE), rule::accept()].concat();
    let expressions = rule.into_iter().map(Into::into).collect();
    let mut attributes = of_chain();
    attributes.extend([
        RuleAttribute::Expressions(expressions),
        RuleAttribute::UserData(user_data(comment)),
    ]);
    let message = NfTablesMessage::NewRule(RuleMessage { attributes });
    Command { family, flags: NLM_F_CREATE | NLM_F_APPEND, message }
}

fn user_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT_TYPE, length], comment.as_bytes(), &[0]].concat()
}

fn of_chain() -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(CHAIN.to_owned())]
}

fn chain() -> NfTablesMessage {
    let attributes =
        vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(CHAIN.to_owned())];
    NfTablesMessage::GetChain(ChainMessage { attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_ours_by_its_comment_alone() {
        let rule = |data: Vec<u8>| {
            let attributes = vec![RuleAttribute::Handle(7), RuleAttribute::UserData(data)];
            NfTablesMessage::NewRule(RuleMessage { attributes })
        };
        for (_, comment) in COMMENTS {
            assert_eq!(ours_of(&rule(user_data(comment))), Some((7, comment)));
        }
        assert_eq!(ours_of(&rule(user_data("ebpf-netns"))), None);
        assert_eq!(ours_of(&rule(Vec::new())), None);
    }
}

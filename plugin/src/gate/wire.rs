//! The gate's table as messages of `nf_tables`: what is to be made, changed and asked. Pure.

use std::collections::BTreeSet;

use ebpf_netns::Ifindex;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook as Base, HookNumber,
    Immediate, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Register,
    RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute, SetElementList,
    SetElementMessage, SetMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
};

use super::{
    error::Operation,
    socket::Command,
    table::{CAPACITY, COMMENT, End, Expr, Hook, KIND, PRIORITY, Standing, TABLE, rule},
};

/// `NF_ACCEPT` and `NF_DROP`.
pub(super) const ACCEPT: u32 = 1;
const DROP: u32 = 0;
/// `NFT_LOOKUP_F_INV`: match what is not in the set.
const INVERTED: u32 = 1;
/// The kernel's names of interfaces and kinds fill 16 bytes.
const NAME: usize = 16;
/// What `nft` calls `iface_index`, and that its elements are in the byte order of the host: kept
/// for `nft` by the kernel, which does not look at it.
const IFACE_INDEX: u32 = 20;
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// Within user data, `nft` finds a table's comment in the attribute of this type.
pub(super) const COMMENT_TYPE: u8 = 0;
/// Elements in one message: an attribute's length is a `u16`, and an element takes 16 bytes.
const ELEMENTS: usize = 2_048;

fn command(operation: Operation, flags: u16, message: NfTablesMessage) -> Command {
    Command { operation, flags, message }
}

/// Everything but the elements, for a table that is not there.
pub(super) fn make() -> Vec<Command> {
    let mut comment = vec![COMMENT_TYPE, u8::try_from(COMMENT.len() + 1).unwrap_or(u8::MAX)];
    comment.extend(COMMENT.bytes());
    comment.push(0);
    let table = TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned()), TableAttribute::UserData(comment)],
    };
    let mut commands =
        vec![command(Operation::MakeTable, NLM_F_CREATE, NfTablesMessage::NewTable(table))];
    commands.extend(Standing::ALL.map(make_set));
    commands.extend(Hook::ALL.map(make_chain));
    commands.extend(Hook::ALL.map(make_rule));
    commands
}

/// The rules alone, in place of those that are there.
pub(super) fn replace_rules() -> Vec<Command> {
    let flush = |hook: Hook| {
        let attributes = vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(hook.name().to_owned()),
        ];
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        command(Operation::MakeRules, 0, message)
    };
    Hook::ALL.into_iter().flat_map(|hook| [flush(hook), make_rule(hook)]).collect()
}

pub(super) fn remove() -> Command {
    command(Operation::Remove, 0, NfTablesMessage::DeleteTable(named_table()))
}

fn make_set(standing: Standing) -> Command {
    let attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(standing.set().to_owned()),
        SetAttribute::KeyType(IFACE_INDEX),
        SetAttribute::KeyLen(4),
        SetAttribute::Id(standing.id()),
        SetAttribute::Description(vec![SetDescription::Size(CAPACITY)]),
        SetAttribute::UserData(HOST_ORDER.to_vec()),
    ];
    let message = NfTablesMessage::NewSet(SetMessage { attributes });
    command(Operation::MakeSets, NLM_F_CREATE, message)
}

fn make_chain(hook: Hook) -> Command {
    let base = vec![
        Base::Number(HookNumber::Other(hook.number())),
        Base::Priority(PRIORITY.cast_unsigned()),
    ];
    let attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(hook.name().to_owned()),
        ChainAttribute::Hook(base),
        ChainAttribute::Policy(ACCEPT),
        ChainAttribute::Type("filter".to_owned()),
    ];
    let message = NfTablesMessage::NewChain(ChainMessage { attributes });
    command(Operation::MakeChains, NLM_F_CREATE, message)
}

fn make_rule(hook: Hook) -> Command {
    let expressions = rule(hook).into_iter().filter_map(expression).map(Into::into).collect();
    let attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain(hook.name().to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    let message = NfTablesMessage::NewRule(RuleMessage { attributes });
    command(Operation::MakeRules, NLM_F_CREATE | NLM_F_APPEND, message)
}

pub(super) fn expression(expr: Expr) -> Option<Expressions> {
    let register = Register::Reg1;
    let load = |key| Expressions::Meta(vec![Meta::DestinationRegister(register), Meta::Key(key)]);
    Some(match expr {
        Expr::Index(End::In) => load(MetaKey::Iif),
        Expr::Index(End::Out) => load(MetaKey::Oif),
        Expr::Kind(End::In) => load(MetaKey::Iifkind),
        Expr::Kind(End::Out) => load(MetaKey::Oifkind),
        Expr::NotIn(standing) => Expressions::Lookup(vec![
            Lookup::Set(standing.set().to_owned()),
            Lookup::SourceRegister(register),
            Lookup::Flags(INVERTED),
        ]),
        Expr::IsVeth => {
            let mut kind = KIND.as_bytes().to_vec();
            kind.resize(NAME, 0);
            Expressions::Cmp(vec![
                Cmp::SourceRegister(register),
                Cmp::Op(Operator::Equal),
                Cmp::Data(DataAttribute::Value(kind)),
            ])
        }
        Expr::Count => {
            Expressions::Other { expression_type: "counter".to_owned(), attributes: Vec::new() }
        }
        Expr::Drop => Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(
                DROP,
            ))])),
        ]),
        Expr::Unknown => return None,
    })
}

/// Puts ports into a set; those that are there already stay.
pub(super) fn add(standing: Standing, ports: &BTreeSet<Ifindex>) -> Vec<Command> {
    let ports: Vec<_> = ports.iter().copied().collect();
    let add = |ports: &[Ifindex]| {
        let message = NfTablesMessage::NewSetElement(elements(standing, ports));
        command(Operation::Let, NLM_F_CREATE, message)
    };
    ports.chunks(ELEMENTS).map(add).collect()
}

/// Takes a port out of a set; refused with `ENOENT` if it is not there.
pub(super) fn take(standing: Standing, port: Ifindex) -> Command {
    let message = NfTablesMessage::DeleteSetElement(elements(standing, &[port]));
    command(Operation::Expel, 0, message)
}

pub(super) fn elements(standing: Standing, ports: &[Ifindex]) -> SetElementMessage {
    let element = |port: &Ifindex| {
        let key = DataAttribute::Value(port.get().to_ne_bytes().to_vec());
        ListAttribute::Element(vec![SetElementAttribute::Key(key)])
    };
    let SetElementMessage { mut attributes } = of_set(standing);
    if !ports.is_empty() {
        attributes.push(SetElementList::Elements(ports.iter().map(element).collect()));
    }
    SetElementMessage { attributes }
}

fn of_set(standing: Standing) -> SetElementMessage {
    let attributes = vec![
        SetElementList::Table(TABLE.to_owned()),
        SetElementList::Set(standing.set().to_owned()),
    ];
    SetElementMessage { attributes }
}

fn named_table() -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] }
}

/// Asks for the table.
pub(super) fn get_table() -> NfTablesMessage {
    NfTablesMessage::GetTable(named_table())
}

/// Asks for a chain.
pub(super) fn get_chain(hook: Hook) -> NfTablesMessage {
    let attributes =
        vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(hook.name().to_owned())];
    NfTablesMessage::GetChain(ChainMessage { attributes })
}

/// Asks for the table's sets, as a list.
pub(super) fn list_sets() -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(TABLE.to_owned())] })
}

/// Asks for a chain's rules, as a list.
pub(super) fn list_rules(hook: Hook) -> NfTablesMessage {
    let attributes =
        vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(hook.name().to_owned())];
    NfTablesMessage::GetRule(RuleMessage { attributes })
}

/// Asks for one port in a set.
pub(super) fn get_element(standing: Standing, port: Ifindex) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(elements(standing, &[port]))
}

/// Asks for a set's elements, as a list.
pub(super) fn list_elements(standing: Standing) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(of_set(standing))
}

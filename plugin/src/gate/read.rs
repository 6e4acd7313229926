//! What the kernel answers about the gate's table, as our data. Pure.
//!
//! An expression is read by comparing it with those that we write: what looks like none of them is
//! [`Expr::Unknown`], so that writing and reading cannot drift apart.

use ebpf_netns::Ifindex;
use netlink_packet_core::{DecodeError, DefaultNla, Nla as _, NlasIterator};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, ExpressionAttribute, Expressions, Hook as Base, Immediate,
    ListAttribute, Lookup, Meta, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetMessage, TableAttribute, TableMessage,
};

use super::{
    Counted,
    table::{ChainShape, Expr, MARK, SetShape},
    wire::{ACCEPT, COMMENT_TYPE, expression},
};

/// `NFTA_COUNTER_BYTES` and `NFTA_COUNTER_PACKETS`.
const BYTES: u16 = 1;
const PACKETS: u16 = 2;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`, and in it `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`,
/// `NFTA_DATA_VALUE`.
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const DATA_VALUE: u16 = 1;

/// What the kernel shows of the table itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) ours: bool,
    pub(super) flags: u32,
    pub(super) objects: u32,
}

pub(super) fn table(message: &TableMessage) -> Table {
    let mut table = Table::default();
    for attribute in &message.attributes {
        match attribute {
            TableAttribute::Flags(flags) => table.flags = flags.bits(),
            TableAttribute::Use(objects) => table.objects = *objects,
            TableAttribute::UserData(data) => {
                table.ours = comment(data).is_some_and(|text| text.starts_with(MARK.as_bytes()));
            }
            _ => {}
        }
    }
    table
}

/// The comment in a table's user data, which is a list of type, length and value.
fn comment(mut data: &[u8]) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT_TYPE {
            return Some(value);
        }
        data = rest.get(usize::from(*length)..)?;
    }
    None
}

pub(super) fn set(message: &SetMessage) -> SetShape {
    let mut set = SetShape { name: String::new(), flags: 0, key_length: 0, size: None };
    for attribute in &message.attributes {
        match attribute {
            SetAttribute::Name(name) => set.name.clone_from(name),
            SetAttribute::Flags(flags) => set.flags = flags.bits(),
            SetAttribute::KeyLen(length) => set.key_length = *length,
            SetAttribute::Description(description) => {
                set.size = description.iter().find_map(|of| match of {
                    SetDescription::Size(size) => Some(*size),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    set
}

pub(super) fn chain(message: &ChainMessage) -> ChainShape {
    let mut chain = ChainShape { hook: None, priority: None, kind: String::new(), accepts: false };
    for attribute in &message.attributes {
        match attribute {
            ChainAttribute::Hook(base) => {
                for of in base {
                    match of {
                        Base::Number(number) => chain.hook = Some((*number).into()),
                        Base::Priority(priority) => chain.priority = Some(priority.cast_signed()),
                        _ => {}
                    }
                }
            }
            ChainAttribute::Policy(policy) => chain.accepts = *policy == ACCEPT,
            ChainAttribute::Type(kind) => chain.kind.clone_from(kind),
            _ => {}
        }
    }
    chain
}

/// The steps of a rule.
pub(super) fn rule(message: &RuleMessage) -> Vec<Expr> {
    expressions(message).map(read_expression).collect()
}

/// What a rule has counted.
pub(super) fn counter(message: &RuleMessage) -> Counted {
    let mut counted = Counted::default();
    for expression in expressions(message) {
        let Expressions::Other { expression_type, attributes } = expression else { continue };
        if expression_type != "counter" {
            continue;
        }
        for attribute in attributes {
            match attribute.kind() {
                BYTES => counted.bytes += number(attribute),
                PACKETS => counted.packets += number(attribute),
                _ => {}
            }
        }
    }
    counted
}

/// Eight bytes, most significant first.
fn number(attribute: &DefaultNla) -> u64 {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn expressions(message: &RuleMessage) -> impl Iterator<Item = &Expressions> {
    let lists = message.attributes.iter().filter_map(|attribute| match attribute {
        RuleAttribute::Expressions(list) => Some(list),
        _ => None,
    });
    let elements = lists.flatten().filter_map(|element| match element {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    });
    elements.flatten().filter_map(|attribute| match attribute {
        ExpressionAttribute::Data(expression) => Some(expression),
        _ => None,
    })
}

fn read_expression(found: &Expressions) -> Expr {
    let looks_like = |expr: &Expr| expression(*expr).is_some_and(|ours| same(&ours, found));
    Expr::OURS.into_iter().find(looks_like).unwrap_or(Expr::Unknown)
}

/// Whether two expressions are the same, whatever the order of attributes and the counter's count.
fn same(ours: &Expressions, found: &Expressions) -> bool {
    fn alike<T: PartialEq>(ours: &[T], found: &[T], is_unknown: fn(&T) -> bool) -> bool {
        ours.iter().all(|attribute| found.contains(attribute))
            && found.iter().all(|attribute| is_unknown(attribute) || ours.contains(attribute))
    }
    match (ours, found) {
        (Expressions::Meta(ours), Expressions::Meta(found)) => {
            alike(ours, found, |attribute| matches!(attribute, Meta::Other(_)))
        }
        (Expressions::Lookup(ours), Expressions::Lookup(found)) => {
            alike(ours, found, |attribute| matches!(attribute, Lookup::Other(_)))
        }
        (Expressions::Cmp(ours), Expressions::Cmp(found)) => {
            alike(ours, found, |attribute| matches!(attribute, Cmp::Other(_)))
        }
        (Expressions::Immediate(ours), Expressions::Immediate(found)) => {
            alike(ours, found, |attribute| matches!(attribute, Immediate::Other(_)))
        }
        (
            Expressions::Other { expression_type: ours, .. },
            Expressions::Other { expression_type: found, .. },
        ) => ours == found,
        _ => false,
    }
}

/// The ports in a list of elements. Something else than a port is left out.
///
/// It is read by hand: the ready-made reader takes a time that grows with the square of the number
/// of elements, some seconds for a few thousand.
pub(super) fn elements(message: &[u8]) -> Result<Vec<Ifindex>, DecodeError> {
    let mut ports = Vec::new();
    for list in values(message, LIST_ELEMENTS)? {
        for element in values(&list, LIST_ELEMENT)? {
            for key in values(&element, ELEMENT_KEY)? {
                for value in values(&key, DATA_VALUE)? {
                    let index = <[u8; 4]>::try_from(value).map_or(0, u32::from_ne_bytes);
                    ports.extend(Ifindex::try_from(index));
                }
            }
        }
    }
    Ok(ports)
}

/// The values of the attributes of one type.
fn values(attributes: &[u8], kind: u16) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut values = Vec::new();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() == kind {
            values.push(attribute.value().to_vec());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netlink_packet_core::Emitable as _;
    use netlink_packet_netfilter::nftables::{
        DataAttribute, NfTablesMessage, Register, Verdict, VerdictAttribute,
    };

    use super::*;
    use crate::gate::{
        table::{Standing, TABLE},
        wire,
    };

    #[test]
    fn every_expression_that_we_write_is_read_as_itself() {
        for expr in Expr::OURS {
            let wire = expression(expr).unwrap();
            assert_eq!(read_expression(&wire), expr);
        }
    }

    #[test]
    fn a_look_up_the_other_way_round_is_not_ours() {
        let lookup = Expressions::Lookup(vec![
            Lookup::Set("admitted".to_owned()),
            Lookup::SourceRegister(Register::Reg1),
            Lookup::Flags(0),
        ]);
        assert_eq!(read_expression(&lookup), Expr::Unknown);
    }

    #[test]
    fn a_verdict_of_accept_is_not_ours() {
        let accept = Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(
                ACCEPT,
            ))])),
        ]);
        assert_eq!(read_expression(&accept), Expr::Unknown);
    }

    #[test]
    fn a_table_is_ours_by_its_comment_alone() {
        let with_data = |data: &[u8]| {
            table(&TableMessage { attributes: vec![TableAttribute::UserData(data.to_vec())] })
        };
        let mut with = vec![7, 1, 0, 0, u8::try_from(MARK.len()).unwrap()];
        with.extend(MARK.bytes());
        assert!(with_data(&with).ours, "the comment is found behind another attribute");
        for other in [&b""[..], b"\x00", b"\x00\x05hello", b"\x00\xffebpf-netns strict mode"] {
            assert!(!with_data(other).ours, "{other:?} is not our comment");
        }
        assert!(
            !table(&TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] }).ours,
            "no comment is not ours"
        );
    }

    #[test]
    fn elements_that_are_cut_short_are_an_error() {
        let port = Ifindex::try_from(7).unwrap();
        let message = wire::elements(Standing::Foreign, &[port]);
        let message = NfTablesMessage::NewSetElement(message);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(elements(&bytes).unwrap(), [port]);
        let cut = bytes.len() - 6;
        assert!(elements(&bytes[..cut]).is_err(), "a cut element is not left out");
    }

    #[test]
    fn many_ports_take_several_messages() {
        let ports: BTreeSet<_> =
            (1..=5_000).map(|index| Ifindex::try_from(index).unwrap()).collect();
        let commands = wire::add(Standing::Admitted, &ports);
        assert_eq!(commands.len(), 3);
        let read: BTreeSet<_> = commands
            .iter()
            .flat_map(|command| {
                let mut bytes = vec![0; command.message.buffer_len()];
                command.message.emit(&mut bytes);
                elements(&bytes).unwrap()
            })
            .collect();
        assert_eq!(read, ports);
        assert!(wire::add(Standing::Admitted, &BTreeSet::new()).is_empty(), "nothing for no port");
    }
}

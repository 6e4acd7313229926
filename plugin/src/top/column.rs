//! The columns: what they are called, what they show of a row, and how they sort. Pure.

use std::cmp::Ordering;

use ebpf_netns::text::printable;

use super::number::{short, short_count};
use super::row::{Rate, Row};

/// A column of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Container,
    State,
    Interface,
    Policy,
    InPackets,
    InBytes,
    OutPackets,
    OutBytes,
    Drops,
    Dropped,
}

impl Column {
    /// From left to right.
    pub(crate) const ALL: [Self; 10] = [
        Self::Container,
        Self::State,
        Self::Interface,
        Self::Policy,
        Self::InPackets,
        Self::InBytes,
        Self::OutPackets,
        Self::OutBytes,
        Self::Drops,
        Self::Dropped,
    ];

    /// What stands above it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Container => "CONTAINER",
            Self::State => "STATE",
            Self::Interface => "IFACE",
            Self::Policy => "POLICY",
            Self::InPackets => "IN/s",
            Self::InBytes => "INB/s",
            Self::OutPackets => "OUT/s",
            Self::OutBytes => "OUTB/s",
            Self::Drops => "DROP/s",
            Self::Dropped => "DROPPED",
        }
    }

    /// What it shows of a row, fit for a terminal.
    pub(crate) fn text(self, row: &Row) -> String {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), short);
        match self {
            Self::Container => printable(&row.container).to_string(),
            Self::State => row.state.name().to_owned(),
            Self::Interface => place(row),
            Self::Policy => printable(&row.policy).to_string(),
            Self::Dropped => short_count(row.dropped_packets()),
            Self::InPackets | Self::InBytes | Self::OutPackets | Self::OutBytes | Self::Drops => {
                rate(self.rate(row))
            }
        }
    }

    /// Whether it is of numbers, which stand to the right and sort from the largest.
    pub(super) const fn is_number(self) -> bool {
        !matches!(self, Self::Container | Self::State | Self::Interface | Self::Policy)
    }

    fn rate(self, row: &Row) -> Option<f64> {
        let packets = |rate: Option<Rate>| rate.map(|rate| rate.packets_per_second);
        let bytes = |rate: Option<Rate>| rate.map(|rate| rate.bytes_per_second);
        match self {
            Self::InPackets => packets(row.incoming),
            Self::InBytes => bytes(row.incoming),
            Self::OutPackets => packets(row.outgoing),
            Self::OutBytes => bytes(row.outgoing),
            Self::Drops => row.drops_per_second,
            Self::Container | Self::State | Self::Interface | Self::Policy | Self::Dropped => None,
        }
    }

    /// Which of two rows stands above: the larger number, the worse state, the earlier name.
    fn order(self, one: &Row, other: &Row) -> Ordering {
        match self {
            Self::Container => one.container.cmp(&other.container),
            Self::State => other.state.cmp(&one.state),
            Self::Interface => one.interface.cmp(&other.interface),
            Self::Policy => one.policy.cmp(&other.policy),
            Self::Dropped => other.dropped_packets().cmp(&one.dropped_packets()),
            Self::InPackets | Self::InBytes | Self::OutPackets | Self::OutBytes | Self::Drops => {
                let rate = |row| self.rate(row).unwrap_or(-1.0);
                rate(other).total_cmp(&rate(one))
            }
        }
    }

    /// The column beside it, or itself at the edge.
    pub(super) fn beside(self, right: bool) -> Self {
        let at = self.place();
        let to = if right { at.saturating_add(1) } else { at.saturating_sub(1) };
        Self::ALL.get(to).copied().unwrap_or(self)
    }

    /// Its number from the left.
    pub(super) fn place(self) -> usize {
        Self::ALL.into_iter().position(|column| column == self).unwrap_or_default()
    }
}

/// Which column sorts, and whether the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) inverted: bool,
}

impl Sort {
    /// Sorts; rows that are equal in that stand in the order of their names.
    pub(super) fn apply(self, rows: &mut [Row]) {
        let names = |row: &Row| (row.container.clone(), row.id.clone(), row.interface.clone());
        rows.sort_by(|one, other| {
            let order = self.column.order(one, other);
            let order = if self.inverted { order.reverse() } else { order };
            order.then_with(|| names(one).cmp(&names(other)))
        });
    }
}

/// An interface and its network.
fn place(row: &Row) -> String {
    match (&row.interface, &row.network) {
        (Some(interface), Some(network)) => {
            format!("{}@{}", printable(interface), printable(network))
        }
        (Some(interface), None) => printable(interface).to_string(),
        (None, _) => String::new(),
    }
}

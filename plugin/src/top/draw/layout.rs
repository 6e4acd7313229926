//! Which columns fit into a terminal, and how wide they are. Pure.

use super::super::column::Column;

/// What a column takes at least, and at most where there is room. In the order in which they are
/// wanted.
const WANTED: [(Column, u16, u16); 10] = [
    (Column::Container, 10, 32),
    (Column::State, 8, 13),
    (Column::InPackets, 6, 6),
    (Column::OutPackets, 6, 6),
    (Column::Drops, 6, 6),
    (Column::Dropped, 7, 7),
    (Column::InBytes, 6, 6),
    (Column::OutBytes, 6, 6),
    (Column::Interface, 8, 24),
    (Column::Policy, 8, 40),
];

/// The columns that fit, from left to right, with their widths; one column is between two.
pub(super) fn columns(width: u16) -> Vec<(Column, u16)> {
    let mut left = width.saturating_add(1);
    let mut chosen = Vec::new();
    for (column, least, most) in WANTED {
        if left <= least {
            break;
        }
        left -= least + 1;
        chosen.push((column, least, most));
    }
    // The same to each until there is nothing left.
    while left > 0 && chosen.iter().any(|(_, has, most)| has < most) {
        for (_, has, _) in chosen.iter_mut().filter(|(_, has, most)| has < most) {
            let more = left.min(1);
            *has += more;
            left -= more;
        }
    }
    let mut columns: Vec<_> = chosen.into_iter().map(|(column, has, _)| (column, has)).collect();
    columns.sort_by_key(|(column, _)| column.place());
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_is_shown_and_the_width_is_kept() {
        for (width, expected) in [(0, 0), (10, 1), (39, 4), (40, 5), (48, 6), (80, 10), (300, 10)] {
            let columns = columns(width);
            assert_eq!(columns.len(), expected, "in {width}");
            let taken: u16 = columns.iter().map(|(_, width)| width + 1).sum();
            assert!(taken <= width + 1, "{taken} in {width}");
        }
        let narrow: Vec<_> = columns(40).into_iter().map(|(column, _)| column).collect();
        let expected = [
            Column::Container,
            Column::State,
            Column::InPackets,
            Column::OutPackets,
            Column::Drops,
        ];
        assert_eq!(narrow, expected);
        let places: Vec<_> = columns(80).iter().map(|(column, _)| column.place()).collect();
        assert!(places.is_sorted(), "from left to right: {places:?}");
    }
}

//! What `top` shows where it does not have the terminal.

use ebpf_netns::text::printable;

use super::{new_table, render};
use crate::top::{Column, Report, Row};

/// The header, a line for each interface, and why packets were dropped.
pub(crate) fn top(report: &Report) -> String {
    let titles = Column::ALL.map(Column::title);
    let mut table = new_table(&[titles.as_slice(), &["REASONS"]].concat());
    for row in &report.interfaces {
        let cells = Column::ALL.map(|column| column.text(row));
        table.add_row(cells.into_iter().chain([reasons(row)]));
    }
    let header = report.header();
    if report.interfaces.is_empty() {
        return format!("{header}\nno container has a policy\n");
    }
    format!("{header}\n{}", render(&mut table))
}

fn reasons(row: &Row) -> String {
    let reasons = row.dropped.iter().map(|(reason, packets)| format!("{reason} {packets}"));
    printable(&reasons.collect::<Vec<_>>().join(", ")).to_string()
}

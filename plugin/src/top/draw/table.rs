//! The rows of the screen. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row as Line, Table};

use super::super::column::Column;
use super::super::model::Model;
use super::super::row::Row;
use super::layout::columns;
use crate::status::State;

/// The titles, and the rows from the first that is on the screen.
pub(super) fn rows(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let columns = columns(area.width);
    let titles = columns.iter().map(|(column, _)| title(model, *column));
    let page = usize::from(area.height.saturating_sub(1));
    let visible = model.shown.iter().enumerate().skip(model.top).take(page);
    let lines = visible.map(|(place, row)| {
        let cells = columns.iter().map(|(column, _)| cell(model, *column, row));
        let line = Line::new(cells);
        if place == model.selected { line.style(Style::new().reversed()) } else { line }
    });
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(lines, widths).header(Line::new(titles)).column_spacing(1);
    frame.render_widget(table, area);
}

/// The column that sorts has a mark, which can be seen without colours.
fn title(model: &Model, column: Column) -> Cell<'static> {
    let style = if model.colours { Style::new().fg(Color::Green) } else { Style::new() };
    let style = if model.sort.column == column { style.bold().reversed() } else { style.bold() };
    Cell::new(aligned(column, column.title().to_owned())).style(style)
}

fn cell(model: &Model, column: Column, row: &Row) -> Cell<'static> {
    let cell = Cell::new(aligned(column, column.text(row)));
    let colour = match (column, row.state) {
        _ if !model.colours => None,
        (Column::State, State::Enforced) => Some(Color::Green),
        (Column::State, State::Closed | State::Unknown | State::Unenforceable) => {
            Some(Color::Yellow)
        }
        (Column::State, State::Open) => Some(Color::Red),
        (Column::Drops, _) if row.drops_per_second.is_some_and(|drops| drops > 0.0) => {
            Some(Color::Red)
        }
        _ => None,
    };
    match colour {
        Some(colour) => cell.style(Style::new().fg(colour)),
        None => cell,
    }
}

fn aligned(column: Column, text: String) -> Text<'static> {
    let text = Text::raw(text);
    if column.is_number() { text.right_aligned() } else { text }
}

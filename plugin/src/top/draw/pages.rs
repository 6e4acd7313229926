//! What covers the rows: pages of text, and the list of columns to sort by. Pure.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, List, ListState, Paragraph};

use super::super::column::Column;
use super::super::model::Model;

/// A page of text from a line on.
pub(super) fn text(frame: &mut Frame<'_>, model: &Model, scroll: usize, area: Rect) {
    let lines = model.text().into_iter().skip(scroll).map(Line::raw);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// The columns, one of which is chosen.
pub(super) fn columns(frame: &mut Frame<'_>, at: usize, area: Rect) {
    let area = Rect { width: area.width.min(14), height: area.height.min(12), ..area };
    let titles = Column::ALL.map(Column::title);
    let list = List::new(titles)
        .block(Block::bordered().title("Sort by"))
        .highlight_style(Style::new().reversed());
    let mut state = ListState::default().with_selected(Some(at));
    frame.render_widget(Clear, area);
    frame.render_stateful_widget(list, area, &mut state);
}

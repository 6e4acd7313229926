//! The screen, as a function of the model. Pure.

mod layout;
mod pages;
mod table;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use ebpf_netns::text::printable;

use super::model::{Mode, Model};
use super::report::{Tally, header, short_header};
use super::row::Row;
use crate::status::{DockerStatus, State};

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let trouble = u16::from(model.trouble.is_some());
    let parts = [1, trouble].map(Constraint::Length).into_iter();
    let parts = parts.chain([Constraint::Min(0), Constraint::Length(1), Constraint::Length(1)]);
    let parts = Layout::vertical(parts).split(frame.area());
    let [top, middle, body, below, bottom] = parts.as_ref() else { return };
    frame.render_widget(head(model, top.width), *top);
    if let Some(why) = &model.trouble {
        let line = format!("NO ANSWER, this is what was: {}", printable(why));
        frame.render_widget(Line::raw(line).style(alarm(model)), *middle);
    }
    match &model.mode {
        Mode::Help { scroll } | Mode::Details { scroll, .. } => {
            pages::text(frame, model, *scroll, *body);
        }
        Mode::Sort { at } => {
            table::rows(frame, model, *body);
            pages::columns(frame, *at, *body);
        }
        Mode::Table | Mode::Filter { .. } | Mode::Interval => table::rows(frame, model, *body),
    }
    frame.render_widget(sentence(model), *below);
    frame.render_widget(keys(model, *bottom), *bottom);
}

/// What needs a person, where colours are wanted and where not.
fn alarm(model: &Model) -> Style {
    if model.colours { Style::new().fg(Color::Red).bold() } else { Style::new().bold() }
}

/// The state of the whole.
fn head(model: &Model, width: u16) -> Line<'static> {
    let Some(now) = &model.now else { return Line::raw("asking the daemon") };
    let status = &now.status;
    let tally = Tally::of(status);
    let paused = if model.paused { " PAUSED" } else { "" };
    let long =
        header(&printable(&status.version).to_string(), &status.docker, status.strict, tally);
    let long = format!("{long}, every {} s{paused}", model.interval);
    let fits = Line::raw(long.as_str()).width() <= usize::from(width);
    let text = if fits {
        long
    } else {
        format!("{}{paused}", short_header(&status.docker, status.strict, tally))
    };
    let bad = tally.open > 0 || matches!(status.docker, DockerStatus::Unreachable { .. });
    Line::raw(text).style(if bad { alarm(model) } else { Style::new().bold() })
}

/// What there is to say of the selected row, or what is being typed.
fn sentence(model: &Model) -> Line<'static> {
    match &model.mode {
        Mode::Filter { .. } => Line::raw(format!("Filter: {}_", printable(&model.filter))),
        Mode::Interval => Line::raw(format!("Every {} s (+ longer, - shorter)", model.interval)),
        Mode::Sort { .. } => Line::raw("Sort by: Up, Down, Enter"),
        Mode::Help { .. } | Mode::Details { .. } => Line::raw("Esc: back"),
        Mode::Table => match model.chosen() {
            Some(row) => Line::raw(about(row)),
            None if model.filter.is_empty() => Line::raw("no container has a policy"),
            None => Line::raw(format!("nothing is named {}", printable(&model.filter))),
        },
    }
}

fn about(row: &Row) -> String {
    let name = printable(&row.container);
    if let Some(reason) = row.reason.as_ref().filter(|_| row.state != State::Enforced) {
        return format!("{name}: {}: {}", row.state.name(), printable(reason));
    }
    let reasons = row.dropped.iter().map(|(reason, packets)| format!("{packets} {reason}"));
    let reasons: Vec<String> = reasons.collect();
    match reasons.as_slice() {
        [] => format!("{name}: nothing dropped"),
        some => format!("{name}: dropped {}", printable(&some.join(", "))),
    }
}

/// The keys that are most wanted, as many as fit.
fn keys(model: &Model, area: Rect) -> Line<'static> {
    let sets = [
        "F1Help F4Filter F6Sort Enter:Details Space:Pause d:Interval I:Invert F10Quit",
        "F1Help F4Filter F6Sort Enter F10Quit",
    ];
    let fits = |text: &&&str| text.len() <= usize::from(area.width);
    let text = sets.iter().find(fits).copied().unwrap_or("q:Quit");
    let filtered = !model.filter.is_empty() && matches!(model.mode, Mode::Table);
    let text =
        if filtered { format!("[{}] {text}", printable(&model.filter)) } else { text.to_owned() };
    let style = Style::new();
    Line::raw(text).style(if model.colours { style.fg(Color::Cyan) } else { style.reversed() })
}

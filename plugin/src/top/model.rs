//! What the screen is to show, and what an action changes of it. Pure.

use super::column::{Column, Sort};
use super::details;
use super::interval::Interval;
use super::keys::Action;
use super::rates::{Sample, rows};
use super::row::Row;

/// Lines of the screen that are not rows: header, titles, the selected row's sentence, keys.
const FRAME: u16 = 4;

/// What the keys are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// A filter is typed; it was something before.
    Filter {
        before: String,
    },
    /// A column is chosen from a list.
    Sort {
        at: usize,
    },
    Interval,
    Help {
        scroll: usize,
    },
    /// One container by itself.
    Details {
        id: String,
        scroll: usize,
    },
}

/// All that the screen depends on.
#[derive(Debug)]
pub(crate) struct Model {
    pub(super) now: Option<Sample>,
    /// Why the daemon did not answer, if it did not.
    pub(super) trouble: Option<String>,
    all: Vec<Row>,
    /// Filtered and sorted.
    pub(super) shown: Vec<Row>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) selected: usize,
    /// The first row on the screen.
    pub(super) top: usize,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) interval: Interval,
    /// Columns and lines of the terminal.
    pub(super) size: (u16, u16),
    pub(super) colours: bool,
}

impl Model {
    pub(crate) fn new(interval: Interval, colours: bool) -> Self {
        Self {
            now: None,
            trouble: None,
            all: Vec::new(),
            shown: Vec::new(),
            sort: Sort { column: Column::Container, inverted: false },
            filter: String::new(),
            selected: 0,
            top: 0,
            mode: Mode::Table,
            paused: false,
            interval,
            size: (80, 24),
            colours,
        }
    }

    /// The daemon answered.
    pub(crate) fn learn(&mut self, sample: Sample) {
        self.all = rows(self.now.as_ref(), &sample);
        self.now = Some(sample);
        self.trouble = None;
        self.arrange();
    }

    /// The daemon did not answer: what it said last stays.
    pub(super) fn miss(&mut self, why: String) {
        self.trouble = Some(why);
        self.reveal();
    }

    pub(super) fn resize(&mut self, columns: u16, lines: u16) {
        self.size = (columns, lines);
        self.reveal();
    }

    /// Does what a key asked for, but for [`Action::Quit`], which is not of the screen.
    pub(super) fn act(&mut self, action: Action) {
        if !self.moved(action) {
            self.changed(action);
        }
        self.reveal();
    }

    /// The row that the keys are about.
    pub(super) fn chosen(&self) -> Option<&Row> {
        self.shown.get(self.selected)
    }

    /// Rows that fit.
    pub(super) fn page(&self) -> usize {
        let trouble = u16::from(self.trouble.is_some());
        usize::from(self.size.1.saturating_sub(FRAME + trouble)).max(1)
    }

    /// The lines of a page of text, as wide as the screen: help, or a container by itself.
    pub(super) fn text(&self) -> Vec<String> {
        let lines = match (&self.mode, &self.now) {
            (Mode::Help { .. }, _) => details::help(),
            (Mode::Details { id, .. }, Some(now)) => details::container(&now.status, id),
            _ => Vec::new(),
        };
        let width = usize::from(self.size.0).max(1);
        lines.iter().flat_map(|line| details::wrap(line, width)).collect()
    }

    /// Whether it was one of the keys that move, which move what the mode has.
    fn moved(&mut self, action: Action) -> bool {
        let page = self.page();
        let last = match &self.mode {
            Mode::Help { .. } | Mode::Details { .. } => self.text().len().saturating_sub(page),
            Mode::Sort { .. } => Column::ALL.len() - 1,
            Mode::Table | Mode::Filter { .. } | Mode::Interval => {
                self.shown.len().saturating_sub(1)
            }
        };
        let at = match &mut self.mode {
            Mode::Help { scroll } | Mode::Details { scroll, .. } => scroll,
            Mode::Sort { at } => at,
            Mode::Table | Mode::Filter { .. } | Mode::Interval => &mut self.selected,
        };
        let to = match action {
            Action::Up => at.saturating_sub(1),
            Action::Down => at.saturating_add(1),
            Action::PageUp => at.saturating_sub(page),
            Action::PageDown => at.saturating_add(page),
            Action::Home => 0,
            Action::End => usize::MAX,
            _ => return false,
        };
        *at = to.min(last);
        true
    }

    fn changed(&mut self, action: Action) {
        match action {
            Action::Sort => self.mode = Mode::Sort { at: self.sort.column.place() },
            Action::Beside(right) => self.sort_by(self.sort.column.beside(right)),
            Action::Invert => {
                self.sort.inverted = !self.sort.inverted;
                self.arrange();
            }
            Action::Filter => self.mode = Mode::Filter { before: self.filter.clone() },
            Action::Type(c) => {
                self.filter.push(c);
                self.arrange();
            }
            Action::Erase => {
                self.filter.pop();
                self.arrange();
            }
            Action::Pause => self.paused = !self.paused,
            Action::Help => self.mode = Mode::Help { scroll: 0 },
            Action::Details => {
                if let Some(Row { id, .. }) = self.chosen() {
                    self.mode = Mode::Details { id: id.clone(), scroll: 0 };
                }
            }
            Action::Interval => self.mode = Mode::Interval,
            Action::Longer => self.interval = self.interval.longer(),
            Action::Shorter => self.interval = self.interval.shorter(),
            Action::Accept => self.accept(),
            Action::Cancel => self.cancel(),
            // The loop ends by it; what moves was moved.
            Action::Quit
            | Action::Up
            | Action::Down
            | Action::PageUp
            | Action::PageDown
            | Action::Home
            | Action::End => {}
        }
    }

    fn accept(&mut self) {
        if let Mode::Sort { at } = self.mode
            && let Some(column) = Column::ALL.get(at)
        {
            self.sort_by(*column);
        }
        self.mode = Mode::Table;
    }

    fn cancel(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Filter { before } => self.filter = before,
            Mode::Table => self.filter.clear(),
            Mode::Sort { .. } | Mode::Interval | Mode::Help { .. } | Mode::Details { .. } => return,
        }
        self.arrange();
    }

    fn sort_by(&mut self, column: Column) {
        self.sort = Sort { column, inverted: self.sort.inverted && column == self.sort.column };
        self.arrange();
    }

    /// Filters and sorts anew; the selection stays with its row where that is still there.
    fn arrange(&mut self) {
        let chosen = self.chosen().map(Row::key);
        let wanted = self.filter.to_lowercase();
        let matching = self.all.iter().filter(|row| row.container.to_lowercase().contains(&wanted));
        self.shown = matching.cloned().collect();
        self.sort.apply(&mut self.shown);
        let found = self.shown.iter().position(|row| Some(row.key()) == chosen);
        self.selected = found.unwrap_or(self.selected).min(self.shown.len().saturating_sub(1));
        self.reveal();
    }

    /// Scrolls as little as shows the selected row.
    fn reveal(&mut self) {
        let page = self.page();
        let least = (self.selected + 1).saturating_sub(page);
        let most = self.selected.min(self.shown.len().saturating_sub(page));
        self.top = self.top.max(least).min(most.max(least));
    }
}

//! What a section of the benchmark found: tables and notes, as Markdown.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::plot::Plot;

/// What one section found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    /// Its name on the command line.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    Text(String),
    Table(Table),
    Plot(Plot),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Section {
    pub(crate) fn new(name: &str, title: &str) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), parts: Vec::new() }
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.parts.push(Part::Table(table));
    }

    pub(crate) fn plot(&mut self, plot: Plot) {
        self.parts.push(Part::Plot(plot));
    }

    pub(crate) fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.parts.iter().filter_map(|part| match part {
            Part::Plot(plot) => Some(plot),
            Part::Text(_) | Part::Table(_) => None,
        })
    }

    /// Names the plots, which stand beside the document.
    pub(crate) fn markdown(&self) -> Result<String> {
        let mut text = format!("### {}\n", self.title);
        for part in &self.parts {
            match part {
                Part::Text(said) => write!(text, "\n{said}\n")?,
                Part::Table(table) => write!(text, "\n{}", table.markdown())?,
                Part::Plot(Plot { name, title, .. }) => {
                    write!(text, "\n![{title}]({name}.svg)\n")?;
                }
            }
        }
        Ok(text)
    }
}

impl Table {
    pub(crate) fn new(caption: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { caption: caption.to_owned(), head, rows: Vec::new() }
    }

    pub(crate) fn row<I: IntoIterator<Item: Into<String>>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Padded, so that it reads as well in a terminal.
    fn markdown(&self) -> String {
        let Self { caption, head, rows } = self;
        let width = |column: usize| {
            let cells = rows.iter().chain([head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let line = |cells: &[String]| {
            let padded = cells.iter().enumerate();
            let padded = padded.map(|(column, cell)| format!(" {cell:<0$} |", width(column)));
            format!("|{}\n", padded.collect::<String>())
        };
        let rule: String = (0..head.len()).map(|it| "-".repeat(width(it) + 2) + "|").collect();
        let rows: String = rows.iter().map(|row| line(row)).collect();
        let caption = if caption.is_empty() { String::new() } else { format!("{caption}\n\n") };
        format!("{caption}{}|{rule}\n{rows}", line(head))
    }
}

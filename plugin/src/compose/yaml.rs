//! A YAML document as nodes that know where they stand. Pure.
//!
//! Aliases are the node that they name, and nothing is copied: a document takes as much memory as
//! its text. Scalars are as they were written; what Compose makes of them is `scalar.rs`'s.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::finding::Place;

impl From<&Marker> for Place {
    fn from(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A node, by its number in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(usize);

/// What stands somewhere.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) tag: Option<String>,
    pub(super) start: Place,
    /// The line of its last character.
    pub(super) last_line: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Kind<'a> {
    Scalar { text: Cow<'a, str>, style: ScalarStyle },
    Sequence(Vec<Id>),
    Mapping(Vec<(Id, Id)>),
}

impl Kind<'_> {
    /// In a sentence.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "a value",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// The documents of a file.
#[derive(Debug)]
pub(super) struct Yaml<'a> {
    nodes: Vec<Node<'a>>,
    /// The root of each document.
    pub(super) roots: Vec<Id>,
    lines: Vec<&'a str>,
}

/// Why a file is not YAML, and where.
#[derive(Debug)]
pub(super) struct NotYaml {
    pub(super) at: Place,
    pub(super) reason: String,
}

impl<'a> Yaml<'a> {
    /// Reads a file.
    pub(super) fn parse(text: &'a str) -> Result<Self, NotYaml> {
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| NotYaml {
                at: error.marker().into(),
                reason: error.info().to_owned(),
            })?;
            builder.take(event, span)?;
        }
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        Ok(Self { nodes: builder.nodes, roots: builder.roots, lines })
    }

    pub(super) fn get(&self, id: Id) -> Option<&Node<'a>> {
        self.nodes.get(id.0)
    }

    /// A line of the file; 1 is the first.
    pub(super) fn line(&self, number: usize) -> &'a str {
        number.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default()
    }

    /// Every key that a mapping has twice, with its text.
    pub(super) fn duplicate_keys(&self) -> Vec<(Place, &str)> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let Kind::Mapping(entries) = &node.kind else { continue };
            let mut seen = BTreeSet::new();
            for key in entries.iter().filter_map(|(key, _)| self.get(*key)) {
                if let Kind::Scalar { text, .. } = &key.kind
                    && !seen.insert(text.as_ref())
                {
                    found.push((key.start, text.as_ref()));
                }
            }
        }
        found
    }
}

/// Nodes under construction.
#[derive(Debug, Default)]
struct Builder<'a> {
    nodes: Vec<Node<'a>>,
    roots: Vec<Id>,
    anchors: BTreeMap<usize, Id>,
    /// What is not closed yet, with the key that waits for its value.
    open: Vec<(Id, Option<Id>)>,
}

impl<'a> Builder<'a> {
    fn take(&mut self, event: Event<'a>, span: Span) -> Result<(), NotYaml> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let id = self.add(Kind::Scalar { text, style }, anchor, tag, span);
                self.place(id);
            }
            Event::SequenceStart(anchor, tag) => {
                let id = self.add(Kind::Sequence(Vec::new()), anchor, tag, span);
                self.open.push((id, None));
            }
            Event::MappingStart(anchor, tag) => {
                let id = self.add(Kind::Mapping(Vec::new()), anchor, tag, span);
                self.open.push((id, None));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((id, _)) = self.open.pop() {
                    self.place(id);
                }
            }
            Event::Alias(anchor) => {
                let Some(id) = self.anchors.get(&anchor) else {
                    let reason = "an alias of an anchor that is not there".to_owned();
                    return Err(NotYaml { at: (&span.start).into(), reason });
                };
                self.place(*id);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn add(&mut self, kind: Kind<'a>, anchor: usize, tag: Option<Cow<'a, Tag>>, span: Span) -> Id {
        let id = Id(self.nodes.len());
        let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
        let last_line = span.end.line();
        self.nodes.push(Node { kind, tag, start: (&span.start).into(), last_line });
        // 0 is none.
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        id
    }

    /// Puts a node that is complete into what it is in.
    fn place(&mut self, id: Id) {
        let Some((parent, key)) = self.open.last_mut() else {
            self.roots.push(id);
            return;
        };
        match self.nodes.get_mut(parent.0).map(|node| &mut node.kind) {
            Some(Kind::Sequence(items)) => items.push(id),
            Some(Kind::Mapping(entries)) => match key.take() {
                Some(key) => entries.push((key, id)),
                None => *key = Some(id),
            },
            Some(Kind::Scalar { .. }) | None => {}
        }
    }
}

//! Docker's events, read as hints of where to look again. Pure.
//!
//! Of an event, only whom it is about is used: a user's label may overwrite an attribute.

use serde::Deserialize;

/// The longest event that is read. All labels of a container are in each of its events.
const LONGEST: usize = 1 << 20;

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// This container.
    Container(String),
    /// Who is on which network.
    Networks,
    /// Anything.
    Everything,
}

/// Takes a stream of events apart: one JSON object a line.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    /// The line is too long, and the rest of it is left out.
    skipping: bool,
}

impl Events {
    /// Takes the next piece of the stream; the hints of the events that end in it.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Hint> {
        let mut hints = Vec::new();
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.skipping |= self.line.len() + part.len() > LONGEST;
            if self.skipping {
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(part);
            }
            if parts.peek().is_some() {
                hints.extend(self.end_line());
            }
        }
        hints
    }

    fn end_line(&mut self) -> Option<Hint> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            return Some(Hint::Everything);
        }
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        (!is_blank).then(|| serde_json::from_slice(&line).map_or(Hint::Everything, Event::hint))
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Actor")]
    actor: Option<Actor>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    container: Option<String>,
}

impl Event {
    fn hint(self) -> Hint {
        let Some(Actor { id, attributes }) = self.actor else { return Hint::Everything };
        match self.kind.as_deref() {
            Some("container") => id.map_or(Hint::Everything, Hint::Container),
            Some("network") => match attributes.and_then(|attributes| attributes.container) {
                Some(container) => Hint::Container(container),
                None => Hint::Networks,
            },
            _ => Hint::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(stream: &[u8], piece: usize) -> Vec<Hint> {
        let mut events = Events::default();
        stream.chunks(piece).flat_map(|piece| events.take(piece)).collect()
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let stream = br#"{"Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"container":"c9"}},"time":1}

{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"c2","name":"lan"}}}
{"Type":"network","Action":"destroy","Actor":{"ID":"n1","Attributes":null}}
{"Type":"container","Actor":{"ID"#;
        let container = |id: &str| Hint::Container(id.to_owned());
        let expected = [container("c1"), container("c2"), Hint::Networks];
        for piece in 1..stream.len() {
            assert_eq!(hints(stream, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_understood_may_be_anything() {
        for line in [
            "null",
            "[]",
            "0",
            "{}",
            "\u{feff}{}",
            "garbage",
            r#"{"Type":"container"}"#,
            r#"{"Type":"container","Actor":{}}"#,
            r#"{"Type":"container","Actor":{"ID":1}}"#,
            r#"{"Type":"moon","Actor":{"ID":"x"}}"#,
            r#"{"Type":"container","Actor":{"ID":"a"}}{"Type":"container","Actor":{"ID":"b"}}"#,
            "{\"Type\":\"container\",\"Actor\":{\"ID\":\"\u{0}",
        ] {
            assert_eq!(hints(format!("{line}\n").as_bytes(), 7), [Hint::Everything], "{line}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_held_and_the_next_is_read() {
        let next = r#"{"Type":"container","Actor":{"ID":"c1"}}"#;
        let mut events = Events::default();
        let piece = vec![b'x'; 64 << 10];
        for _ in 0..1024 {
            assert_eq!(events.take(&piece), []);
            assert!(events.line.capacity() <= 2 * LONGEST, "{}", events.line.capacity());
        }
        let hints = events.take(format!("\n{next}\n").as_bytes());
        assert_eq!(hints, [Hint::Everything, Hint::Container("c1".to_owned())]);
    }
}

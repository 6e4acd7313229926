//! What is made of a capture on this side: the file, and how much there is in it.

use std::io::{self, Write};

use ebpf_netns::text::printable;
use plugin_common::capture::Head;

use super::kept::{self, HEADERS};
use super::{Begun, Captured, End, Message, Note, RuleTexts, Section, Summary, Told, Writer};
use crate::filter::Filter;
use crate::rules::Direction;

/// What is wanted of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How many bytes of a frame.
    pub snaplen: u32,
    /// After how many frames it is complete.
    pub most: Option<u64>,
    /// Which frames.
    pub filter: Option<Filter>,
}

impl Wanted {
    /// How many bytes to have the programs keep.
    #[must_use]
    pub fn to_keep(&self) -> u32 {
        if self.filter.is_some() { self.snaplen.max(HEADERS) } else { self.snaplen }
    }
}

/// A capture that is being written.
pub struct Recording<W> {
    writer: Writer<W>,
    rules: RuleTexts,
    interfaces: Vec<Captured>,
    summary: Summary,
    wanted: Wanted,
    end: Option<End>,
}

impl<W: Write> Recording<W> {
    /// Begins to write.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(out: W, begun: &Begun, wanted: Wanted) -> io::Result<Self> {
        let section = Section {
            system: begun.system.clone(),
            program: concat!("ebpf-netns ", env!("CARGO_PKG_VERSION")).to_owned(),
            comment: format!(
                "container {}, seen on its host-side veths; directions are the container's",
                begun.container
            ),
            snaplen: wanted.snaplen,
            ahead_ns: begun.ahead_ns,
        };
        Ok(Self {
            writer: Writer::new(out, section)?,
            rules: RuleTexts::new(),
            interfaces: Vec::new(),
            summary: Summary::default(),
            wanted,
            end: None,
        })
    }

    /// Takes in a message; says what people are to know.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn take(&mut self, message: Message<'_>) -> io::Result<Vec<String>> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        match message {
            Message::Frame(head, frame) => {
                self.frame(&head, frame)?;
            }
            Message::Note(Note::Interfaces(interfaces)) => return self.interfaces(interfaces),
            Message::Note(Note::Rules(rules)) => self.rules = rules,
            Message::Note(Note::Lost(lost)) => self.summary.lost = lost,
            Message::Note(Note::End(end)) => self.end = Some(end),
            // There is one, which was read before.
            Message::Note(Note::Opening(_)) => {}
        }
        Ok(Vec::new())
    }

    /// Whether there is nothing more to come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.end.is_some() || self.wanted.most.is_some_and(|most| self.summary.captured >= most)
    }

    /// How the daemon ended it, if it did.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Hands on what was written so far.
    ///
    /// # Errors
    ///
    /// When it cannot be.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Writes the end, and says what there is.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(self, now_ns: u64) -> io::Result<Summary> {
        self.writer.finish(self.summary.lost, now_ns)?;
        Ok(self.summary)
    }

    fn frame(&mut self, head: &Head, frame: &[u8]) -> io::Result<()> {
        let told = Told { head, rules: &self.rules };
        if let Some(filter) = &self.wanted.filter
            && !filter.matches(&kept::seen(&told, frame))
        {
            self.summary.filtered += 1;
            return Ok(());
        }
        let snaplen = usize::try_from(self.wanted.snaplen).unwrap_or(usize::MAX);
        self.writer.frame(&told, frame.get(..snaplen).unwrap_or(frame))?;
        self.summary.captured += 1;
        self.summary.dropped += u64::from(!told.passed());
        Ok(())
    }

    fn interfaces(&mut self, interfaces: Vec<Captured>) -> io::Result<Vec<String>> {
        let mut said = Vec::new();
        for interface in &interfaces {
            self.writer.interface(interface)?;
            if !self.interfaces.contains(interface) {
                said.extend(say(interface));
            }
        }
        self.interfaces = interfaces;
        Ok(said)
    }
}

/// What people are to know of an interface.
fn say(captured: &Captured) -> Vec<String> {
    let Captured { name, container, interface, network, unseen, .. } = captured;
    let (container, interface) = (printable(container), printable(interface));
    let network =
        network.as_ref().map_or(String::new(), |network| format!(" on {}", printable(network)));
    let what = format!("{interface} of {container}{network}");
    let mut said = vec![format!("capturing on {name}: {what}")];
    for direction in unseen {
        let does = match direction {
            Direction::Egress => "sends",
            Direction::Ingress => "receives",
        };
        said.push(format!(
            "what {container} {does} there is not captured: its policy has no program that sees it"
        ));
    }
    said
}

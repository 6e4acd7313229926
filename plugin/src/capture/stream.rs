//! How the daemon tells of a capture: messages one after the other, each with its kind, its length and
//! what it says. Frames are as the kernel's programs wrote them, all else is JSON.

use plugin_common::capture::Head;
use serde::{Deserialize, Serialize};

use super::{Captured, End, Opening, RuleTexts};
use crate::explain::Refused;

/// The longest message, in bytes: the rules of a container with many interfaces.
const LONGEST: usize = 16 << 20;
/// Kind and length.
const HEADER: usize = 5;
/// A [`Note`].
const NOTE: u8 = 1;
/// A frame with what is told of it.
const FRAME: u8 = 2;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// All but frames.
    Note(Note),
    /// A frame, as far as it was kept.
    Frame(Head, &'a [u8]),
}

/// What is told beside frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The first.
    Opening(Opening),
    /// All interfaces there are, before the first frame of any of them.
    Interfaces(Vec<Captured>),
    /// All rules there are, before the first frame that one of them decided over.
    Rules(RuleTexts),
    /// How many frames were lost so far, for want of room.
    Lost(u64),
    /// The last.
    End(End),
}

/// What came is no message.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A kind that is not known.
    #[error("a message of the kind {0}")]
    Kind(u8),
    /// It is too long.
    #[error("a message of {0} bytes")]
    Long(usize),
    /// It is no frame.
    #[error("a frame that is cut")]
    Frame,
    /// It is no JSON, or says something else.
    #[error("a message that is not understood")]
    Json(#[from] serde_json::Error),
}

/// Appends a frame as a ring buffer has it.
pub(super) fn frame(out: &mut Vec<u8>, record: &[u8]) {
    put(out, FRAME, record);
}

/// Appends anything else.
pub(super) fn note(out: &mut Vec<u8>, note: &Note) -> Result<(), serde_json::Error> {
    put(out, NOTE, &serde_json::to_vec(note)?);
    Ok(())
}

/// All that is told where there is nothing to capture.
#[must_use]
pub fn refusal(refused: Refused) -> Vec<u8> {
    let mut told = Vec::new();
    // A reason can be written: it is text.
    note(&mut told, &Note::Opening(Opening::Refused(refused))).ok();
    told
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.push(kind);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Makes messages of what comes, in whatever pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it came.
    ///
    /// # Errors
    ///
    /// When what came is none.
    pub fn message(&mut self) -> Result<Option<Message<'_>>, Malformed> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some(([kind, length @ ..], rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(Malformed::Long(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        self.read += HEADER + length;
        match *kind {
            NOTE => Ok(Some(Message::Note(serde_json::from_slice(payload)?))),
            FRAME => {
                let (head, frame) = Head::split(payload).ok_or(Malformed::Frame)?;
                Ok(Some(Message::Frame(head, frame)))
            }
            other => Err(Malformed::Kind(other)),
        }
    }
}

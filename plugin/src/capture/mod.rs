//! Capturing the frames of a container, with what became of each: what is asked, and what is told.
//!
//! - `session.rs` is the daemon's side: it has the programs copy frames, and hands them on; `hub.rs`
//!   knows all of them, and `target.rs` what there is to capture;
//! - `stream.rs` is how it tells of them, at the control socket;
//! - `comment.rs` says in words what became of a frame;
//! - `pcapng.rs` writes the file, and `file.rs` makes it;
//! - `recording.rs` makes the file of what is told and wanted, for which `kept.rs` reads frames, and
//!   `summary.rs` says what there was.
//!
//! Nothing here decides over a frame, and nothing is copied while nobody captures.

mod comment;
mod file;
mod hub;
mod kept;
mod pcapng;
mod recording;
mod session;
mod stream;
mod summary;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::comment::Told;
pub use self::file::{Existing, FileError, create};
pub use self::hub::Hub;
pub use self::pcapng::{Section, Writer};
pub use self::recording::{Recording, Wanted};
pub use self::session::Session;
pub use self::stream::{Decoder, Malformed, Message, Note, refusal};
pub use self::summary::Summary;
use crate::explain::Refused;
use crate::rules::Direction;

/// A question, as it is sent to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The container: its name, its id, or the beginning of that.
    pub container: String,
    /// The container's direction; both if none is named.
    pub direction: Option<Direction>,
    /// How many bytes to keep of a frame.
    pub snaplen: u32,
}

impl Question {
    /// Whether it is about what is sent, or received.
    #[must_use]
    pub fn is_about(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|wanted| wanted == direction)
    }
}

/// Names a capture that goes on, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CaptureId(pub u64);

/// The daemon's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// From here on every frame is captured.
    Begun(Begun),
    /// Why there is nothing to capture.
    Refused(Refused),
}

/// What is known when a capture begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Which it is.
    pub id: CaptureId,
    /// The container's name.
    pub container: String,
    /// How many nanoseconds the time of day is ahead of the clock that frames are stamped by.
    pub ahead_ns: u64,
    /// The kernel: `Linux 6.18.0`.
    pub system: String,
}

/// An interface that frames are captured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The index of the host-side veth.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The container.
    pub container: String,
    /// The name of the other end, in the container.
    pub interface: String,
    /// The Docker network that it is on.
    pub network: Option<String>,
    /// The directions that were asked for and that no program sees: nothing of them is dropped.
    pub unseen: Vec<Direction>,
}

/// Rules in words, by the place where they are counted.
pub type RuleTexts = BTreeMap<u32, String>;

/// Why a capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Whoever captured asked for it.
    Asked,
    /// The daemon could not go on.
    Failed(String),
}

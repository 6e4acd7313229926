//! What becomes of packets, as it happens: the question, and the lines that answer it.
//!
//! - `hub.rs` hands what the kernel tells to everybody who listens, and keeps nobody waiting;
//! - `listener.rs` is one of them: it picks what is asked for, and makes lines of it;
//! - `event.rs` has what a line is, as JSON; `text.rs` the same for people; `clock.rs` when it was.
//!
//! Nothing of it decides anything, and where nobody listens nothing of it runs.

mod clock;
mod event;
mod hub;
mod listener;
mod text;

use serde::{Deserialize, Serialize};

pub(crate) use self::clock::{Clock, since_1970};
pub use self::event::{End, Event, Lost, PacketEvent, Place, RuleEvent, Unreported};
pub use self::hub::{Heard, Hub, count_kept_back};
pub use self::listener::Listener;

/// What somebody wants to follow, as it is sent to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Containers by their names, their ids, or the beginnings of those; none are all that have a
    /// policy.
    pub containers: Vec<String>,
    /// Whether only drops are wanted.
    pub drops: bool,
    /// Which packets are wanted: [`crate::filter::Filter`].
    pub filter: Option<String>,
}

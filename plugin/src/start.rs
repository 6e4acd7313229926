//! Whether a container may start, as the daemon answers and `ebpf-netns-runtime` acts on it. Plain
//! data, and no opinion on what to do about it.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// What its labels demand stands on each of its interfaces.
    Stands,
    /// It has no label of ours: nothing is to be waited for.
    NothingAsked,
    /// What its labels demand does not stand and will not, for this reason.
    Refused {
        /// Why, in words for whoever started the container.
        reason: String,
    },
    /// Not known yet, for this reason. The last word only when the asker's patience ended.
    Undecided {
        /// What is waited for.
        reason: String,
    },
}

impl Verdict {
    /// Whether this is the last word.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Undecided { .. })
    }
}

/// A question, as it is sent to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The full id of the container that is about to start.
    pub container: String,
    /// How long the asker waits for a verdict that is final.
    pub patience_ms: u64,
}

/// A question, as the engine gets it.
#[derive(Debug)]
pub struct StartAsked {
    /// The full id of the container.
    pub id: String,
    /// Takes verdicts until one is final; closed when the asker is gone.
    pub reply: watch::Sender<Verdict>,
}

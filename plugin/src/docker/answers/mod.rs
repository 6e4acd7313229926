//! Docker's answers, cut down to what is used of them. Pure.
//!
//! Anything may be missing from an answer, or be of a kind that came later; what is too large to be
//! of use is not kept.

mod container;
mod description;
mod labels;
mod network;

use serde::Deserialize;

pub(super) use self::container::Listed;
pub(super) use self::description::Description;
pub(super) use self::network::{Holder, Network};

/// What `/version` tells.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    #[serde(rename = "ApiVersion", default)]
    pub(super) api: String,
}

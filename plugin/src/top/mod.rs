//! `top`: what is enforced and what passes, as it changes, on a terminal.
//!
//! What is shown is a [`model`] of two answers of the daemon, which is drawn and driven by keys
//! without I/O; [`screen`] alone asks the daemon and writes to the terminal.

mod column;
mod details;
mod draw;
mod ending;
mod interval;
mod keys;
mod model;
mod number;
mod rates;
mod report;
mod row;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;

use std::io;

pub(crate) use self::column::Column;
pub(crate) use self::ending::Ending;
pub(crate) use self::interval::Interval;
pub(crate) use self::rates::Sample;
pub(crate) use self::report::Report;
pub(crate) use self::row::Row;
pub(crate) use self::screen::run;
use crate::control::ClientError;

/// Why the view ended but for the user's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// The daemon gave no answer to the first question.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The terminal.
    #[error("the terminal: {what}")]
    Terminal {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl TopError {
    /// The error of doing that to the terminal.
    fn terminal(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Terminal { what, source }
    }
}

//! Errors in one line, and what the system said at the bottom of them.

use std::error::Error;
use std::{io, iter};

/// An error with its sources, in one line.
#[must_use]
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// The first error of the operating system among an error and its sources.
#[must_use]
pub(crate) fn of_system<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref())
}

//! Taking the terminal, and giving it back whatever happens.

use std::io::stdout;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::TopError;

/// Whether the terminal is ours: a panic of a thread, also one that aborts, gives it back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, which is as it was when this is dropped.
pub(super) struct Taken(());

impl Taken {
    pub(super) fn new() -> Result<Self, TopError> {
        // Before it is taken: what fails half way is undone too.
        let taken = Self(());
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            give_back();
            told(panicked);
        }));
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode().map_err(TopError::terminal("read keys one by one"))?;
        execute!(stdout(), EnterAlternateScreen).map_err(TopError::terminal("take the screen"))?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once: the next one to have the screen is somebody else.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        execute!(stdout(), LeaveAlternateScreen, Show).ok();
        disable_raw_mode().ok();
    }
}

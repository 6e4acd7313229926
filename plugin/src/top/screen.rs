//! The loop that asks the daemon, reads keys and draws. What these mean is decided elsewhere.

use std::io;
use std::path::Path;
use std::time::Instant;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::task::JoinSet;
use tokio::time::{self, sleep_until};

use super::TopError;
use super::draw::draw;
use super::ending::Ending;
use super::interval::Interval;
use super::keys::{Action, action};
use super::model::Model;
use super::rates::Sample;
use super::terminal::Taken;
use crate::control::{self, ClientError};
use crate::error::chain;

/// Shows it on the terminal until it is told to end.
///
/// # Errors
///
/// When the daemon does not answer the first question, or the terminal fails.
pub(crate) async fn run(socket: &Path, interval: Interval, colours: bool) -> Result<(), TopError> {
    let mut model = Model::new(interval, colours);
    // Who may not ask is told so where it can be read.
    let status = control::status(socket, false).await?;
    model.learn(Sample { at: Instant::now(), status });
    let mut ending = Ending::new().map_err(TopError::terminal("take signals"))?;
    let _given_back_at_the_end = Taken::new()?;
    let unknown = "ask how large it is";
    let mut terminal =
        Terminal::new(CrosstermBackend::new(io::stdout())).map_err(TopError::terminal(unknown))?;
    let size = terminal.size().map_err(TopError::terminal(unknown))?;
    model.resize(size.width, size.height);
    tokio::select! {
        done = show(&mut terminal, &mut model, socket) => done,
        () = ending.told() => Ok(()),
    }
}

type Screen = Terminal<CrosstermBackend<io::Stdout>>;

async fn show(screen: &mut Screen, model: &mut Model, socket: &Path) -> Result<(), TopError> {
    let mut events = EventStream::new();
    let mut questions = Questions::new(socket);
    loop {
        screen.draw(|frame| draw(frame, model)).map_err(TopError::terminal("draw"))?;
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => if quits(model, &event) { return Ok(()) },
                Some(Err(source)) => return Err(TopError::terminal("read keys")(source)),
                None => return Ok(()),
            },
            answer = questions.answer(model.interval, model.paused) => match answer {
                Ok(sample) => model.learn(sample),
                Err(error) => model.miss(chain(&error)),
            },
        }
    }
}

/// Does what an event asks for; true where that is to end.
fn quits(model: &mut Model, event: &Event) -> bool {
    match event {
        Event::Key(key) => match action(&model.mode, *key) {
            Some(Action::Quit) => return true,
            Some(action) => model.act(action),
            None => {}
        },
        Event::Resize(columns, lines) => model.resize(*columns, *lines),
        Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => {}
    }
    false
}

/// One question at a time.
struct Questions<'a> {
    socket: &'a Path,
    asked: time::Instant,
    /// At most one.
    open: JoinSet<Result<Sample, ClientError>>,
}

impl<'a> Questions<'a> {
    fn new(socket: &'a Path) -> Self {
        Self { socket, asked: time::Instant::now(), open: JoinSet::new() }
    }

    /// Asks when the time has come, and waits for the answer. Given up, it goes on where it was.
    async fn answer(&mut self, interval: Interval, paused: bool) -> Result<Sample, ClientError> {
        if paused {
            std::future::pending::<()>().await;
        }
        loop {
            // A question that panicked is asked again.
            if let Some(Ok(answer)) = self.open.join_next().await {
                return answer;
            }
            sleep_until(self.asked + interval.duration()).await;
            self.asked = time::Instant::now();
            let socket = self.socket.to_path_buf();
            self.open.spawn(async move {
                let status = control::status(&socket, false).await?;
                Ok(Sample { at: Instant::now(), status })
            });
        }
    }
}

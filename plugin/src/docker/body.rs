//! Reads the answer to a question while it comes in: never all of it is held.

use std::io::{BufReader, Read};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::Fault;
use super::question::PATIENCE;
use super::shorten::Shortener;

/// Pieces of an answer that wait to be read.
const PIECES: usize = 2;

/// The value that a body holds as JSON. The reader runs on a thread of its own: it waits, and a long
/// answer takes it a while.
pub(super) async fn read<T>(body: Incoming) -> Result<T, Fault>
where
    T: DeserializeOwned + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(PIECES);
    let text = Text { pieces, piece: Bytes::new(), shortener: Shortener::default() };
    let reader = spawn_blocking(move || serde_json::from_reader(BufReader::new(text)));
    let (fed, read) = tokio::join!(feed(body, sender), reader);
    fed?;
    read.map_err(|_ended| Fault::Interrupted)?.map_err(Fault::Senseless)
}

/// The next piece of a body; `None` at its end.
pub(super) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        // What is no data is a trailer.
        if let Ok(piece) = frame.map_err(Fault::Cut)?.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

async fn feed(mut body: Incoming, pieces: mpsc::Sender<Bytes>) -> Result<(), Fault> {
    loop {
        let piece =
            timeout(PATIENCE, next_piece(&mut body)).await.map_err(|_elapsed| Fault::Slow)??;
        let Some(piece) = piece else { return Ok(()) };
        if pieces.send(piece).await.is_err() {
            // The reader has given up, and says why.
            return Ok(());
        }
    }
}

/// The text of a body, its long strings cut.
struct Text {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    shortener: Shortener,
}

impl Read for Text {
    fn read(&mut self, output: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.piece.is_empty() {
                match self.pieces.blocking_recv() {
                    Some(piece) => self.piece = piece,
                    None => return Ok(0),
                }
            }
            let (read, written) = self.shortener.copy(&self.piece, output);
            drop(self.piece.split_to(read));
            if written > 0 || output.is_empty() {
                return Ok(written);
            }
        }
    }
}

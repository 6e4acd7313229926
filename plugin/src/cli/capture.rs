//! `capture`: frames of a container with what became of each, into a file or to another program.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::num::NonZeroU64;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use plugin_common::capture::MAX_SNAPLEN;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::verbs::{Failure, runtime};
use crate::capture::{
    Begun, CaptureId, Decoder, End, Existing, Message, Note, Opening, Question, Recording, Wanted,
    create,
};
use crate::control::{self, Capturing, ClientError, DEFAULT_SOCKET};
use crate::rules::Direction;
use crate::top::Ending;

/// How long the daemon may take to tell what there is left when a capture ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// The container: its name, its id, or the beginning of that. It is followed by it when it is
    /// started again.
    container: String,
    /// Where to write: a file, which must not be there yet, or - for standard output.
    #[arg(short, long = "write", value_name = "FILE|-")]
    write: PathBuf,
    /// Only what the container receives (in), or sends (out).
    #[arg(long, value_enum, default_value_t)]
    direction: Side,
    /// How many bytes to keep of a packet.
    #[arg(
        short = 's',
        long,
        value_name = "BYTES",
        default_value_t = MAX_SNAPLEN,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPLEN))
    )]
    snaplen: u32,
    /// End after so many packets.
    #[arg(short, long, value_name = "NUMBER")]
    count: Option<NonZeroU64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<NonZeroU64>,
    /// Only packets that this finds: 'tcp port 443 and not host 10.0.0.9'.
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
}

/// Which direction, by the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Side {
    #[value(alias = "ingress")]
    In,
    #[value(alias = "egress")]
    Out,
    #[default]
    Both,
}

impl Side {
    const fn direction(self) -> Option<Direction> {
        match self {
            Self::In => Some(Direction::Ingress),
            Self::Out => Some(Direction::Egress),
            Self::Both => None,
        }
    }
}

/// What ends it from this side: a signal, the time, or that nobody reads any more.
struct Ends {
    told: Ending,
    at: Option<Instant>,
    reader: Reader,
}

/// How it ended.
enum Ended {
    InOrder,
    NobodyReads,
}

/// A capture that goes on.
struct Following<'a> {
    socket: &'a Path,
    id: CaptureId,
    capturing: Capturing,
    decoder: Decoder,
    recording: Recording<BufWriter<File>>,
    /// Until when what comes is waited for, once it is to end.
    until: Option<Instant>,
}

pub(super) fn run(args: &CaptureArgs) -> Result<(), Failure> {
    let to_stdout = args.write == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::Terminal);
    }
    // Before anybody is asked; it is made when there is something to capture.
    if !to_stdout && !args.force && std::fs::symlink_metadata(&args.write).is_ok() {
        return Err(crate::capture::FileError::Exists { path: args.write.clone() }.into());
    }
    runtime()?.block_on(capture(args, to_stdout))
}

async fn capture(args: &CaptureArgs, to_stdout: bool) -> Result<(), Failure> {
    let filter = args.filter.as_deref().map(str::parse).transpose().map_err(Failure::Filter)?;
    let wanted = Wanted { snaplen: args.snaplen, most: args.count.map(NonZeroU64::get), filter };
    let question = Question {
        container: args.container.clone(),
        direction: args.direction.direction(),
        snaplen: wanted.to_keep(),
    };
    let told = Ending::new()?;
    let mut capturing = control::capture(&args.control_socket, &question).await?;
    let mut decoder = Decoder::default();
    let begun = begun(&mut capturing, &mut decoder).await?;
    let out = BufWriter::with_capacity(BUFFER, output(args, to_stdout)?);
    let mut following = Following {
        socket: &args.control_socket,
        id: begun.id,
        capturing,
        decoder,
        recording: Recording::new(out, &begun, wanted)?,
        until: None,
    };
    let at = args.duration.map(|length| Instant::now() + Duration::from_secs(length.get()));
    let result = following.follow(Ends { told, at, reader: Reader::of(to_stdout) }).await;
    conclude(following.recording, result)
}

impl Following<'_> {
    async fn follow(&mut self, mut ends: Ends) -> Result<Ended, Failure> {
        loop {
            self.take()?;
            if self.recording.is_complete() {
                return Ok(Ended::InOrder);
            }
            tokio::select! {
                piece = self.capturing.next() => match piece? {
                    Some(piece) => self.decoder.push(&piece),
                    None => return Err(ClientError::BrokeOff("there is no end".into()).into()),
                },
                () = ends.told.told(), if self.until.is_none() => self.stop().await?,
                () = at(ends.at), if self.until.is_none() => self.stop().await?,
                () = at(self.until) => return Ok(Ended::InOrder),
                () = ends.reader.is_gone() => return Ok(Ended::NobodyReads),
            }
        }
    }

    /// Writes what came, all of it, so that whoever reads sees it at once.
    fn take(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.decoder.message().map_err(malformed)? {
            for line in self.recording.take(message)? {
                say(&line);
            }
        }
        Ok(self.recording.flush()?)
    }

    /// Has the daemon tell what there is left, and end.
    async fn stop(&mut self) -> Result<(), ClientError> {
        self.until = Some(Instant::now() + LAST_WORDS);
        control::stop_capture(self.socket, self.id).await.map(drop)
    }
}

/// Ends the file, also where the capture failed, and says what there is in it.
fn conclude(
    recording: Recording<impl Write>,
    result: Result<Ended, Failure>,
) -> Result<(), Failure> {
    if let Ok(Ended::NobodyReads) | Err(Failure::Output(_)) = result {
        // What cannot be written has no end either.
        return result.map(drop);
    }
    let failed = match recording.end() {
        Some(End::Failed(reason)) => Err(Failure::CaptureEnded(reason.clone())),
        Some(End::Asked) | None => Ok(()),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let summary = recording.finish(now.as_nanos().try_into().unwrap_or(u64::MAX))?;
    say(&summary.to_string());
    result.map(drop).and(failed)
}

async fn begun(capturing: &mut Capturing, decoder: &mut Decoder) -> Result<Begun, Failure> {
    loop {
        match decoder.message().map_err(malformed)? {
            Some(Message::Note(Note::Opening(Opening::Begun(begun)))) => return Ok(begun),
            Some(Message::Note(Note::Opening(Opening::Refused(refused)))) => {
                return Err(Failure::Unexplained(refused));
            }
            Some(_) => return Err(malformed("something comes before the beginning").into()),
            None => match capturing.next().await? {
                Some(piece) => decoder.push(&piece),
                None => return Err(malformed("there is no beginning").into()),
            },
        }
    }
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Senseless(error.into())
}

fn output(args: &CaptureArgs, to_stdout: bool) -> Result<File, Failure> {
    if to_stdout {
        // Not by way of `Stdout`, which looks for ends of lines.
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    let existing = if args.force { Existing::Overwrite } else { Existing::Keep };
    Ok(create(&args.write, existing)?)
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Who reads standard output, if that can be watched: without it, a capture of nothing would go on for
/// nobody.
struct Reader(Option<AsyncFd<io::Stdout>>);

impl Reader {
    fn of(to_stdout: bool) -> Self {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, against descriptors that change: this one does not"
        )]
        let watched = to_stdout
            .then(|| AsyncFd::with_interest(io::stdout(), Interest::ERROR))
            // A file cannot be watched, and nobody has to read it.
            .and_then(Result::ok);
        Self(watched)
    }

    async fn is_gone(&mut self) {
        match &self.0 {
            Some(out) => drop(out.ready(Interest::ERROR).await),
            None => std::future::pending().await,
        }
    }
}

fn say(text: &str) {
    // There is nowhere left to say that standard error is closed.
    writeln!(io::stderr().lock(), "{text}").ok();
}

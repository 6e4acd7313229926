//! A proxy before an engine's socket that can do to Docker's answers whatever a bad day does.
//!
//! Everything passes until it is told otherwise by [`Proxy::deal`], for all paths of the API that
//! begin in some way; what it is told counts at once, also in the middle of an answer. It asks the
//! engine in HTTP/1.0, so that what passes is the bare body, and ends with the connection.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{engine::Engine, wait::wait_until};

/// How soon what was told is heeded where nothing else happens.
const INTERVAL: Duration = Duration::from_millis(10);

/// What becomes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Deal {
    /// It passes.
    #[default]
    Pass,
    /// The connection is closed without one.
    Close,
    /// There is none, and the connection stays open.
    Hang,
    /// This comes instead, byte for byte, and then the end.
    Answer(Vec<u8>),
    /// It comes so much later.
    Delay(Duration),
    /// So many bytes of the body pass, and then the connection is closed.
    Truncate(usize),
    /// Half of the next piece passes, and then the connection is closed.
    Cut,
    /// From now on nothing passes, and the connection stays open.
    Stall,
    /// From now on what comes is lost, and the connection stays open.
    Lose,
    /// Every 16th byte of the body is another.
    Corrupt,
    /// The lines of each piece come so many times each, and the last first.
    Repeat(usize),
}

impl Deal {
    /// [`Self::Answer`] with a body of some type; `status` is a number and its reason.
    #[must_use]
    pub fn answer(status: &str, content_type: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        Self::Answer((head + body).into_bytes())
    }
}

/// A proxy with a socket of its own in the machine of an engine.
#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The beginning of a path, and what becomes of answers to it; the last that fits counts.
    deals: Vec<(String, Deal)>,
    asked: Vec<String>,
    /// How often the socket vanished: connections end with the socket that they came by.
    vanished: usize,
}

impl Proxy {
    /// Starts one before an engine.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub fn start(engine: &Engine) -> Result<Self> {
        let socket = engine.machine().directory().join("proxy.sock");
        let shared = Shared { engine: engine.socket(), state: Mutex::default() };
        let proxy = Self { socket, shared: Arc::new(shared) };
        proxy.appear()?;
        Ok(proxy)
    }

    /// Where it is, for programs in the engine's machine.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The path of its socket, the same inside of the machine and outside.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// From now on this becomes of answers to what begins with `path`, for example `/events`.
    pub fn deal(&self, path: &str, deal: Deal) {
        let mut state = self.shared.state();
        state.deals.retain(|(known, _)| known != path);
        state.deals.push((path.to_owned(), deal));
    }

    /// From now on everything passes.
    pub fn pass(&self) {
        self.shared.state().deals.clear();
    }

    /// How often anything was asked that begins with `path`.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        self.shared.state().asked.iter().filter(|asked| asked.starts_with(path)).count()
    }

    /// Removes the socket and closes all connections.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn vanish(&self) -> Result<()> {
        self.shared.state().vanished += 1;
        // Whoever listens there is woken by it.
        drop(UnixStream::connect(&self.socket));
        fs::remove_file(&self.socket).context("remove the proxy's socket")
    }

    /// Makes the socket, after [`Self::vanish`].
    ///
    /// # Errors
    ///
    /// When it is there already.
    pub fn appear(&self) -> Result<()> {
        let listener = UnixListener::bind(&self.socket)
            .with_context(|| format!("listen at {}", self.socket.display()))?;
        let shared = Arc::clone(&self.shared);
        let socket = self.shared.state().vanished;
        thread::spawn(move || shared.serve(&listener, socket));
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have vanished before.
        self.vanish().ok();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self, socket: usize) -> bool {
        self.state().vanished == socket
    }

    fn deal(&self, path: &str) -> Deal {
        let state = self.state();
        let mut deals = state.deals.iter().rev();
        deals
            .find(|(begin, _)| path.starts_with(begin))
            .map(|(_, deal)| deal.clone())
            .unwrap_or_default()
    }

    fn serve(self: &Arc<Self>, listener: &UnixListener, socket: usize) {
        for client in listener.incoming() {
            if !self.is_there(socket) {
                return;
            }
            let Ok(client) = client else { continue };
            let exchange = Exchange { shared: Arc::clone(self), socket };
            // A connection that breaks is what a proxy is for.
            thread::spawn(move || exchange.run(client).ok());
        }
    }
}

/// One question and its answer.
struct Exchange {
    shared: Arc<Shared>,
    /// Which of the sockets the client came by.
    socket: usize,
}

impl Exchange {
    fn run(&self, mut client: UnixStream) -> io::Result<()> {
        let Some(path) = read_request(&client)? else { return Ok(()) };
        self.shared.state().asked.push(path.clone());
        match self.shared.deal(&path) {
            Deal::Close => return Ok(()),
            Deal::Hang => {
                self.wait_while(&client, Duration::MAX, || self.shared.deal(&path) == Deal::Hang);
                return Ok(());
            }
            Deal::Answer(answer) => return client.write_all(&answer),
            Deal::Delay(delay) => self.wait_while(&client, delay, || true),
            _ => {}
        }
        let mut engine = UnixStream::connect(&self.shared.engine)?;
        engine.set_read_timeout(Some(INTERVAL))?;
        write!(engine, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        self.forward(&path, engine, client)
    }

    fn forward(&self, path: &str, engine: UnixStream, mut client: UnixStream) -> io::Result<()> {
        let mut engine = BufReader::new(engine);
        let mut passed = 0;
        let mut head = true;
        loop {
            let Some(piece) = self.next_piece(&mut engine, &client, head)? else { return Ok(()) };
            if head {
                client.write_all(&piece)?;
                head = piece != b"\r\n";
                continue;
            }
            match self.shared.deal(path) {
                Deal::Truncate(length) => {
                    let left = length.saturating_sub(passed).min(piece.len());
                    client.write_all(piece.get(..left).unwrap_or_default())?;
                    if passed + left >= length {
                        return Ok(());
                    }
                }
                Deal::Cut => {
                    return client.write_all(piece.get(..piece.len() / 2).unwrap_or_default());
                }
                Deal::Close => return Ok(()),
                Deal::Stall => {
                    let stalls = || self.shared.deal(path) == Deal::Stall;
                    self.wait_while(&client, Duration::MAX, stalls);
                    client.write_all(&piece)?;
                }
                Deal::Lose => {}
                Deal::Corrupt => client.write_all(&corrupted(&piece))?,
                Deal::Repeat(times) => client.write_all(&repeated(&piece, times))?,
                Deal::Pass | Deal::Hang | Deal::Answer(_) | Deal::Delay(_) => {
                    client.write_all(&piece)?;
                }
            }
            passed += piece.len();
        }
    }

    /// What the engine sends next: a line of the head, or some of the body; `None` at the end of
    /// either side.
    fn next_piece(
        &self,
        engine: &mut BufReader<UnixStream>,
        client: &UnixStream,
        head: bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut piece = vec![0; 1 << 16];
        while self.is_there() && !has_left(client)? {
            let read =
                if head { engine.read_until(b'\n', &mut line) } else { engine.read(&mut piece) };
            match read {
                Ok(0) => return Ok(None),
                Ok(_) if head => return Ok(Some(line)),
                Ok(length) => {
                    piece.truncate(length);
                    return Ok(Some(piece));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn is_there(&self) -> bool {
        self.shared.is_there(self.socket)
    }

    /// Waits while something is so, and there is anybody to wait for, for so long at most.
    fn wait_while(&self, client: &UnixStream, limit: Duration, so: impl Fn() -> bool) {
        let over = || !so() || !self.is_there() || has_left(client).unwrap_or(true);
        // When it is not over yet, time is up.
        wait_until(limit, "a client to leave", over).ok();
    }
}

/// The path of a request without a body; `None` when none comes.
fn read_request(client: &UnixStream) -> io::Result<Option<String>> {
    let mut lines = BufReader::new(client).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first.split(' ').nth(1).map(str::to_owned))
}

/// Whether nobody waits for an answer any more.
fn has_left(client: &UnixStream) -> io::Result<bool> {
    client.set_nonblocking(true)?;
    let left = match (&mut &*client).read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    client.set_nonblocking(false)?;
    Ok(left)
}

fn corrupted(piece: &[u8]) -> Vec<u8> {
    let corrupt = |(at, byte): (usize, &u8)| if at % 16 == 7 { *byte ^ 0x15 } else { *byte };
    piece.iter().enumerate().map(corrupt).collect()
}

fn repeated(piece: &[u8], times: usize) -> Vec<u8> {
    let lines = piece.split_inclusive(|byte| *byte == b'\n').rev();
    lines.flat_map(|line| line.repeat(times)).collect()
}

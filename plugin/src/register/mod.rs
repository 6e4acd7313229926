//! Registering `ebpf-netns-runtime` with Docker, and taking it out again: a change of Docker's
//! configuration that dockerd has taken, or none at all.
//!
//! First everything is found out and the change decided, so that it can be shown; then it is made.

mod dockerd;
mod document;
mod file;
mod name;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use ebpf_netns::docker::{DockerError, Endpoint, Runtimes, connect_to};
use serde::Serialize;
use similar::TextDiff;
use tokio::time::{Instant, sleep};

pub use self::dockerd::{DEFAULT_CONFIG, DockerdError};
use self::dockerd::{DEFAULT_PIDFILE, Dockerd};
pub use self::document::DocumentError;
use self::document::{Change, edit, registered};
use self::file::ConfigFile;
pub use self::file::FileError;
pub use self::name::{BadName, DEFAULT_NAME, RuntimeName};
use crate::runtime::PROGRAM;

/// How long dockerd may take to read its configuration again.
const TAKEN: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const ASK: Duration = Duration::from_millis(100);

/// Which Docker, and by which name.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its configuration file.
    pub config: PathBuf,
    /// The file with its process id, if it is not where the configuration says or where it usually
    /// is.
    pub pidfile: Option<PathBuf>,
    /// Its API.
    pub docker: Endpoint,
    /// The name that the runtime has there.
    pub name: RuntimeName,
}

/// A change that is decided and not made yet.
#[derive(Debug)]
pub struct Planned {
    place: Place,
    file: ConfigFile,
    dockerd: Option<(Dockerd, Runtimes)>,
    goal: Goal,
    /// What a dockerd that runs is to read.
    now: String,
    /// What is to stay in the file.
    finally: String,
}

/// What dockerd is to say when it has taken the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    There { default: bool },
    Gone,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// dockerd has taken it.
    Taken,
    /// dockerd does not run, and will take it when it starts.
    AtStart,
    /// dockerd keeps what it has until it starts anew.
    AtRestart,
}

/// What is registered, as `status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Registration {
    /// Docker's configuration file.
    pub config: PathBuf,
    /// The name of the runtime.
    pub name: String,
    /// The program that it is in the file, if it is in there.
    pub program: Option<PathBuf>,
    /// Whether the file makes it the default.
    pub default: bool,
    /// What the engine has, if it answers.
    pub engine: Option<Engine>,
}

/// What an engine says of the runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Engine {
    /// Whether it has it.
    pub registered: bool,
    /// Whether containers get it that ask for none.
    pub default: bool,
    /// The containers that were made for it.
    pub containers: Vec<String>,
}

/// The runtime could not be registered, or taken out.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The configuration file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what Docker takes.
    #[error("{}: {source}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DocumentError,
    },
    /// dockerd could not be dealt with.
    #[error(transparent)]
    Dockerd(#[from] DockerdError),
    /// The engine's API gave no answer.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The program is not there.
    #[error("{} is no program: install {PROGRAM}, or give its --path", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
    /// dockerd reads another file.
    #[error(
        "dockerd (process {pid}) reads {} and not {}: give it as --config",
        reads.display(),
        given.display()
    )]
    OtherConfig {
        /// Its process id.
        pid: String,
        /// The file that it reads.
        reads: PathBuf,
        /// The file that was given.
        given: PathBuf,
    },
    /// dockerd went on with what it had.
    #[error(
        "dockerd did not take the new configuration within {} seconds, and the file is as it was: \
         its log says why; a setting that is also an argument of dockerd (--add-runtime, \
         --default-runtime) has to stand in one place alone",
        TAKEN.as_secs()
    )]
    NotTaken,
    /// Containers would not start any more.
    #[error(
        "these containers were made for runtime {name} and would not start without it: {}; remove \
         them first, or use --force",
        containers.join(", ")
    )]
    InUse {
        /// The runtime.
        name: String,
        /// The containers' names.
        containers: Vec<String>,
    },
    /// Nobody can tell which containers use it.
    #[error(
        "Docker does not run, so nobody knows which containers were made for runtime {0} and would \
         not start without it: start Docker first, or use --force"
    )]
    UsersUnknown(String),
}

impl Place {
    /// Decides how to register a program, ours beside this one if none is given.
    ///
    /// # Errors
    ///
    /// When something is not as it should be; nothing has been changed.
    pub async fn install(
        self,
        program: Option<PathBuf>,
        default: bool,
    ) -> Result<Planned, RegisterError> {
        let program = program.map_or_else(own_program, check_program)?;
        let (file, dockerd) = self.look().await?;
        let change = Change::Add { program: &program, default };
        let now = self.edited(&file, change)?;
        let finally = now.clone();
        Ok(Planned { place: self, file, dockerd, goal: Goal::There { default }, now, finally })
    }

    /// Decides how to take it out.
    ///
    /// # Errors
    ///
    /// When something is not as it should be, or containers need it and this is not forced; nothing
    /// has been changed.
    pub async fn uninstall(self, force: bool) -> Result<Planned, RegisterError> {
        let (file, dockerd) = self.look().await?;
        let finally = self.edited(&file, Change::Remove)?;
        if !force {
            self.check_unused(finally != file.text(), dockerd.is_some()).await?;
        }
        let now = self.edited(&file, Change::Empty)?;
        Ok(Planned { place: self, file, dockerd, goal: Goal::Gone, now, finally })
    }

    /// What is registered.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood.
    pub async fn status(self) -> Result<Registration, RegisterError> {
        let file = ConfigFile::read(&self.config)?;
        let there = registered(file.text(), &self.name).map_err(bad(&file))?;
        Ok(Registration {
            engine: self.engine().await.ok(),
            config: file.path,
            name: self.name.to_string(),
            program: there.program,
            default: there.default,
        })
    }

    async fn engine(&self) -> Result<Engine, DockerError> {
        let has = ask(&self.docker).await?;
        let name = self.name.as_str();
        Ok(Engine {
            registered: has.names.iter().any(|one| one == name),
            default: has.default.as_deref() == Some(name),
            containers: connect_to(self.docker.clone()).await?.containers_of_runtime(name).await?,
        })
    }

    /// The file, and dockerd with what it has now, if it runs.
    async fn look(&self) -> Result<(ConfigFile, Option<(Dockerd, Runtimes)>), RegisterError> {
        let file = ConfigFile::read(&self.config)?;
        let said = || document::pidfile(file.text());
        let pidfile = self.pidfile.clone().or_else(said);
        let pidfile = pidfile.unwrap_or_else(|| DEFAULT_PIDFILE.into());
        let Some(dockerd) = Dockerd::find(&pidfile)? else { return Ok((file, None)) };
        let reads = dockerd.config();
        if ConfigFile::read(&reads)?.path != file.path {
            let (pid, given) = (dockerd.pid.to_string(), file.path);
            return Err(RegisterError::OtherConfig { pid, reads, given });
        }
        let has = ask(&self.docker).await?;
        Ok((file, Some((dockerd, has))))
    }

    fn edited(&self, file: &ConfigFile, change: Change<'_>) -> Result<String, RegisterError> {
        edit(file.text(), &self.name, change).map_err(bad(file))
    }

    /// Docker writes the runtime's name into each container that it makes.
    async fn check_unused(&self, registered: bool, running: bool) -> Result<(), RegisterError> {
        let name = self.name.to_string();
        if !running {
            return if registered { Err(RegisterError::UsersUnknown(name)) } else { Ok(()) };
        }
        let docker = connect_to(self.docker.clone()).await?;
        let containers = docker.containers_of_runtime(&name).await?;
        if containers.is_empty() {
            return Ok(());
        }
        Err(RegisterError::InUse { name, containers })
    }
}

impl Planned {
    /// What changes in the file, for people; empty when nothing does.
    #[must_use]
    pub fn diff(&self) -> String {
        let name = self.file.path.display().to_string();
        let diff = TextDiff::from_lines(self.file.text(), &self.finally);
        diff.unified_diff().header(&name, &name).to_string()
    }

    /// Makes the change, and has dockerd take it.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or dockerd does not take it; the file is then as it was.
    pub async fn commit(self) -> Result<Done, RegisterError> {
        let running = self.dockerd.as_ref().map(|(dockerd, _)| dockerd);
        let changes = self.file.text() != self.finally;
        if changes {
            // The keys that were emptied need not be there for who reads the file afresh.
            let text = if running.is_some() { &self.now } else { &self.finally };
            let prepared = self.file.prepare(text)?;
            dockerd::validate(running, prepared.path())?;
            self.file.back_up()?;
            prepared.replace()?;
        }
        let Some((dockerd, has)) = &self.dockerd else { return Ok(Done::AtStart) };
        let done = if self.is_reached(has) {
            Done::Taken
        } else {
            self.have_taken(dockerd, changes).await?
        };
        if changes && self.now != self.finally {
            self.file.prepare(&self.finally)?.replace()?;
        }
        Ok(done)
    }

    async fn have_taken(&self, dockerd: &Dockerd, changes: bool) -> Result<Done, RegisterError> {
        dockerd.reload()?;
        let begun = Instant::now();
        while begun.elapsed() < TAKEN {
            // It may not answer for a moment.
            if ask(&self.place.docker).await.is_ok_and(|has| self.is_reached(&has)) {
                return Ok(Done::Taken);
            }
            sleep(ASK).await;
        }
        if self.goal == Goal::Gone {
            return Ok(Done::AtRestart);
        }
        if changes {
            self.file.restore()?;
            dockerd.reload()?;
        }
        Err(RegisterError::NotTaken)
    }

    fn is_reached(&self, has: &Runtimes) -> bool {
        let name = self.place.name.as_str();
        let there = has.names.iter().any(|one| one == name);
        let is_default = has.default.as_deref() == Some(name);
        match self.goal {
            Goal::There { default } => there && (is_default || !default),
            Goal::Gone => !there && !is_default,
        }
    }
}

fn bad(file: &ConfigFile) -> impl FnOnce(DocumentError) -> RegisterError {
    let path = file.path.clone();
    move |source| RegisterError::Document { path, source }
}

async fn ask(docker: &Endpoint) -> Result<Runtimes, DockerError> {
    connect_to(docker.clone()).await?.runtimes().await
}

/// Our program beside the one that runs.
fn own_program() -> Result<PathBuf, RegisterError> {
    let own = env::current_exe().unwrap_or_default();
    check_program(own.with_file_name(PROGRAM))
}

fn check_program(path: PathBuf) -> Result<PathBuf, RegisterError> {
    if is_program(&path).unwrap_or(false) {
        Ok(path)
    } else {
        Err(RegisterError::NoProgram { path })
    }
}

fn is_program(path: &Path) -> io::Result<bool> {
    let file = fs::metadata(path)?;
    let ours = path.file_name().is_some_and(|name| name == PROGRAM);
    Ok(path.is_absolute() && ours && file.is_file() && file.permissions().mode() & 0o111 != 0)
}

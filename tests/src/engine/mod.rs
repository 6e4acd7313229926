//! A real Docker engine in a machine of its own.
//!
//! Everything of it lies in the machine's private `/run` and `/var/lib`, at the usual paths: inside,
//! the socket is `/run/docker.sock` and `docker` needs no options.

mod address;
mod api;
mod configuration;
mod containers;
mod gate;
mod server;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use self::server::Server;
pub use self::{address::Addresses, gate::Gate};
use crate::{
    binaries::{self, Binary},
    command,
    images::Image,
    machine::Machine,
    newer::Newer,
};

/// The socket inside a private machine, as a URI.
pub const DOCKER_HOST: &str = "unix:///run/docker.sock";

/// The subnet of the default bridge's IPv6 addresses.
pub const FIXED_CIDR_V6: &str = "fd00:d0c::/64";

/// The OCI runtime that waits at `start` until its [`Gate`] is open: `docker run --runtime …`.
pub const GATED_RUNTIME: &str = "gated";

/// What is not the default about an engine.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// More arguments of `dockerd`, for example `--live-restore`.
    pub flags: Vec<String>,
    /// The images to import; all of them when empty.
    pub images: Vec<Image>,
}

/// A running engine; it ends, with its containers, when dropped.
#[derive(Debug)]
pub struct Engine {
    // Dropped first, before the machine it runs in. Behind a lock, so that an engine can be
    // restarted while a daemon in the same machine borrows from it.
    server: Mutex<Option<Server>>,
    machine: Machine,
    options: EngineOptions,
    newer: Option<Newer>,
    gate: Gate,
    docker: PathBuf,
    docker_host: String,
}

impl Engine {
    /// Starts an engine in a machine of its own and imports all images.
    ///
    /// # Errors
    ///
    /// When a program is missing, or the engine does not answer in time; the error shows its log.
    pub fn start() -> Result<Self> {
        Self::start_with(EngineOptions::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(options: EngineOptions) -> Result<Self> {
        Self::start_of(None, options)
    }

    /// As [`Self::start_with`], of a newer release than this machine's.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_newer(newer: Newer, options: EngineOptions) -> Result<Self> {
        Self::start_of(Some(newer), options)
    }

    fn start_of(newer: Option<Newer>, options: EngineOptions) -> Result<Self> {
        let machine = Machine::start()?;
        let gate = Gate::new(&machine)?;
        configuration::write(&machine, &gate)?;
        let docker = newer.as_ref().map_or_else(docker_program, |newer| Ok(newer.client()))?;
        let docker_host = DOCKER_HOST.to_owned();
        let server = Mutex::default();
        let engine = Self { server, machine, options, newer, gate, docker, docker_host };
        engine.restart()?;
        let all = Image::ALL;
        let wanted = &engine.options.images;
        for image in if wanted.is_empty() { &all[..] } else { wanted } {
            engine.import(*image, image.name())?;
        }
        Ok(engine)
    }

    /// The engine that runs on this host, at `$DOCKER_HOST` or the usual socket. Nothing is
    /// imported into it, and dropping this leaves it alone.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn host() -> Result<Self> {
        let machine = Machine::host()?;
        let gate = Gate::new(&machine)?;
        let docker_host =
            std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
        let (docker, options) = (docker_program()?, EngineOptions::default());
        let (server, newer) = (Mutex::default(), None);
        let engine = Self { server, machine, options, newer, gate, docker, docker_host };
        engine
            .docker(["version", "--format", "{{.Server.Version}}"])
            .with_context(|| format!("there is no Docker engine at {}", engine.docker_host))?;
        Ok(engine)
    }

    /// The machine that the engine runs in.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The gate of containers that run with [`GATED_RUNTIME`].
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Where the engine is, for programs in its machine.
    #[must_use]
    pub fn docker_host(&self) -> &str {
        &self.docker_host
    }

    /// The socket's path as this process, outside of the machine, reaches it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.machine.outside("/run/docker.sock")
    }

    /// Runs `docker ARGUMENTS…` and returns its stdout without the last line end.
    ///
    /// # Errors
    ///
    /// When it fails; the error shows its stderr.
    pub fn docker<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        command::stdout_of(self.docker_command().args(arguments))
    }

    /// Runs `docker ARGUMENTS…` and returns what came of it, also of a failure.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    pub fn try_docker<I>(&self, arguments: I) -> Result<Output>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        command::output_of(self.docker_command().args(arguments))
    }

    /// `docker` without arguments, for [`Machine::spawn`] and the like.
    #[must_use]
    pub fn docker_command(&self) -> Command {
        let mut command = self.machine.command(&self.docker);
        command
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_HOST", &self.docker_host)
            // Nobody's credentials or plugins.
            .env("DOCKER_CONFIG", self.machine.directory());
        command
    }

    /// `ebpf-netns` without arguments, in the machine and with this engine.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn netns(&self) -> Result<Command> {
        let program = binaries::path(Binary::Netns)?;
        // It looks for `ebpf-netns-plugin` there, for the verbs that it does not have.
        let own = program.parent().map(Path::to_path_buf);
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&usual)))?;
        let mut command = self.machine.command(&program);
        command.env("DOCKER_HOST", &self.docker_host).env("PATH", path);
        Ok(command)
    }

    /// Ends `dockerd` in order (SIGTERM) and starts it again; containers end, but for
    /// `--live-restore`.
    ///
    /// # Errors
    ///
    /// When it does not end, or does not start.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        let server = Server::start(&self.machine, self.newer.as_ref(), &self.options.flags)?;
        *self.server() = Some(server);
        Ok(())
    }

    /// Ends `dockerd` in order (SIGTERM); nothing when it does not run.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&self) -> Result<()> {
        let running = self.server().take();
        running.map_or(Ok(()), Server::stop)
    }

    /// Ends `dockerd` at once (SIGKILL); containers live on. [`Self::restart`] starts it again.
    ///
    /// # Errors
    ///
    /// When it was not running.
    pub fn kill(&self) -> Result<()> {
        let running = self.server().take();
        running.context("dockerd does not run")?.kill()
    }

    /// Sends `dockerd` a signal, for example to stop it for a while (SIGSTOP, SIGCONT).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server().as_ref().context("dockerd does not run")?.signal(signal)
    }

    /// Imports an image under a name; [`Self::start`] does it under its own.
    ///
    /// # Errors
    ///
    /// When it cannot be made or imported.
    pub fn import(&self, image: Image, name: &str) -> Result<()> {
        let mut arguments = vec!["import".to_owned()];
        for change in image.changes() {
            arguments.extend(["--change".to_owned(), (*change).to_owned()]);
        }
        arguments.extend([image.tarball()?.display().to_string(), name.to_owned()]);
        self.docker(&arguments).map(drop).with_context(|| format!("import image {name}"))
    }
}

impl Engine {
    /// A test that panicked elsewhere does not make the server unusable.
    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(server) = &*self.server()
        {
            server.show_log();
        }
    }
}

/// The CLI of the distribution, of the same version as the engine, before any other.
fn docker_program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from("/usr/bin"))
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("docker"))
        .find(|program| fs::metadata(program).is_ok_and(|file| file.is_file()))
        .context("there is no docker program: run `cargo xtask setup`")
}

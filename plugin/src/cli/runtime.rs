//! `runtime install`, `uninstall` and `status`: the OCI runtime in Docker's configuration.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;
use super::verbs::{Failure, endpoint, print, runtime};
use crate::register::{
    DEFAULT_CONFIG, DEFAULT_NAME, Done, Place, Planned, Registration, RuntimeName,
};

#[derive(Debug, Subcommand)]
pub(super) enum RuntimeVerb {
    /// Register ebpf-netns-runtime with Docker, which takes it without a restart.
    ///
    /// Shows what changes in daemon.json, keeps a copy of it beside it, and puts it back when dockerd
    /// does not take the change. A container uses the runtime when it is made with `--runtime NAME`,
    /// or with none while it is the default.
    Install(Install),
    /// Take it out of Docker's configuration again.
    Uninstall(Uninstall),
    /// Show whether it is registered, and which containers were made for it.
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(super) struct Install {
    #[command(flatten)]
    place: PlaceArgs,
    /// Make it what containers get that ask for none. Those that exist keep what they have.
    #[arg(long)]
    default: bool,
    /// The program; beside this one by default.
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Uninstall {
    #[command(flatten)]
    place: PlaceArgs,
    /// Also when containers were made for it, which do not start any more then.
    #[arg(long)]
    force: bool,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// Docker's configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The runtime's name in Docker.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: RuntimeName,
    /// The file with dockerd's process id [default: as in daemon.json, else /var/run/docker.pid].
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// The Docker engine; else as in `DOCKER_HOST`.
    #[arg(long, value_name = "URI")]
    docker_host: Option<String>,
}

impl TryFrom<PlaceArgs> for Place {
    type Error = Failure;

    fn try_from(args: PlaceArgs) -> Result<Self, Failure> {
        let PlaceArgs { config, name, pidfile, docker_host } = args;
        Ok(Self { config, pidfile, docker: endpoint(docker_host)?, name })
    }
}

pub(super) fn run(verb: RuntimeVerb) -> Result<(), Failure> {
    match verb {
        RuntimeVerb::Install(Install { place, default, path, dry_run }) => {
            let place = Place::try_from(place)?;
            let name = place.name.clone();
            let how = format!(
                "registered: docker run --runtime {name} …{}",
                if default { ", and every container made from now on" } else { "" }
            );
            let planned = async { Ok(place.install(path, default).await?) };
            runtime()?.block_on(carry_out(planned, dry_run, &how))
        }
        RuntimeVerb::Uninstall(Uninstall { place, force, dry_run }) => {
            let place = Place::try_from(place)?;
            let planned = async { Ok(place.uninstall(force).await?) };
            runtime()?.block_on(carry_out(planned, dry_run, "taken out"))
        }
        RuntimeVerb::Status(StatusArgs { place, format }) => {
            let registration = runtime()?.block_on(Place::try_from(place)?.status())?;
            print(format, &registration, || table(&registration))
        }
    }
}

/// Shows the change before it is made, and what became of it after.
async fn carry_out(
    planned: impl Future<Output = Result<Planned, Failure>>,
    dry_run: bool,
    how: &str,
) -> Result<(), Failure> {
    let planned = planned.await?;
    let diff = planned.diff();
    say(if diff.is_empty() { "nothing to change in the file\n" } else { &diff })?;
    if dry_run {
        return Ok(());
    }
    say(&match planned.commit().await? {
        Done::Taken => format!("{how}\n"),
        Done::AtStart => format!("Docker does not run; from its next start on: {how}\n"),
        Done::AtRestart => format!("Docker keeps it until it is restarted; from then on: {how}\n"),
    })?;
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn table(registration: &Registration) -> String {
    let Registration { config, name, program, default, engine } = registration;
    let default_too = |is: bool| if is { ", the default" } else { "" };
    let mut text = match program {
        Some(program) => format!(
            "{}: {name} is {}{}\n",
            config.display(),
            program.display(),
            default_too(*default)
        ),
        None => format!("{}: {name} is not registered\n", config.display()),
    };
    let said = match engine {
        None => "does not answer".to_owned(),
        Some(engine) if engine.registered => format!("has it{}", default_too(engine.default)),
        Some(_) => "does not have it".to_owned(),
    };
    // Writing to a string does not fail.
    writeln!(text, "Docker: {said}").ok();
    if let Some(engine) = engine {
        let names = match engine.containers.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        writeln!(text, "containers made for it: {names}").ok();
    }
    text
}

//! What each verb does. Output goes to standard output, everything else to standard error.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use ebpf_netns::docker::{BadEndpoint, DockerError, Endpoint};
use ebpf_netns::text::printable;
use ebpf_netns::{ErrorClass, Ifindex, InvalidIfindex, Rtnl, RtnlError, exit};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::capture;
use super::explain;
use super::programs as programs_verb;
use super::runtime::{self, RuntimeVerb};
use super::top;
use super::trace;
use super::watch::{self, Turn, every};
use super::{
    AttachedArgs, Cli, Format, MetricsArgs, Places, ReloadArgs, Run, StatusArgs, Verb, check,
    doctor, table,
};
use crate::capture::FileError;
use crate::cnm::{self, CnmError};
use crate::config::{self, Config, ConfigErrors};
use crate::control::{self, ClientError, StreamError};
use crate::daemon::{self, DaemonError, Options};
use crate::error::{chain, of_system};
use crate::execs::FollowError;
use crate::explain::{CaptureError, Refused, TextError};
use crate::finding::Findings;
use crate::gate::Gate;
use crate::kernel::examine::ExamineError;
use crate::kernel::{self, CleanError, ExecsError, LoadError, Pins, PinsError, Programs, attached};
use crate::labels::LabelErrors;
use crate::log::Log;
use crate::metrics;
use crate::programs;
use crate::records;
use crate::register::RegisterError;
use crate::reload::Outcome;
use crate::sandbox::{self, Paths, SandboxError, Settings};
use crate::tally::Tally;
use crate::top::TopError;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { verb } = Cli::parse();
    let (done, format) = match verb {
        Verb::Run(args) => (run(args), Format::Table),
        Verb::Clean(args) => (clean(&args), Format::Table),
        Verb::Status(args) => (status(&args), args.format),
        Verb::Top(args) => (top::run(&args), args.format),
        Verb::Explain(args) => (explain::run(&args), args.format),
        Verb::Trace(args) => (trace::run(&args), Format::Table),
        Verb::Capture(args) => (capture::run(&args), Format::Table),
        Verb::Metrics(args) => (show_metrics(&args), Format::Table),
        Verb::Reload(args) => (reload(&args), args.format),
        Verb::Check(args) => (check::run(&args), args.format),
        Verb::Programs(args) => (programs_verb::run(&args), args.format),
        Verb::Doctor(args) => (doctor::run(&args), args.format),
        Verb::Attached(args) => (show_attached(&args), args.format),
        Verb::Runtime(verb) => {
            let format = match &verb {
                RuntimeVerb::Status(args) => args.format,
                RuntimeVerb::Install(_) | RuntimeVerb::Uninstall(_) => Format::Table,
            };
            (runtime::run(verb), format)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough is nobody's fault.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        // The report says why.
        Err(Failure::Verdict(code)) => ExitCode::from(code),
        Err(failure) => {
            let text = chain(&failure);
            let line = match format {
                Format::Table => format!("ebpf-netns-plugin: {text}"),
                Format::Json => failure.in_json(&text).to_string(),
            };
            // There is nowhere left to say that standard error is closed.
            writeln!(io::stderr().lock(), "{line}").ok();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: Run) -> Result<(), Failure> {
    let Run { docker_host, docker_exec_root, control_socket, places, tc, log_format, .. } = args;
    let Places { pins, state } = places;
    let tally = Arc::new(Tally::default());
    let mut log = Log::start(log_format, Arc::clone(&tally));
    let docker = endpoint(docker_host)?;
    let place = args.config.place();
    let config = config::load(&place)?;
    let own_programs = programs_directory(args.programs, &config);
    let driver = (args.driver || config.driver).then_some(args.driver_socket);
    let mut settings = Settings::new(
        &docker,
        &Paths {
            pins: &pins,
            state: &state,
            control_socket: &control_socket,
            docker_exec_root: &docker_exec_root,
            config: place.directory(),
            programs: &own_programs,
            driver: driver.as_deref(),
        },
    );
    settings.unlisted = args.seccomp;
    settings.required = args.require_sandbox || config.require_sandbox;
    // The command line counts more than the file.
    let strict = (args.strict || config.strict).then(|| match args.strict_bridges {
        none if none.is_empty() => config.strict_bridges.clone(),
        named => named,
    });
    // Who may not run leaves nothing behind.
    sandbox::require_capabilities()?;
    // This may have to mount, which nothing may after the next line.
    let pins = Pins::open(&pins)?;
    kernel::probe();
    // With all that it has now, of which the next lines leave less.
    let programs = Programs::load(&pins).map_err(DaemonError::from)?;
    // The files of networks are out of reach then for who drives none.
    let endpoints = cnm::found();
    // No port can be bound once the sandbox is entered.
    let metrics = args.metrics.or(config.metrics).and_then(metrics::listen);
    // This takes CAP_SYS_NICE.
    sandbox::come_first();
    // Before there is a second thread, which would keep what it has.
    let sandbox = sandbox::enter(settings)?;
    log.detach()
        .map_err(|source| DaemonError::System { what: "start the log's thread", source })?;
    let options = Options {
        docker,
        control_socket,
        programs,
        own_programs,
        pins,
        state,
        place,
        config,
        tc,
        strict,
        metrics,
        driver,
        endpoints,
        tally,
    };
    let runtime = usual_threads().on_thread_start(sandbox::come_in_turn).build()?;
    Ok(runtime.block_on(daemon::run(options, sandbox))?)
}

/// Where the operator's programs are. The command line counts more than the file.
pub(super) fn programs_directory(named: Option<PathBuf>, config: &Config) -> PathBuf {
    named
        .or_else(|| config.programs.clone())
        .unwrap_or_else(|| PathBuf::from(programs::DEFAULT_DIRECTORY))
}

/// The engine that the command line names, else the environment.
pub(super) fn endpoint(docker_host: Option<String>) -> Result<Endpoint, Failure> {
    match docker_host {
        Some(host) => {
            Endpoint::parse(&host, false).map_err(|reason| Failure::DockerHost { host, reason })
        }
        None => Ok(Endpoint::from_environment()?),
    }
}

fn clean(args: &Places) -> Result<(), Failure> {
    let Places { pins, state } = args;
    let mut removed = kernel::clean(Pins::open(pins)?)?;
    // Last, so that nothing is open before its policy is off: and a kernel without nftables has none.
    if Gate::open().and_then(|gate| gate.remove()).is_ok_and(|removed| removed) {
        removed.push("strict mode's gate".to_owned());
    }
    removed.extend(cnm::clean()?);
    records::clean(state).map_err(|source| Failure::State { path: state.clone(), source })?;
    removed.push(format!("{} and {}", pins.display(), state.display()));
    let mut out = io::stdout().lock();
    for line in removed {
        writeln!(out, "removed {line}")?;
    }
    Ok(())
}

fn status(args: &StatusArgs) -> Result<(), Failure> {
    let StatusArgs { rules, watch, control_socket, format } = args;
    let show = |status| print(*format, &status, || table::status(&status));
    let Some(interval) = watch else {
        return show(runtime()?.block_on(control::status(control_socket, *rules))?);
    };
    let mut follows = false;
    runtime()?.block_on(every(*interval, async || {
        let status = control::status(control_socket, *rules).await?;
        watch::begin(follows)?;
        follows = true;
        show(status).map(|()| Turn::Next)
    }))
}

fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    match runtime()?.block_on(control::reload(&args.control_socket))? {
        Outcome::Taken(taken) => print(args.format, &taken, || table::taken(&taken)),
        Outcome::Refused { errors } => Err(Failure::Refused(errors)),
    }
}

fn show_metrics(args: &MetricsArgs) -> Result<(), Failure> {
    let text = runtime()?.block_on(control::metrics(&args.control_socket))?;
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}

fn show_attached(args: &AttachedArgs) -> Result<(), Failure> {
    let rtnl = Rtnl::open()?;
    let mut programs = Vec::new();
    for number in &args.interfaces {
        let index = Ifindex::try_from(*number)?;
        let link = rtnl.link(index)?.ok_or(Failure::NoInterface(index))?;
        programs.extend(attached(&link));
    }
    print(args.format, &programs, || table::attached(&programs))
}

pub(super) fn print(
    format: Format,
    value: &impl Serialize,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let mut text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value).map_err(io::Error::from)?,
    };
    if format == Format::Json {
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

pub(super) fn runtime() -> io::Result<Runtime> {
    usual_threads().build()
}

fn usual_threads() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Top(#[from] TopError),
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error("--docker-host {}: {reason}", printable(host))]
    DockerHost { host: String, reason: BadEndpoint },
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("the configuration is not understood, the one before holds:\n{}", .0.join("\n"))]
    Refused(Vec<String>),
    // No source, whose line would follow upon its lines.
    #[error("{0:#}")]
    Labels(LabelErrors),
    #[error("{0:#}")]
    Findings(Findings),
    #[error("read {}", printable(name))]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Programs(String),
    #[error("the packet is not understood: {0:#}")]
    Packet(TextError),
    #[error("--filter: {0:#}")]
    Filter(TextError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("--packet")]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    CaptureFile(#[from] FileError),
    #[error(
        "a capture is no text, and standard output is a terminal: give it to another program, or name \
         a file"
    )]
    Terminal,
    #[error("the daemon ended the capture: {0}")]
    CaptureEnded(String),
    #[error("{0}")]
    Unexplained(Refused),
    #[error(transparent)]
    Examine(#[from] ExamineError),
    #[error("the programs and the rules say different things {0} times: please report it")]
    Disagreement(usize),
    #[error("the machine is not known to be fit")]
    Verdict(u8),
    #[error(transparent)]
    Ifindex(#[from] InvalidIfindex),
    #[error(transparent)]
    Rtnl(#[from] RtnlError),
    #[error("no interface has index {0}: ip link shows them")]
    NoInterface(Ifindex),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error("clean")]
    Clean(#[from] CleanError),
    #[error("clean networks")]
    Networks(#[from] CnmError),
    #[error("remove {}", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write the output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// For programs: the text, and each problem by itself where there may be several.
    fn in_json(&self, text: &str) -> serde_json::Value {
        match self {
            Self::Findings(findings) => {
                let problems: Vec<_> = findings.iter().collect();
                serde_json::json!({ "error": text, "problems": problems })
            }
            _ => serde_json::json!({ "error": text }),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Daemon(DaemonError::Load(LoadError::NotPermitted))
            | Self::Follow(FollowError::Execs(ExecsError::NotPermitted)) => exit::NOT_PERMITTED,
            // The verifier's refusal is an EACCES too.
            Self::Daemon(DaemonError::Load(_)) => exit::FAILED,
            Self::Docker(error)
            | Self::Register(RegisterError::Docker(error))
            | Self::Follow(FollowError::Docker(error)) => error.exit_code(),
            Self::Labels(_)
            | Self::Findings(_)
            | Self::Config(_)
            | Self::Programs(_)
            | Self::Refused(_)
            | Self::Register(RegisterError::Document { .. }) => exit::BAD_DATA,
            Self::Daemon(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Sandbox(error) if error.is_permission() => exit::NOT_PERMITTED,
            Self::Sandbox(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Pins(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Clean(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Networks(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::State { source, .. } | Self::Unreadable { source, .. }
                if is_permission(source) =>
            {
                exit::NOT_PERMITTED
            }
            Self::CaptureFile(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Register(error) if is_permission(error) => exit::NOT_PERMITTED,
            Self::Daemon(_)
            | Self::Stream(StreamError::Output(_))
            | Self::Follow(_)
            | Self::Sandbox(_)
            | Self::Register(_)
            | Self::Output(_)
            | Self::Pins(_)
            | Self::Clean(_)
            | Self::Networks(_)
            | Self::Unreadable { .. }
            | Self::State { .. }
            | Self::Top(TopError::Terminal { .. })
            | Self::CaptureFile(_)
            | Self::CaptureEnded(_)
            | Self::Disagreement(_) => exit::FAILED,
            Self::Verdict(code) => *code,
            Self::Capture(error) => error.exit_code(),
            Self::Unexplained(refused) | Self::Stream(StreamError::Refused(refused)) => {
                refused.exit_code()
            }
            Self::Examine(error) => error.exit_code(),
            Self::Client(error)
            | Self::Top(TopError::Client(error))
            | Self::Stream(StreamError::Client(error)) => error.exit_code(),
            Self::DockerHost { .. } | Self::Stream(StreamError::Ended) => exit::UNAVAILABLE,
            Self::Ifindex(_) | Self::Packet(_) | Self::Filter(_) | Self::Terminal => exit::USAGE,
            Self::Rtnl(error) => exit::of_class(error.class()),
            Self::NoInterface(_) => exit::NOT_FOUND,
        }
    }
}

/// Whether an operating system error among the causes is one of permission.
fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    of_system(error).is_some_and(|error| ErrorClass::of_io(error) == ErrorClass::Permission)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Json => "json",
        })
    }
}

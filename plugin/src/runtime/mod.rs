//! `ebpf-netns-runtime`: an OCI runtime that asks the daemon whether a container may start, and then
//! becomes the real runtime.
//!
//! It runs for every verb of every container, so whatever is not `start` costs a look at the
//! settings and an `exec`. It has no command line of its own, keeps nothing, and changes nothing
//! about what the real runtime gets: arguments, environment, open files.

mod arguments;
mod complaint;
mod real;
mod settings;

use std::path::Path;
use std::process::ExitCode;
use std::{env, io};

use ebpf_netns::text::printable;
use tokio::runtime::Builder;
use tokio::time::Instant;

pub use self::arguments::{Arguments, LogFile, SETTINGS_OPTION, Verb};
use self::complaint::{Level, tell};
pub use self::settings::{DEFAULT_PATH, PROGRAM, Settings, SettingsError};
use crate::control::{self, ClientError};
use crate::error::chain;
use crate::start::Verdict;

/// The namespace of containerd in which Docker runs its managed plugins. They have no labels, and
/// the daemon may be one of them.
const PLUGINS: &str = "plugins.moby";

/// As runc ends when something is wrong.
const FAILED: u8 = 1;

/// Asks, and becomes the real runtime. Returns only when it does not.
#[must_use]
pub fn main() -> ExitCode {
    let begun = Instant::now();
    let arguments = Arguments::parse(env::args_os().skip(1));
    let settings = match (Settings::load(arguments.settings.as_deref()), &arguments.verb) {
        (Ok(settings), _) => settings,
        // What runs can be stopped and removed, whatever became of the settings.
        (Err(_), Verb::Other) => Settings::default(),
        (Err(error), _) => return refuse(&arguments, &chain(&error)),
    };
    if let Verb::Start(id) = &arguments.verb
        && !is_plugin(arguments.root.as_deref())
        && let Err(reason) = ask(id, &settings, begun)
    {
        let sentence = format!("container {}: {reason}", printable(short(id)));
        if !settings.fail_open {
            real::discard(&settings.runtime, &arguments.globals, id);
            return refuse(&arguments, &sentence);
        }
        let sentence = format!("{sentence} (it starts all the same: fail_open is set)");
        tell(arguments.log.as_ref(), Level::Warning, &sentence);
    }
    let error = real::become_it(&settings.runtime, &arguments.rest);
    refuse(&arguments, &chain(&error))
}

/// Why a container may not start.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("refused: {0}")]
    Policy(String),
    #[error("its policy does not stand after {after_ms} ms: {reason}")]
    Late { after_ms: u128, reason: String },
    #[error("nobody knows whether its policy stands: {}", chain(.0))]
    Unanswered(#[from] ClientError),
    #[error("prepare to ask the daemon: {0}")]
    System(#[from] io::Error),
}

/// Asks the daemon, for as long as the settings say since the beginning.
fn ask(id: &str, settings: &Settings, begun: Instant) -> Result<(), Refused> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let asked = control::may_start(&settings.control_socket, id, begun + settings.deadline);
    match runtime.block_on(asked)? {
        Verdict::Stands | Verdict::NothingAsked => Ok(()),
        Verdict::Refused { reason } => Err(Refused::Policy(reason)),
        Verdict::Undecided { reason } => {
            Err(Refused::Late { after_ms: begun.elapsed().as_millis(), reason })
        }
    }
}

/// Says why nothing is started.
fn refuse(arguments: &Arguments, sentence: &str) -> ExitCode {
    tell(arguments.log.as_ref(), Level::Error, &format!("ebpf-netns: {sentence}"));
    ExitCode::from(FAILED)
}

fn is_plugin(root: Option<&Path>) -> bool {
    root.and_then(Path::file_name).is_some_and(|namespace| namespace == PLUGINS)
}

/// An id as Docker shows it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_plugins_are_told_by_their_namespace() {
        let root = |path: &str| is_plugin(Some(Path::new(path)));
        assert!(root("/var/run/docker/runtime-runc/plugins.moby"));
        assert!(!root("/var/run/docker/runtime-runc/moby"));
        assert!(!is_plugin(None));
    }

    #[test]
    fn an_id_is_shortened_as_docker_does() {
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("short"), "short");
    }
}

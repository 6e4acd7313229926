//! The command line: from arguments to an exit code.

mod args;
mod attached;
mod docker;
mod exec;
mod failure;
mod link;
mod list;
mod output;
mod peer;
mod plugin;
mod subject;
mod unlink;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

use self::{
    args::{Cli, Verb},
    output::Format,
};

/// Runs the command with these arguments, of which the first is the program.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let format = Format::guess(&arguments);
    match Cli::try_parse_from(arguments) {
        Ok(cli) => match run(cli.verb) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::report(&error, format),
        },
        Err(error) => usage(&error, format),
    }
}

/// What can be typed: manuals and completions are made of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Link(args) => link::run(args),
        Verb::Unlink(args) => unlink::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Peer(args) => peer::run(&args),
        Verb::Exec(args) => exec::run(&args),
        Verb::Plugin(arguments) => plugin::become_it(&arguments),
    }
}

/// Shows what clap has to say: help and version on stdout, a wrong command line on stderr.
fn usage(error: &clap::Error, format: Format) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help {
        return match output::print(&error.render().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::report(&error, format),
        };
    }
    failure::report_usage(error, format)
}

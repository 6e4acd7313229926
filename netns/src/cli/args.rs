//! What can be typed.

use std::ffi::OsString;

use crate::{
    Pid,
    links::{LinkName, Target},
};
use clap::{Args, Parser, Subcommand};

use super::output::Format;

const VERBS_ELSEWHERE: &str = "\
Any other verb (run, status, check, ...) is run as `ebpf-netns-plugin VERB`.

Environment:
  DOCKER_HOST  the Docker engine of this machine
               [default: unix:///var/run/docker.sock]

Exit codes:
   0  done                    66  no such container, namespace or link
   1  failed                  69  Docker cannot be reached
   2  wrong command line      77  not permitted
  65  bad data
  `exec` ends as its command does; 126 and 127 mean what they mean in a shell.";

const LINK_HELP: &str = "\
After `ebpf-netns link web`:
  ip netns exec docker-web ip addr
  ip -n docker-web route
  nsenter --net=/var/run/netns/docker-web tcpdump -i eth0

Targets:
  pid          a symlink to /proc/PID/ns/net. Deleting it with `ip netns del`
               does no harm.
  sandbox-key  a symlink to Docker's own namespace file. DANGER: `ip netns del`
               unmounts that file, which breaks the container's networking
               until it is restarted. Remove it with `ebpf-netns unlink` only.
  bind         a mount, as `ip netns attach` makes. It keeps the namespace
               after the container is gone, until it is unlinked.";

const EXEC_HELP: &str = "\
Only the network namespace changes: files, processes and users stay those of
the host, so the container needs no tools of its own. /sys still shows the host.

  ebpf-netns exec web -- ss -tlnp
  ebpf-netns exec web -- tcpdump -ni eth0";

/// Network namespaces of Docker containers, and the host-side ends of their interfaces.
#[derive(Debug, Parser)]
#[command(
    name = "ebpf-netns",
    version,
    max_term_width = 80,
    after_help = VERBS_ELSEWHERE,
    arg_required_else_help = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a container's namespace visible to `ip netns`
    Link(LinkArgs),
    /// Remove links that `link` made, and no others
    Unlink(UnlinkArgs),
    /// List the links that `link` made, and whether they still lead somewhere
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show the host-side end of each interface, and what is attached to it
    Peer(PeerArgs),
    /// Run a command of the host in a container's network namespace
    Exec(ExecArgs),
    #[command(external_subcommand)]
    Plugin(Vec<OsString>),
}

/// A container, or a process.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SubjectArgs {
    /// A container: its name, its id, or the beginning of its id
    pub(crate) container: Option<String>,
    /// A process, instead of a container
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) pid: Option<Pid>,
}

#[derive(Debug, Args)]
#[command(after_help = LINK_HELP)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// What to call it [default: docker-NAME, or docker- and 12 digits of the id]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) name: Option<LinkName>,
    /// What it leads to
    #[arg(long, value_enum, default_value_t = TargetArg::Pid)]
    pub(crate) target: TargetArg,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TargetArg {
    Pid,
    SandboxKey,
    Bind,
}

impl From<TargetArg> for Target {
    fn from(target: TargetArg) -> Self {
        match target {
            TargetArg::Pid => Self::Pid,
            TargetArg::SandboxKey => Self::SandboxKey,
            TargetArg::Bind => Self::Bind,
        }
    }
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["link", "stale", "all"])]
pub(crate) struct UnlinkArgs {
    /// The name of a link, or a container
    #[arg(value_name = "NAME|CONTAINER")]
    pub(crate) link: Option<String>,
    /// All links that lead nowhere any more
    #[arg(long)]
    pub(crate) stale: bool,
    /// All links that `link` made
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = EXEC_HELP)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to show the result; errors are JSON too with json
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_80_columns() {
        let mut command = Cli::command().term_width(80);
        command.build();
        let mut pages = vec![command.render_long_help().to_string()];
        for verb in command.get_subcommands_mut() {
            pages.push(verb.render_long_help().to_string());
        }
        for line in pages.iter().flat_map(|page| page.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for line in [VERBS_ELSEWHERE, LINK_HELP, EXEC_HELP].iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 80, "this line would be wrapped: {line}");
        }
    }

    #[test]
    fn a_container_or_a_process_and_not_both() {
        let cases: [(&[&str], bool); 14] = [
            (&["peer", "web"], true),
            (&["peer", "--pid", "1"], true),
            (&["peer"], false),
            (&["peer", "web", "--pid", "1"], false),
            (&["peer", "--pid", "0"], false),
            (&["peer", "--pid", "-1"], false),
            (&["peer", "--pid", "x"], false),
            (&["exec", "web", "--", "ip", "-4", "addr"], true),
            (&["exec", "--pid", "1", "--", "ip"], true),
            (&["exec", "web"], false),
            (&["exec", "web", "--"], false),
            (&["unlink"], false),
            (&["unlink", "--stale", "--all"], false),
            (&["link", "web", "--name", "-x"], false),
        ];
        for (arguments, valid) in cases {
            let all = ["ebpf-netns"].iter().chain(arguments);
            assert_eq!(Cli::try_parse_from(all).is_ok(), valid, "{arguments:?}");
        }
    }

    #[test]
    fn another_verb_is_left_to_the_plugin() {
        let cli = Cli::try_parse_from(["ebpf-netns", "status", "--json", "-x"]).unwrap();
        assert!(matches!(cli.verb, Verb::Plugin(arguments) if arguments.len() == 3));
    }
}

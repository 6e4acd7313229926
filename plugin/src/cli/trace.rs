//! `trace`: what becomes of packets, or what is executed, a line each, as it happens.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::verbs::{Failure, endpoint, runtime};
use crate::control::{self, DEFAULT_SOCKET, StreamError};
use crate::execs::{self, FollowError, Line};
use crate::filter::Filter;
use crate::top::Ending;
use crate::trace::{Event, Question};

pub(super) const FILTERS: &str = "\
Filters are tcpdump's, as far as they go:
  tcp, udp, sctp, icmp, icmp6, arp, ip, ip6, proto 47
  host 10.0.0.9      src host, dst host: from there, or to there
  net 10.0.0.0/8     src net, dst net
  port 443           src port, dst port; portrange 8000-8080
  tcp dst port 443   a protocol before any of these
  reason drop-tcp    what status counts it under
  not, and, or, ( )  and and or bind alike, from left to right

Exit codes: 0 ended by Ctrl-C; 1 it failed; 2 the filter is not understood; 66 no such container, or
no policy on it; 69 the daemon is not reachable, or ended; 77 not permitted.";

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Containers by their names, their ids, or the beginnings of those. Without any, all that have a
    /// policy.
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Show only what is dropped.
    #[arg(long)]
    drops: bool,
    /// Show only packets that this finds: 'tcp port 443 and not host 10.0.0.9'.
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Follow what the containers execute instead: each call of execve with process, file and
    /// arguments. Without containers, those of all, with a policy or not. Needs no daemon, but root.
    #[arg(long, conflicts_with_all = ["drops", "filter"])]
    exec: bool,
    /// The Docker engine, for --exec: `unix:///path/to/docker.sock` or `tcp://HOST:PORT`.
    #[arg(long, value_name = "URI", requires = "exec")]
    docker_host: Option<String>,
    /// How to show it. As JSON it is an object a line.
    #[arg(long, value_enum, default_value_t)]
    format: LineFormat,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
}

/// How to show lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LineFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

pub(super) fn run(args: &TraceArgs) -> Result<(), Failure> {
    let followed = if args.exec { execs(args) } else { packets(args) };
    match followed {
        // Whoever read it has seen enough.
        Err(
            Failure::Stream(StreamError::Output(error))
            | Failure::Follow(FollowError::Output(error)),
        ) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        followed => followed,
    }
}

fn packets(args: &TraceArgs) -> Result<(), Failure> {
    let TraceArgs { containers, drops, filter, format, control_socket, .. } = args;
    // Here, for the daemon shows no place in it.
    if let Some(filter) = filter {
        filter.parse::<Filter>().map_err(Failure::Filter)?;
    }
    let question =
        Question { containers: containers.clone(), drops: *drops, filter: filter.clone() };
    let write = |line: &[u8]| match format {
        LineFormat::Json => put(&String::from_utf8_lossy(line)),
        LineFormat::Text => match serde_json::from_slice::<Event>(line)? {
            event @ Event::Listening { .. } => writeln!(io::stderr().lock(), "{event}"),
            event => put(&event.to_string()),
        },
    };
    until_told(async { Ok(control::trace(control_socket, &question, write).await?) })
}

fn execs(args: &TraceArgs) -> Result<(), Failure> {
    let TraceArgs { containers, docker_host, format, .. } = args;
    let endpoint = endpoint(docker_host.clone())?;
    let write = |line: &Line| match (format, line) {
        (LineFormat::Json, line) => put(&serde_json::to_string(line)?),
        (LineFormat::Text, Line::Listening { .. }) => writeln!(io::stderr().lock(), "{line}"),
        (LineFormat::Text, line) => put(&line.to_string()),
    };
    until_told(async { Ok(execs::follow(endpoint, containers, write).await?) })
}

/// Does it until Ctrl-C or SIGTERM, which end it in order.
fn until_told(follow: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut ending = Ending::new()?;
        tokio::select! {
            followed = follow => followed,
            () = ending.told() => Ok(()),
        }
    })
}

/// A line that can be read as soon as it is written.
fn put(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

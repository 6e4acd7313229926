//! Test traffic of every kind, sent from the host or from a container's network namespace.
//!
//! What came of it is a value to compare, not an error: `TimedOut` is how a dropped packet looks.

mod servers;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

pub use self::servers::EchoServer;
use crate::{
    binaries::{self, Binary},
    command,
    machine::Machine,
};

/// How long a probe waits for an answer. On one machine an answer takes less than a millisecond,
/// and a TCP connection's first packet is sent again after one second.
pub const PATIENCE: Duration = Duration::from_millis(2500);

/// Bytes that a TCP or UDP probe sends.
const SMALL: usize = 16;

/// What became of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// The server answered with this status.
    Answered(u16),
    /// The port is closed.
    Refused,
    /// No answer: packets were dropped.
    TimedOut,
    /// There is no route, or a router said no.
    Unreachable,
}

/// What became of a TCP connection or a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What was sent came back.
    Echoed,
    /// The port is closed.
    Refused,
    /// No answer: packets were dropped.
    TimedOut,
    /// There is no route, or a router said no.
    Unreachable,
}

/// What became of echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Requests sent.
    pub sent: u32,
    /// Requests answered.
    pub answered: u32,
}

impl Ping {
    /// Whether every request was answered.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.sent > 0 && self.answered == self.sent
    }

    /// Whether no request was answered.
    #[must_use]
    pub fn is_lost(self) -> bool {
        self.sent > 0 && self.answered == 0
    }
}

/// What became of many datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volley {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that came back.
    pub echoed: u64,
}

/// A network namespace that traffic is sent from.
#[derive(Clone, Debug)]
pub struct Vantage<'a> {
    machine: &'a Machine,
    netns: Option<PathBuf>,
}

impl<'a> Vantage<'a> {
    /// The machine's own namespace.
    #[must_use]
    pub fn host(machine: &'a Machine) -> Self {
        Self { machine, netns: None }
    }

    /// The namespace at a path of the machine, for example `/run/netns/peer`.
    #[must_use]
    pub fn netns(machine: &'a Machine, path: impl Into<PathBuf>) -> Self {
        Self { machine, netns: Some(path.into()) }
    }

    /// A command that runs in this namespace, with the machine's programs.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        match &self.netns {
            Some(path) => self.machine.command_in(path, program),
            None => self.machine.command(program),
        }
    }

    /// Requests `/` from port 80.
    ///
    /// # Errors
    ///
    /// When curl fails for another reason than the network.
    pub fn http(&self, to: IpAddr) -> Result<Http> {
        self.http_at(SocketAddr::from((to, 80)))
    }

    /// Requests `/` from a server.
    ///
    /// # Errors
    ///
    /// When curl fails for another reason than the network.
    pub fn http_at(&self, to: SocketAddr) -> Result<Http> {
        let mut curl = self.command("curl");
        // Why it could not connect is only told verbosely.
        curl.args(["--silent", "--verbose", "--output", "/dev/null"])
            .args(["--noproxy", "*", "--write-out", "%{http_code}"])
            .args(["--max-time", &PATIENCE.as_secs_f64().to_string()])
            .arg(format!("http://{to}/"));
        let output = command::output_of(&mut curl)?;
        match output.status.code() {
            Some(0) => Ok(Http::Answered(String::from_utf8_lossy(&output.stdout).parse()?)),
            Some(28) => Ok(Http::TimedOut),
            Some(7) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let refused = said.contains("Connection refused");
                Ok(if refused { Http::Refused } else { Http::Unreachable })
            }
            _ => bail!("curl, {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Sends `count` echo requests and waits for the answers.
    ///
    /// # Errors
    ///
    /// When ping fails for another reason than the network.
    pub fn ping(&self, to: IpAddr, count: u32) -> Result<Ping> {
        self.ping_of(56, to, count)
    }

    /// As [`Self::ping`], with so many bytes of data: over the MTU each is sent in fragments.
    ///
    /// # Errors
    ///
    /// When ping fails for another reason than the network.
    pub fn ping_of(&self, bytes: usize, to: IpAddr, count: u32) -> Result<Ping> {
        let (count, bytes) = (count.to_string(), bytes.to_string());
        let mut ping = self.command("busybox");
        ping.args(["ping", "-q", "-i", "0.1", "-W", "1", "-c", &count, "-s", &bytes]);
        let output = command::output_of(ping.arg(to.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse_ping(&text).with_context(|| {
            format!("ping said {text:?} {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Sends a line over a TCP connection to an [`EchoServer`].
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn tcp(&self, to: SocketAddr) -> Result<Reply> {
        self.ask("tcp", to, SMALL)
    }

    /// Sends a datagram to an [`EchoServer`]; once, so a dropped packet is seen.
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn udp(&self, to: SocketAddr) -> Result<Reply> {
        self.udp_of(SMALL, to)
    }

    /// As [`Self::udp`], of so many bytes: over the MTU it is sent in fragments.
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn udp_of(&self, bytes: usize, to: SocketAddr) -> Result<Reply> {
        self.ask("udp", to, bytes)
    }

    /// Sends datagrams to an [`EchoServer`] for so long, each once the one before came back, so that
    /// nothing is lost for lack of room.
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn volley(&self, to: SocketAddr, length: Duration) -> Result<Volley> {
        self.many("volley", to, length)
    }

    /// Sends datagrams for so long, as fast as it goes, and waits for none.
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn flood(&self, to: SocketAddr, length: Duration) -> Result<Volley> {
        self.many("flood", to, length)
    }

    /// Sends a datagram from each of so many ports, and waits for none.
    ///
    /// # Errors
    ///
    /// When the probe program cannot run.
    pub fn scatter(&self, to: SocketAddr, ports: u16) -> Result<Volley> {
        let mut probe = self.command(&probe()?);
        told(probe.args(["scatter", &to.to_string(), &ports.to_string()]))
    }

    /// Starts servers that send back what they get, on one port of TCP and UDP, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn echo_server(&self, port: u16) -> Result<EchoServer> {
        EchoServer::start(self.machine, self.command(probe()?.as_str()), port)
    }

    fn many(&self, kind: &str, to: SocketAddr, length: Duration) -> Result<Volley> {
        let mut probe = self.command(&probe()?);
        let length = length.as_millis().to_string();
        told(probe.args([kind, &to.to_string(), &length, &SMALL.to_string()]))
    }

    fn ask(&self, kind: &str, to: SocketAddr, bytes: usize) -> Result<Reply> {
        let patience = PATIENCE.as_millis().to_string();
        let mut probe = self.command(&probe()?);
        probe.args([kind, &to.to_string(), &patience, &bytes.to_string()]);
        match command::stdout_of(&mut probe)?.as_str() {
            "echoed" => Ok(Reply::Echoed),
            "refused" => Ok(Reply::Refused),
            "timed out" => Ok(Reply::TimedOut),
            "unreachable" => Ok(Reply::Unreachable),
            other => bail!("the probe said {other:?}"),
        }
    }
}

/// What a probe says that sent many.
fn told(probe: &mut Command) -> Result<Volley> {
    let said = command::stdout_of(probe)?;
    let (sent, echoed) = said.split_once(' ').context("the probe says SENT ECHOED")?;
    Ok(Volley { sent: sent.parse()?, echoed: echoed.parse()? })
}

fn probe() -> Result<String> {
    Ok(binaries::path(Binary::Probe)?.display().to_string())
}

/// `3 packets transmitted, 2 packets received, 33% packet loss`
fn parse_ping(text: &str) -> Option<Ping> {
    let summary = text.lines().find(|line| line.contains(" packets transmitted, "))?;
    let mut numbers = summary.split(", ").map(|part| part.split_whitespace().next());
    Some(Ping { sent: numbers.next()??.parse().ok()?, answered: numbers.next()??.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_ping_is_read() {
        let text = "\n--- 10.0.0.1 ping statistics ---\n\
                    3 packets transmitted, 2 packets received, 33% packet loss\n";
        assert_eq!(parse_ping(text), Some(Ping { sent: 3, answered: 2 }));
        assert_eq!(parse_ping("ping: bad address"), None);
    }

    #[test]
    fn no_requests_are_neither_complete_nor_lost() {
        let none = Ping { sent: 0, answered: 0 };
        assert!(!none.is_complete() && !none.is_lost(), "nothing was learnt");
    }
}

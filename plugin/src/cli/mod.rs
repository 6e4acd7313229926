//! The command line: what was typed, and the verb it leads to.

mod capture;
mod check;
mod doctor;
mod explain;
mod programs;
mod runtime;
mod table;
mod top;
mod trace;
mod verbs;
mod watch;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::cnm;
use crate::config::Place;
use crate::control::DEFAULT_SOCKET;
use crate::log::LogFormat;
use crate::metrics::Loopback;
use crate::plan::TcFlavour;
use crate::rules::Direction;
use crate::sandbox::Unlisted;
use crate::top::Interval;
use crate::{kernel, records};

use self::capture::CaptureArgs;
use self::check::Check;
use self::doctor::DoctorArgs;
use self::programs::ProgramsArgs;
use self::runtime::RuntimeVerb;
use self::top::TopArgs;
use self::trace::TraceArgs;
pub use self::verbs::main;

/// Where dockerd has its `--exec-root` unless told otherwise.
const DEFAULT_EXEC_ROOT: &str = "/var/run/docker";

const EXIT_CODES: &str = "Exit codes: 0 done; 1 the operation failed; 2 wrong usage; 65 what was \
    given to check or configured is not understood; 66 no such interface or container, or no policy on it; \
    69 Docker or the daemon is not reachable; 77 not permitted; \
    78 doctor finds that enforcement would not work here.";

const PACKETS: &str = "\
Packets in words: PROTOCOL SOURCE > DESTINATION [TYPE]
  tcp container > 1.1.1.1:443           a SYN from the container's own address
  udp 10.0.0.9:5000 > container:53      one to the container
  tcp [fd00::2]:5000 > [2001:db8::1]:80 IPv6 with ports stands in brackets
  icmp container > 1.1.1.1              an echo request; or a type, by name or number
  47 container > 10.0.0.9               any protocol, by its number
The direction follows from which address is the container's. A source port that is not said is 49152.

Exit codes: 0 explained, whether it passes or not; 1 it failed, or the programs and the rules say
different things, which is a bug; 2 the packet is not understood; 65 the capture is not; 66 no such
container, no policy on it, or no interface; 69 the daemon is not reachable; 77 not permitted.";

/// Docker labels to XDP and TC policy on the container's host-side veth.
#[derive(Debug, Parser)]
#[command(name = "ebpf-netns-plugin", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be typed: manuals and completions are made of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground, until Ctrl-C or SIGTERM.
    ///
    /// It watches Docker and the kernel, and attaches what the labels of each container ask for. All
    /// of it stays attached when the daemon ends: `clean` takes it off. Needs root, or `CAP_BPF`
    /// and `CAP_NET_ADMIN` (before Linux 6.8 `CAP_PERFMON` too); it gives up all else for good
    /// before it asks Docker anything.
    Run(Run),
    /// Take everything off that a daemon attached, pinned and wrote down, and nothing else.
    ///
    /// The daemon must not run. Every container is open after that.
    Clean(Places),
    /// Show what is enforced on each container, what is not, and why.
    Status(StatusArgs),
    /// Show containers with what passes and what is dropped, live on a terminal.
    ///
    /// The keys are htop's: h shows them, q ends it. Where standard output is no terminal, it is a
    /// table an interval.
    Top(TopArgs),
    /// Tell what becomes of a packet of a container, and which rule decides.
    ///
    /// The packet is run through the daemon's programs, with the container's policy, its rules and the
    /// connections that there are now; nothing is sent, and nothing is counted. What each part of the
    /// policy says of it is told beside that, as it follows from the rules. Needs root, and the
    /// network namespace that the daemon is in.
    #[command(after_help = PACKETS)]
    Explain(ExplainArgs),
    /// Follow what becomes of packets, or what containers execute, a line each, as it happens.
    ///
    /// Of each packet, the container, its interface, the direction, where it was judged, whether it
    /// passed and why not, the rule that decided, addresses and ports. A packet that meets two
    /// programs is shown by both. The kernel reports no more than some hundred packets a second and reason,
    /// and how many it did not is told; while nobody follows it reports none. No verdict is changed by
    /// it. Ctrl-C ends it.
    #[command(after_help = trace::FILTERS)]
    Trace(TraceArgs),
    /// Capture the packets of a container, dropped ones too, each with its verdict, as pcapng.
    ///
    /// Wireshark and tshark open it: `-w - | wireshark -k -i -` shows them live. Each packet has a
    /// comment with what became of it, why, at which hook and by which rule. Ctrl-C ends it. Nothing is
    /// let through or dropped because of it, and nobody else's packets take longer.
    Capture(CaptureArgs),
    /// Print the daemon's metrics, in Prometheus' text format.
    Metrics(MetricsArgs),
    /// Have the daemon load its configuration again, as SIGHUP does, and say what came of it.
    ///
    /// Nothing is released meanwhile. A configuration that is not understood is refused as a whole:
    /// the exit code is then 65, and what was in force stays.
    Reload(ReloadArgs),
    /// Say what labels, Compose files, rules or a configuration mean, without Docker or root.
    ///
    /// Exits with 65 where something is not understood, and says where, what was found and what was
    /// expected. What is understood and probably not meant is a hint.
    Check(Check),
    /// Say whether this machine is fit: the kernel, Docker, networks, containers, the daemon.
    ///
    /// Changes nothing. Programs are loaded to see whether they load, and attached in a network
    /// namespace that is made for it and gone at once. Without root it looks at what it may, and says
    /// what it could not look at.
    #[command(after_help = doctor::EXIT_CODES)]
    Doctor(DoctorArgs),
    /// Show the operator's programs that labels can name: their functions, and whether this kernel
    /// loads them.
    ///
    /// Attaches nothing. Without root it does not ask the kernel. Exits with 65 where the directory is
    /// not used, since others than root can change what is in it.
    Programs(ProgramsArgs),
    /// Show the XDP and TCX programs of interfaces, by whomever they were attached.
    Attached(AttachedArgs),
    /// Have Docker ask the daemon before it starts a container: see `runtime install --help`.
    #[command(subcommand)]
    Runtime(RuntimeVerb),
}

#[derive(Debug, Args)]
struct Run {
    /// The Docker engine: `unix:///path/to/docker.sock` or `tcp://HOST:PORT`.
    ///
    /// Without it, the one that `DOCKER_HOST` names, or else `unix:///var/run/docker.sock`.
    #[arg(long, value_name = "URI")]
    docker_host: Option<String>,
    /// What dockerd was given as `--exec-root`, if it was: the namespaces of containers are below.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_EXEC_ROOT)]
    docker_exec_root: PathBuf,
    /// Where to listen for `status`.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    config: ConfigArg,
    /// The directory of the programs that xdp.program and tc.program name, whatever the configuration
    /// says: nobody but root may write to it, or to what leads there. Without either, it is
    /// /etc/ebpf-netns/programs.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// How to attach at TC, whatever the configuration says: TCX where the kernel has it (6.6) and
    /// else clsact, or one of them alone.
    #[arg(long, value_enum)]
    tc: Option<TcFlavour>,
    /// Have the kernel close every new port of Docker's bridges until what it is to be stands, also
    /// while no daemon runs. Needs nftables' bridge family (Linux 5.10).
    #[arg(long)]
    strict: bool,
    /// A bridge that strict mode governs, in place of all of Docker's; may be given several times.
    #[arg(long = "strict-bridge", value_name = "NAME", requires = "strict")]
    strict_bridges: Vec<String>,
    /// Be Docker's network driver, `docker network create -d ebpf-netns`, and its IPAM driver,
    /// `--ipam-driver ebpf-netns`.
    #[arg(long)]
    driver: bool,
    /// Where Docker asks the network driver. The file has to be called ebpf-netns.sock: Docker takes
    /// the driver's name from it.
    #[arg(long, value_name = "PATH", default_value = cnm::DEFAULT_SOCKET, value_parser = cnm::socket)]
    driver_socket: PathBuf,
    /// Serve metrics at this loopback address, whatever the configuration says: 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<Loopback>,
    /// How to write the log, to standard error. `RUST_LOG` sets how much.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// End with an error where the kernel cannot confine the daemon in every way: capabilities,
    /// Landlock with all that Linux 6.12 has of it, seccomp.
    #[arg(long)]
    require_sandbox: bool,
    /// What becomes of a system call that the daemon is not known to make.
    #[arg(long, value_enum, default_value_t, env = "EBPF_NETNS_SECCOMP", hide = true)]
    seccomp: Unlisted,
}

/// The configuration of a daemon.
#[derive(Clone, Debug, Args)]
struct ConfigArg {
    /// The configuration. Its directory `policies` has the named policies. Without this, it is
    /// /etc/ebpf-netns/config.toml if that is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    fn place(self) -> Place {
        self.config.map_or_else(Place::default, Place::named)
    }
}

/// Where a daemon leaves what outlives it.
#[derive(Debug, Args)]
struct Places {
    /// Where programs, maps and links are pinned, in a BPF file system.
    #[arg(long, value_name = "DIR", default_value = kernel::DEFAULT_DIRECTORY)]
    pins: PathBuf,
    /// Where it is written down what is attached for whom.
    #[arg(long, value_name = "DIR", default_value = records::DEFAULT_DIRECTORY)]
    state: PathBuf,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Show each rule too, with the packets that it decided over, or would have dropped but for an
    /// audit: of a connection, the one that opens it.
    #[arg(long)]
    rules: bool,
    /// Show it anew each so many seconds, or each second, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<Interval>,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The container: its name, its id, or the beginning of that.
    container: String,
    /// The packet in words, as one argument.
    #[arg(value_name = "PACKET", required_unless_present = "frame", conflicts_with = "frame")]
    packet: Option<String>,
    /// The packet as a whole Ethernet frame: hexadecimal digits, or a capture of tcpdump or Wireshark
    /// (a file whose name ends in .pcap, .pcapng or .cap, or has a / in it).
    #[arg(long = "packet", value_name = "HEX|FILE")]
    frame: Option<String>,
    /// How many packets of a capture, from the first on.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "frame")]
    count: usize,
    /// The interface in the container, where it cannot be told from the packet.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Whether the container sends it (egress) or receives it, where that cannot be told.
    #[arg(long, value_enum)]
    direction: Option<Direction>,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    /// How to show it. As JSON it is a list, also of one packet.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct MetricsArgs {
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
}

#[derive(Debug, Args)]
struct ReloadArgs {
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct AttachedArgs {
    /// Indices of interfaces of this network namespace.
    #[arg(value_name = "IFINDEX", required = true)]
    interfaces: Vec<u32>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How to show a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

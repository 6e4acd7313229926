//! The committed objects without this project: with bpftool, `ip link` and `tc`, as the manual
//! says that they can be used.
//!
//! Every object loads with libbpf 1.1 and attaches with iproute2 6.1 (Debian 12). `policy.o`
//! attached so has no policy for any interface, and drops everything.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    Machine, Side, VethPair, command, privilege,
    traffic::{Reply, Vantage},
};
use plugin_common::{
    abi::{EGRESS_PROGRAM, INGRESS_PROGRAM, XDP_PROGRAM},
    exec::{EXECVE_PROGRAM, EXECVEAT_PROGRAM},
    presets::Presets,
};

/// The port of the servers behind each veth pair.
const PORT: u16 = 7007;

/// The object that follows what is executed.
const EXECS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/execs.o");

/// A committed object for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Object {
    content: Content,
    /// Whether it is the one for kernels before 5.18, which reads packets in place at XDP.
    direct: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// `policy`, as the daemon loads it.
    Policy,
    /// A preset's own, of this name.
    Preset(&'static str, Presets),
}

impl Object {
    fn all() -> impl Iterator<Item = Self> {
        let presets =
            Presets::NAMED.into_iter().map(|(name, presets)| Content::Preset(name, presets));
        let contents = presets.chain([Content::Policy]);
        contents.flat_map(|content| [false, true].map(|direct| Self { content, direct }))
    }

    fn path(self) -> PathBuf {
        let name = match self.content {
            Content::Policy => "policy",
            Content::Preset(name, _) => name,
        };
        let suffix = if self.direct { "-direct" } else { "" };
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode");
        PathBuf::from(directory).join(format!("{name}{suffix}.o"))
    }

    /// The names of its programs, sorted.
    fn programs(self) -> Vec<String> {
        match self.content {
            Content::Policy => {
                let mut names = [XDP_PROGRAM, EGRESS_PROGRAM, INGRESS_PROGRAM].map(str::to_owned);
                names.sort();
                names.to_vec()
            }
            Content::Preset(name, _) => {
                ["tc", "xdp"].map(|hook| format!("{hook}_{}", name.replace('-', "_"))).to_vec()
            }
        }
    }

    /// Whether it drops this.
    fn drops(self, traffic: Traffic) -> bool {
        let preset = match traffic {
            Traffic::Tcp => Presets::DROP_TCP,
            Traffic::Udp => Presets::DROP_UDP,
            Traffic::Ping => Presets::DROP_ICMP,
        };
        match self.content {
            Content::Policy => true,
            Content::Preset(_, presets) => presets == preset || presets == Presets::DROP_ALL,
        }
    }

    /// The capabilities that loading it takes on this kernel.
    fn capabilities(self) -> &'static [&'static str] {
        if self.direct { &["bpf", "net_admin", "perfmon"] } else { &["bpf", "net_admin"] }
    }
}

#[test]
fn every_committed_object_is_known_here() -> Result<()> {
    let known = Object::all().map(Object::path).chain([PathBuf::from(EXECS)]);
    let known: BTreeSet<PathBuf> = known.collect();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode");
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_object = path.extension().is_some_and(|extension| extension == "o");
        ensure!(!is_object || known.contains(&path), "{} is tested nowhere", path.display());
    }
    Ok(())
}

#[test]
fn bpftool_loads_every_object() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for object in Object::all() {
        assert_eq!(load(&machine, machine.command("bpftool"), object)?, object.programs());
    }
    Ok(())
}

/// `CAP_BPF` and `CAP_NET_ADMIN` are enough, and `CAP_PERFMON` in addition for the objects that
/// read packets in place. As it stands on Linux 6.8 and later.
#[test]
fn every_object_loads_with_the_capabilities_that_it_says_and_with_no_fewer() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for object in Object::all() {
        let needed = object.capabilities();
        let loaded = load(&machine, limited(&machine, needed), object)
            .with_context(|| format!("{object:?} with {needed:?} alone"))?;
        assert_eq!(loaded, object.programs());
        // CAP_PERFMON is left in: since 6.17 the verifier makes some programs safe that it refused.
        for lacking in ["bpf", "net_admin"] {
            let rest: Vec<_> = needed.iter().copied().filter(|one| *one != lacking).collect();
            let refused = load(&machine, limited(&machine, &rest), object);
            let error = refused.err().with_context(|| format!("{object:?} with {rest:?}"))?;
            let said = format!("{error:#}");
            ensure!(said.contains("ermission denied") || said.contains("not permitted"), "{said}");
        }
    }
    Ok(())
}

#[test]
fn what_follows_what_is_executed_loads_with_two_capabilities() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let pins = "/sys/fs/bpf/execs";
    let load = |mut bpftool: Command| {
        command::stdout_of(bpftool.args(["prog", "loadall", EXECS, pins]))?;
        let listed = machine.run("ls", [pins])?;
        machine.run("rm", ["-r", pins])?;
        Ok::<_, anyhow::Error>(listed)
    };
    let listed = load(limited(&machine, &["bpf", "perfmon"]))?;
    assert_eq!(listed.lines().collect::<Vec<_>>(), [EXECVE_PROGRAM, EXECVEAT_PROGRAM]);
    let without = load(limited(&machine, &["bpf"]));
    let error = without.err().context("without CAP_PERFMON it is refused")?;
    let said = format!("{error:#}");
    ensure!(said.contains("ermission denied") || said.contains("not permitted"), "{said}");
    Ok(())
}

/// bpftool with these capabilities alone, as root.
fn limited(machine: &Machine, capabilities: &[&str]) -> Command {
    let mut bpftool = machine.command("setpriv");
    bpftool.arg(format!("--bounding-set=-all,+{}", capabilities.join(",+")));
    bpftool.args(["--inh-caps=-all", "bpftool"]);
    bpftool
}

/// Loads all of an object with the given bpftool; returns the names of what was pinned.
fn load(machine: &Machine, mut bpftool: Command, object: Object) -> Result<Vec<String>> {
    let pins = "/sys/fs/bpf/objects";
    command::stdout_of(bpftool.args(["prog", "loadall"]).arg(object.path()).arg(pins))?;
    let listed = machine.run("ls", [pins])?;
    machine.run("rm", ["-r", pins])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// How an object is attached by hand, to the host's side of a veth pair.
#[derive(Clone, Copy, Debug)]
enum Attach {
    Xdp,
    XdpGeneric,
    TcIngress,
    TcEgress,
}

impl Attach {
    const ALL: [Self; 4] = [Self::Xdp, Self::XdpGeneric, Self::TcIngress, Self::TcEgress];

    /// The commands, `OBJECT` standing for the file.
    fn commands(self, interface: &str) -> Vec<String> {
        let tc = |direction| {
            vec![
                format!("tc qdisc add dev {interface} clsact"),
                format!(
                    "tc filter add dev {interface} {direction} bpf direct-action \
                     object-file OBJECT section classifier"
                ),
            ]
        };
        match self {
            Self::Xdp => vec![format!("ip link set dev {interface} xdp obj OBJECT sec xdp")],
            Self::XdpGeneric => {
                vec![format!("ip link set dev {interface} xdpgeneric obj OBJECT sec xdp")]
            }
            Self::TcIngress => tc("ingress"),
            Self::TcEgress => tc("egress"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Tcp,
    Udp,
    Ping,
}

type Stage<'a> = (Object, Attach, VethPair<'a>);

/// Every object, attached in every way, to a pair of its own; all at once, since what is dropped
/// is waited for in vain.
#[test]
fn attached_by_hand_every_object_drops_what_it_says_and_nothing_else() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let cases = Object::all().flat_map(|object| Attach::ALL.map(|attach| (object, attach)));
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for (number, (object, attach)) in (1..).zip(cases) {
        stages.push((object, attach, VethPair::new(&machine, number)?));
    }
    let _server = Vantage::host(&machine).echo_server(PORT)?;

    thread::scope(|scope| {
        let check = |stage: &Stage<'_>| {
            check(&machine, stage).with_context(|| format!("{:?} at {:?}", stage.0, stage.1))
        };
        let running: Vec<_> =
            stages.iter().map(|stage| scope.spawn(move || check(stage))).collect();
        running.into_iter().try_for_each(|case| case.join().expect("no case panics"))
    })
}

fn check(machine: &Machine, (object, attach, pair): &Stage<'_>) -> Result<()> {
    for line in attach.commands(&pair.name(Side::Host)) {
        let mut words = line.split(' ');
        let program = words.next().context("a command has a program")?;
        let path = object.path();
        let arguments =
            words.map(|word| if word == "OBJECT" { path.as_os_str() } else { word.as_ref() });
        machine.run(program, arguments)?;
    }
    for address in pair.addresses(Side::Host) {
        for traffic in [Traffic::Tcp, Traffic::Udp, Traffic::Ping] {
            let arrives = traffic.arrives(pair, address)?;
            ensure!(
                arrives != object.drops(traffic),
                "{traffic:?} to {address} is answered: {arrives}"
            );
        }
    }
    Ok(())
}

impl Traffic {
    /// Whether what the container sends is answered.
    fn arrives(self, pair: &VethPair<'_>, address: IpAddr) -> Result<bool> {
        let from = pair.from(Side::Container);
        let server = SocketAddr::from((address, PORT));
        Ok(match self {
            Self::Tcp => from.tcp(server)? == Reply::Echoed,
            Self::Udp => from.udp(server)? == Reply::Echoed,
            Self::Ping => from.ping(address, 1)?.is_complete(),
        })
    }
}

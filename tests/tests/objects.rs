//! The committed objects without this project: with bpftool, `ip link` and `tc`, as the manual
//! says that they can be used.
//!
//! Every object loads with libbpf 1.1 and attaches with iproute2 6.1 (Debian 12). `policy.o`
//! attached so has no policy for any interface, and drops everything.

use std::{
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
    presets::Presets,
};

/// The port of the servers behind each veth pair.
const PORT: u16 = 7007;

/// A committed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    /// `policy.o`, as the daemon loads it.
    Policy,
    /// A preset's own, of this name.
    Preset(&'static str, Presets),
}

impl Object {
    fn all() -> impl Iterator<Item = Self> {
        let presets = Presets::NAMED.into_iter().map(|(name, presets)| Self::Preset(name, presets));
        presets.chain([Self::Policy])
    }

    fn path(self) -> PathBuf {
        let name = match self {
            Self::Policy => "policy",
            Self::Preset(name, _) => name,
        };
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode");
        PathBuf::from(directory).join(name).with_extension("o")
    }

    /// The names of its programs, sorted.
    fn programs(self) -> Vec<String> {
        match self {
            Self::Policy => {
                let mut names = [XDP_PROGRAM, EGRESS_PROGRAM, INGRESS_PROGRAM].map(str::to_owned);
                names.sort();
                names.to_vec()
            }
            Self::Preset(name, _) => {
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
        match self {
            Self::Policy => true,
            Self::Preset(_, presets) => presets == preset || presets == Presets::DROP_ALL,
        }
    }
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

/// Three capabilities are enough. `CAP_PERFMON` is one of them: without it the verifier refuses
/// an offset into a packet that is not a constant, which XDP needs for every header behind one of
/// variable length, and follows loops into speculation without an end.
#[test]
fn every_object_loads_with_three_capabilities() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for object in Object::all() {
        let mut bpftool = machine.command("setpriv");
        bpftool.args([
            "--bounding-set",
            "-all,+bpf,+net_admin,+perfmon",
            "--inh-caps",
            "-all",
            "bpftool",
        ]);
        assert_eq!(load(&machine, bpftool, object)?, object.programs());
    }
    Ok(())
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

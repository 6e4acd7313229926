//! What attaching costs: `cargo xtask bench attach`.
//!
//! For each number of veths, in a private machine: loading the programs; attaching and detaching
//! each kind, one veth at a time; then the engine with as many containers, each in a namespace of its
//! own: its memory, and the time from the first link event of one more veth of one of them to its
//! program being attached.
//! The kernel, the veths, the engine and rtnetlink are real; Docker's part is told, since an engine
//! cannot start a thousand containers on two cores.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{EbpfLoader, programs::Program};
use ebpf_netns::{
    Ifindex, Link, LinkKind, Rtnl,
    docker::NetworkMode,
    monitor::{LinkEvent, LinkMonitor},
};
use ebpf_netns_plugin::{
    config::Config,
    engine::{Engine, Parts, QUEUE},
    event::{DockerNews, Event},
    facts::{ContainerFacts, Life, Place, Snapshot},
    kernel::{DEFAULT_DIRECTORY, Kernel, PacketEvents, Pins, Programs},
    look::Look,
    plan::{Attachment, Hook, Step},
    records::{self, Records},
};
use ebpf_netns_tests::{Machine, VethFarm, command};
use nix::net::if_::if_nametoindex;
use plugin_common::abi::InterfacePolicy;
use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
};

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../plugin/bytecode/policy.o"
));

/// How often loading is repeated, and how many veths are added to the running engine.
const ROUNDS: usize = 20;
/// A bridge takes no more than 1,023 ports, of which the added veths need some.
const MOST: usize = 1_000;
const DEADLINE: Duration = Duration::from_mins(1);

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["inside", count] => inside(count.parse()?),
        counts => outside(counts),
    }
}

/// Runs the measurement in a machine of its own for each number of veths.
fn outside(counts: &[&str]) -> Result<()> {
    let counts = if counts.is_empty() { &["1", "100", "1000"] } else { counts };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    say(&format!("kernel {}, times are median [min .. max]", release.trim()));
    for count in counts {
        let number: usize = count.parse().with_context(|| format!("{count:?} veths"))?;
        if number == 0 || number > MOST {
            bail!("{number} veths: from 1 to {MOST}");
        }
        let machine = Machine::start()?;
        let _farm = VethFarm::plant(&machine, number)?;
        let program = std::env::current_exe()?;
        let mut inside = machine.command(program);
        inside.args(["inside", count]);
        say(&format!("\n{count} veth(s)\n{}", command::stdout_of(&mut inside)?));
    }
    Ok(())
}

fn inside(count: usize) -> Result<()> {
    loading()?;
    attaching(count)?;
    engine(count)
}

fn loading() -> Result<()> {
    let (mut parse, mut load) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut ebpf = EbpfLoader::new().load(OBJECT)?;
        parse.push(start.elapsed());
        let start = Instant::now();
        for (_name, program) in ebpf.programs_mut() {
            match program {
                Program::Xdp(program) => program.load()?,
                Program::SchedClassifier(program) => program.load()?,
                other => bail!("an unexpected program {other:?}"),
            }
        }
        load.push(start.elapsed());
    }
    row("parse object, make maps", &parse);
    row("load the three programs", &load);
    Ok(())
}

/// Every kind of attachment, on each veth in turn, as the engine has it done.
fn attaching(count: usize) -> Result<()> {
    let rtnl = Rtnl::open()?;
    let links = host_veths(&rtnl)?;
    if links.len() != count {
        bail!("{} veths instead of {count}", links.len());
    }
    let (mut kernel, _events) = load()?;
    for (what, hook, attachment) in [
        ("XDP generic", Hook::Xdp, Attachment::XdpGeneric),
        ("XDP native", Hook::Xdp, Attachment::XdpNative),
        ("TCX, one direction", Hook::Egress, Attachment::Tcx),
        ("clsact, one direction", Hook::Egress, Attachment::Clsact),
    ] {
        let (mut attach, mut detach) = (Vec::new(), Vec::new());
        for link in &links {
            let ifindex = link.index;
            let policy = InterfacePolicy::default();
            let start = Instant::now();
            kernel.apply(Step::SetPolicy { ifindex, policy }, link)?;
            kernel.apply(Step::Attach { ifindex, hook, attachment }, link)?;
            attach.push(start.elapsed());
        }
        for link in &links {
            let ifindex = link.index;
            let start = Instant::now();
            kernel.apply(Step::Detach { ifindex, hook, attachment }, link)?;
            detach.push(start.elapsed());
        }
        row(&format!("attach {what}"), &attach);
        row(&format!("detach {what}"), &detach);
    }
    Ok(())
}

/// The engine with `count` veths, and then one more and one more.
fn engine(count: usize) -> Result<()> {
    let before = resident()?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (kernel, packets) = load()?;
    let records = Records::open(Path::new(records::DEFAULT_DIRECTORY))?;
    let (events, receiver) = mpsc::channel(QUEUE);
    let own = events.downgrade();
    let first_seen: Seen = Arc::default();
    let monitor = runtime.block_on(async { LinkMonitor::open() })?;
    let engine = thread::spawn(move || -> Result<()> {
        let look = Arc::new(Look::default());
        let (config, tc, strict) = (Config::default(), None, None);
        let (bridges, _nobody) = watch::channel(BTreeSet::new());
        let parts = Parts { kernel, records, config, tc, strict, look, own, bridges };
        Engine::new(parts, receiver)?.run();
        Ok(())
    });
    runtime.spawn(forward(monitor, events.clone(), Arc::clone(&first_seen)));
    runtime.spawn(async move { packets.forward(|_record| true).await });

    let start = Instant::now();
    let containers = (0..count).map(container).collect();
    events.blocking_send(Event::Docker(DockerNews::Seen(Snapshot {
        containers,
        ..Snapshot::default()
    })))?;
    let rtnl = Rtnl::open()?;
    wait(|| Ok(host_veths(&rtnl)?.iter().filter(|link| link.xdp.is_some()).count() == count))?;
    row("engine: label seen to all attached", &[start.elapsed()]);
    let after = resident()?;
    say(&format!("  {:<38} {} KiB ({} before)", "engine: resident memory", after, before));

    let mut latencies = Vec::new();
    for round in 0..ROUNDS {
        let index = add_veth(round)?;
        wait(|| Ok(rtnl.link(index)?.is_some_and(|link| link.xdp.is_some())))?;
        let attached = Instant::now();
        let seen = first_seen.lock().ok().and_then(|seen| seen.get(&index).copied());
        let seen = seen.context("the veth's event was seen before it was attached to")?;
        latencies.push(attached.saturating_duration_since(seen));
    }
    row("engine: RTM_NEWLINK to attached", &latencies);
    events.blocking_send(Event::Stop)?;
    engine.join().map_err(|_panic| anyhow::anyhow!("the engine panicked"))??;
    Ok(())
}

type Seen = Arc<Mutex<HashMap<Ifindex, Instant>>>;

async fn forward(mut monitor: LinkMonitor, events: mpsc::Sender<Event>, seen: Seen) {
    while let Ok(changes) = monitor.next().await {
        let now = Instant::now();
        for change in &changes {
            if let (LinkEvent::Changed(link), Ok(mut seen)) = (change, seen.lock()) {
                seen.entry(link.index).or_insert(now);
            }
        }
        if events.send(Event::Links(changes)).await.is_err() {
            return;
        }
    }
}

/// A container in the namespace of one of the farm's pairs.
fn container(index: usize) -> ContainerFacts {
    let netns = VethFarm::netns_name(index);
    ContainerFacts {
        id: format!("{index:064x}"),
        name: netns.clone(),
        labels: BTreeMap::from([("xdp.policy".to_owned(), "drop-tcp".to_owned())]),
        network: NetworkMode::Network("bridge".to_owned()),
        life: Life::Placed(Place {
            sandbox_key: Some(PathBuf::from(format!("/run/netns/{netns}"))),
            pid: None,
            started_at: None,
        }),
        endpoints: Vec::new(),
        service: None,
        nameservers: None,
    }
}

/// One more veth of the first container, as Docker 28 and later make it: born with its peer there.
fn add_veth(round: usize) -> Result<Ifindex> {
    let name = format!("late-h{round}");
    let (peer, netns) = (format!("late-c{round}"), VethFarm::netns_name(0));
    let mut ip = std::process::Command::new("ip");
    ip.args(["link", "add", &name, "type", "veth", "peer", "name", &peer, "netns", &netns]);
    command::stdout_of(&mut ip)?;
    Ok(Ifindex::try_from(if_nametoindex(name.as_str())?)?)
}

fn host_veths(rtnl: &Rtnl) -> Result<Vec<Link>> {
    Ok(rtnl.links()?.into_iter().filter(|link| link.kind == LinkKind::Veth).collect())
}

fn wait(mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > DEADLINE {
            bail!("nothing happened for {} s", DEADLINE.as_secs());
        }
        thread::yield_now();
    }
    Ok(())
}

/// Resident memory in KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS in kB")
}

fn row(what: &str, times: &[Duration]) {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let at = |position: usize| times.get(position).copied().unwrap_or_default();
    let (least, median, most) = (at(0), at(times.len() / 2), at(times.len() - 1));
    if times.len() == 1 {
        say(&format!("  {what:<38} {median:.3} ms"));
    } else {
        say(&format!("  {what:<38} {median:.3} ms [{least:.3} .. {most:.3}], n={}", times.len()));
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn say(text: &str) {
    println!("{text}");
}

fn load() -> Result<(Kernel, PacketEvents)> {
    let pins = Pins::open(Path::new(DEFAULT_DIRECTORY))?;
    Ok(Kernel::new(Programs::load(&pins)?, pins)?)
}

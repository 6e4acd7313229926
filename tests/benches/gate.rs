//! What strict mode's gate costs: `cargo xtask bench gate`.
//!
//! In a private machine with real bridges: how long it takes to install the gate, to let a port
//! through and to close one, with few and with many ports in it; and what it adds to each frame
//! that crosses a bridge, measured in pairs, with the gate and without it right after, so that
//! whatever else the machine does meanwhile falls on both.

use std::{
    collections::BTreeSet,
    fs,
    hint::black_box,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ebpf_netns::{Ifindex, LinkKind, Rtnl};
use ebpf_netns_plugin::gate::{Gate, Ports};
use ebpf_netns_tests::{Machine, command};

/// How often each change is made.
const CHANGES: u32 = 1_000;
/// How many pairs of measurements of traffic.
const PAIRS: usize = 60;
/// Frames in one measurement.
const FRAMES: u32 = 50_000;
/// Where frames go: the receiver's namespace has no such address, and drops them first thing.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 99);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let program = std::env::current_exe()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["inside"] => inside(),
        ["send"] => send(),
        [] => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
            say(&format!("kernel {}", release.trim()));
            let machine = Machine::start()?;
            say(&command::stdout_of(machine.command(program).arg("inside"))?);
            Ok(())
        }
        other => bail!("{other:?}: there is nothing to choose"),
    }
}

fn inside() -> Result<()> {
    let gate = Gate::open()?;
    for others in [0, 100, 1_000, 10_000] {
        changes(&gate, others)?;
    }
    gate.remove()?;
    traffic(&gate)
}

fn changes(gate: &Gate, others: u32) -> Result<()> {
    gate.remove()?;
    let admitted = (1..=others).map(Ifindex::try_from).collect::<Result<BTreeSet<_>, _>>()?;
    let ports = Ports { admitted, foreign: BTreeSet::new() };
    say(&format!("\n{others} other ports"));
    row("install", &[timed(|| gate.install(&ports))?]);
    let one = Ifindex::try_from(others + 1)?;
    let (mut admit, mut expel) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        admit.push(timed(|| gate.admit(one))?);
        expel.push(timed(|| gate.expel(one))?);
    }
    row("admit", &admit);
    row("expel", &expel);
    let looks = (0..100).map(|_| timed(|| gate.inspect())).collect::<Result<Vec<_>>>()?;
    row("inspect", &looks);
    let lists = (0..20).map(|_| timed(|| gate.ports())).collect::<Result<Vec<_>>>()?;
    row("ports", &lists);
    Ok(())
}

/// Frames from one container to another over a bridge, one after the other on one processor: the
/// sender's system call is over when the receiver has dropped the frame.
fn traffic(gate: &Gate) -> Result<()> {
    for line in [
        "link add br0 type bridge mcast_snooping 0",
        "link set br0 up",
        "netns add a",
        "netns add b",
        "link add port-a type veth peer name eth0 netns a",
        "link add port-b type veth peer name eth0 netns b",
        "link set port-a master br0 up",
        "link set port-b master br0 up",
        "-n a link set eth0 address 02:00:00:00:00:0a up",
        "-n b link set eth0 address 02:00:00:00:00:0b up",
        "-n a address add 10.97.0.1/24 dev eth0",
        "-n a neighbour add 10.97.0.99 lladdr 02:00:00:00:00:0b nud permanent dev eth0",
        "-n b neighbour add 10.97.0.1 lladdr 02:00:00:00:00:0a nud permanent dev eth0",
        "-n b address add 10.97.0.2/24 dev eth0",
    ] {
        command::stdout_of(Command::new("ip").args(line.split(' ')))?;
    }
    let links = Rtnl::open()?.links()?.into_iter().filter(|link| link.kind == LinkKind::Veth);
    let ports = Ports { admitted: links.map(|link| link.index).collect(), ..Ports::default() };
    // So that the bridge knows where each is, and does not send to both.
    let mut ping = Command::new("ip");
    ping.args(["netns", "exec", "b", "busybox", "ping", "-c", "1", "-W", "1", "10.97.0.1"]);
    command::stdout_of(&mut ping)?;
    let (mut added, mut ratios) = (Vec::new(), Vec::new());
    let mut without_all = Vec::new();
    for pair in 0..PAIRS {
        let mut measured = [0.0; 2];
        for turn in 0..2 {
            // Which one is first changes from pair to pair.
            let gated = (pair + turn) % 2;
            if gated == 1 {
                gate.install(&ports)?;
            } else {
                gate.remove()?;
            }
            if let Some(nanoseconds) = measured.get_mut(gated) {
                *nanoseconds = sent()?;
            }
        }
        let [without, with] = measured;
        added.push(with - without);
        ratios.push(without / with);
        without_all.push(without);
    }
    say(&format!(
        "\ncontainer to container, {PAIRS} pairs of {FRAMES} frames, in ns of CPU time a frame"
    ));
    spread("without the gate", &without_all);
    spread("added by the gate", &added);
    spread("frames a second, with / without", &ratios);
    Ok(())
}

/// CPU time in ns for each frame, of a process of its own in the sender's namespace.
fn sent() -> Result<f64> {
    let mut send = Command::new("ip");
    send.args(["netns", "exec", "a"]).arg(std::env::current_exe()?).arg("send");
    command::stdout_of(&mut send)?.parse().context("nanoseconds")
}

fn send() -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((NOBODY, 9))?;
    let send = |count| -> Result<()> {
        for _ in 0..count {
            socket.send(black_box(&[0; 18]))?;
        }
        Ok(())
    };
    send(FRAMES / 10)?;
    let start = cpu_time()?;
    send(FRAMES)?;
    let spent = cpu_time()?.saturating_sub(start);
    say(&format!("{}", spent.as_secs_f64() * 1e9 / f64::from(FRAMES)));
    Ok(())
}

/// What the kernel has this process down for: nanoseconds on a processor.
fn cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/schedstat").context("read schedstat")?;
    let spent = stat.split(' ').next().context("schedstat begins with a number")?;
    Ok(Duration::from_nanos(spent.parse()?))
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration>
where
    anyhow::Error: From<E>,
{
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn row(what: &str, times: &[Duration]) {
    let mut times: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or(0.0);
    if let [one] = times.as_slice() {
        say(&format!("  {what:<34} {one:.0} us"));
        return;
    }
    let (p50, p99, most) = (at(50), at(99), at(100));
    say(&format!("  {what:<34} p50 {p50:.0} us, p99 {p99:.0} us, max {most:.0} us"));
}

fn spread(what: &str, values: &[f64]) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at =
        |percent: usize| values.get((values.len() - 1) * percent / 100).copied().unwrap_or(0.0);
    let (low, median, high) = (at(25), at(50), at(75));
    say(&format!("  {what:<34} {median:.3} [{low:.3} .. {high:.3}]"));
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn say(text: &str) {
    println!("{text}");
}

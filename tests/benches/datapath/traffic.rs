//! Senders and receivers, each a process of its own in its namespace, on a processor of its own.

use std::{
    io::IoSlice,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::bulk::{Listener, READY, SILENCE, give, take};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg},
    unistd::Pid,
};
use rustix::time::{ClockId, clock_gettime};

use crate::{say, topology};

/// Where datagrams go.
pub(crate) const PORT: u16 = 9;
const BULK_PORT: u16 = 5201;
/// Datagrams of one system call.
const BATCH: usize = 64;
const PAYLOAD: [u8; 18] = [0; 18];
const SENDER_CPU: usize = 0;
const RECEIVER_CPU: usize = 1;

/// What a flood was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) sent: u64,
    /// Nanoseconds of its processor a datagram.
    pub(crate) cost: f64,
}

/// Lets the container flood for so long.
pub(crate) fn flood(to: Ipv4Addr, time: Duration) -> Result<Flood> {
    let mut sender = topology::command_in(topology::CONTAINER)?;
    sender.args(["send", &to.to_string(), &time.as_millis().to_string()]);
    let said = ebpf_netns_tests::command::stdout_of(&mut sender)?;
    let (sent, cost) = said.split_once(' ').context("a sender says two numbers")?;
    Ok(Flood { sent: sent.parse()?, cost: cost.parse()? })
}

/// The sender's process.
pub(crate) fn send(to: &str, milliseconds: &str) -> Result<()> {
    pin(SENDER_CPU)?;
    let (to, time) = (to.parse::<Ipv4Addr>()?, Duration::from_millis(milliseconds.parse()?));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((to, PORT))?;
    let slices = [[IoSlice::new(&PAYLOAD)]; BATCH];
    let nowhere = [None::<SockaddrIn>; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut sent = 0_u64;
    let mut batch = || -> Result<()> {
        let flags = MsgFlags::empty();
        let results = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nowhere, [], flags)?;
        sent += u64::try_from(results.count())?;
        Ok(())
    };
    let start = Instant::now();
    let before = cpu_time()?;
    while start.elapsed() < time {
        batch()?;
    }
    let took = cpu_time()?.saturating_sub(before);
    ensure!(sent > 0, "nothing was sent");
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let cost = took.as_secs_f64() * 1e9 / sent as f64;
    say(&format!("{sent} {cost}"));
    Ok(())
}

/// What the kernel has this process down for on a processor; what it does for others' packets in the
/// process's time is in it.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

/// A process outside that takes what comes.
pub(crate) fn receiver(how: &[&str]) -> Result<Listener> {
    Listener::start(topology::command_in(topology::OUTSIDE)?.args(how))
}

/// The process that takes datagrams.
pub(crate) fn sink() -> Result<()> {
    pin(RECEIVER_CPU)?;
    let socket = UdpSocket::bind((topology::SOMEBODY, PORT))?;
    socket.set_read_timeout(Some(SILENCE))?;
    say(READY);
    let mut datagram = [0; 64];
    while socket.recv(&mut datagram).is_ok() {}
    Ok(())
}

/// Bits a second of one TCP connection.
pub(crate) fn bulk(upwards: bool, seconds: &str) -> Result<f64> {
    let (there, here) = if upwards { ("take", "give") } else { ("give-out", "take-in") };
    let receiver = receiver(&[there, seconds])?;
    let mut client = topology::command_in(topology::CONTAINER)?;
    let here = ebpf_netns_tests::command::stdout_of(client.args([here, seconds]))?;
    let there = receiver.end()?;
    let rate = if upwards { there } else { here };
    rate.parse().with_context(|| format!("bits a second: {rate:?}"))
}

/// The process at one end of the connection.
pub(crate) fn end_of_bulk(how: &str, seconds: &str) -> Result<()> {
    let time = Duration::from_secs(seconds.parse()?);
    let outside = matches!(how, "take" | "give-out");
    pin(if outside { RECEIVER_CPU } else { SENDER_CPU })?;
    let stream = if outside {
        let listener = TcpListener::bind((topology::SOMEBODY, BULK_PORT))?;
        say(READY);
        listener.accept()?.0
    } else {
        TcpStream::connect((topology::SOMEBODY, BULK_PORT))?
    };
    match how {
        "take" | "take-in" => say(&take(stream)?.to_string()),
        "give" | "give-out" => give(stream, time)?,
        other => bail!("{other:?} is no end of a connection"),
    }
    Ok(())
}

/// Stays on one processor; on a machine with one, on that.
fn pin(cpu: usize) -> Result<()> {
    let there = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(cpu.min(there - 1))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("stay on processor {cpu}"))
}

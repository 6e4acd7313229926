//! The `log` preset and watches: what they report, and how often.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use plugin_common::{
    abi::{LOG_BURST, LOG_WINDOW_NS},
    connection::NO_RULE,
    frames::{
        build::{Ipv4, Ipv6, tcp, udp},
        corpus,
    },
    packet::{Bytes, parse, protocol},
    presets::Presets,
    report::{FOR_LOG, FOR_WATCH, PacketRecord, WATCH_BURST, WATCH_WINDOW_NS},
    verdict::{Reason, verdict},
};

use crate::kernel::{Hook, Kernel, LOOPBACK};

#[test]
fn records_say_what_a_packet_was_and_what_became_of_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let samples = corpus();
    let policies = [
        Presets::LOG,
        Presets::LOG | Presets::DROP_TCP | Presets::DROP_UDP,
        Presets::LOG | Presets::DROP_ALL,
        Presets::LOG | Presets::CLOSED,
        Presets::WATCH_DROPS | Presets::DROP_TCP,
        Presets::WATCH_PASSES | Presets::DROP_TCP,
        Presets::WATCH_DROPS | Presets::WATCH_PASSES | Presets::LOG | Presets::DROP_UDP,
    ];
    for presets in policies {
        for hook in Hook::ALL {
            // A program of its own, for a burst of its own; the samples are taken from all over.
            let mut kernel = Kernel::load()?;
            kernel.set_policy(LOOPBACK, hook, presets)?;
            let burst = usize::try_from(LOG_BURST)?;
            let taken = samples.iter().filter(|sample| hook.takes(&sample.bytes));
            let taken: Vec<_> = taken.step_by(samples.len() / burst + 1).collect();
            ensure!(taken.len() > burst / 2, "too few samples: {}", taken.len());
            for sample in &taken {
                kernel.runner(hook)?.passes(&sample.bytes)?;
            }
            let mut expected = Vec::new();
            for sample in &taken {
                expected.extend(record(hook, presets, &sample.bytes)?);
            }
            ensure!(!expected.is_empty(), "nothing of the samples is reported");
            assert_eq!(records(&mut kernel)?, expected, "{hook:?} under {presets:?}");
        }
    }
    Ok(())
}

#[test]
fn what_nobody_wants_to_know_is_not_reported() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut kernel = Kernel::load()?;
    let frame = Ipv4::new(protocol::TCP).frame(&tcp());
    for hook in Hook::ALL {
        for presets in [
            Presets::PASS,
            Presets::DROP_ALL,
            Presets::DROP_TCP,
            Presets::WATCH_PASSES | Presets::DROP_TCP,
            Presets::WATCH_DROPS,
            Presets::CAPTURE,
        ] {
            kernel.set_policy(LOOPBACK, hook, presets)?;
            kernel.runner(hook)?.passes(&frame)?;
        }
        kernel.remove_policy(LOOPBACK)?;
        kernel.runner(hook)?.passes(&frame)?;
    }
    assert_eq!(records(&mut kernel)?, []);
    Ok(())
}

#[test]
fn what_is_over_the_rate_is_counted_and_not_reported() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    stay_here()?;
    let packets = 10 * LOG_BURST;
    let frame = Ipv6::new(protocol::UDP).frame(&udp());
    for hook in Hook::ALL {
        let window = Duration::from_nanos(LOG_WINDOW_NS);
        let mut kernel = burst(hook, Presets::LOG, (&frame, packets), window)?;
        let reported = u64::try_from(records(&mut kernel)?.len())?;
        assert_eq!(reported, LOG_BURST, "{hook:?} reports a burst");
        assert_eq!(suppressed(&kernel, hook)?, packets - LOG_BURST, "{hook:?} counts the rest");

        // The next window has room again.
        wait_for(DEADLINE, "the next window", || {
            kernel.runner(hook)?.passes(&frame)?;
            ensure!(!records(&mut kernel)?.is_empty(), "nothing is reported");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn each_reason_has_a_rate_of_its_own_for_who_watches() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    stay_here()?;
    let packets = 3 * WATCH_BURST;
    let dropped = Ipv4::new(protocol::TCP).frame(&tcp());
    let passed = Ipv6::new(protocol::UDP).frame(&udp());
    let presets = Presets::WATCH_DROPS | Presets::WATCH_PASSES | Presets::DROP_TCP;
    for hook in Hook::ALL {
        let window = Duration::from_nanos(WATCH_WINDOW_NS);
        let mut kernel = burst(hook, presets, (&dropped, packets), window)?;
        // The flood of one reason keeps nothing of another from being told.
        kernel.runner(hook)?.passes(&passed)?;
        let records = records(&mut kernel)?;
        let of = |reason: Reason| records.iter().filter(|one| one.reason == reason as u32).count();
        assert_eq!(u64::try_from(of(Reason::Tcp))?, WATCH_BURST, "{hook:?} reports a burst");
        assert_eq!(of(Reason::Passed), 1, "{hook:?}");
        let kept_back = packets - WATCH_BURST;
        assert_eq!(kernel.kept_back(LOOPBACK, hook, Reason::Tcp)?, kept_back, "{hook:?}");
        assert_eq!(kernel.kept_back(LOOPBACK, hook, Reason::Passed)?, 0, "{hook:?}");
        assert_eq!(suppressed(&kernel, hook)?, 0, "{hook:?}: the log wanted nothing");
    }
    Ok(())
}

/// The rate is one CPU's.
fn stay_here() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &here)?)
}

/// Runs a program on a frame so many times, within half of a window.
fn burst(
    hook: Hook,
    presets: Presets,
    (frame, packets): (&[u8], u64),
    window: Duration,
) -> Result<Kernel> {
    wait_for(DEADLINE, "a burst that fits a window", || {
        let mut kernel = Kernel::load()?;
        kernel.set_policy(LOOPBACK, hook, presets)?;
        let runner = kernel.runner(hook)?;
        let start = Instant::now();
        let passes = verdict(presets, &parse(&Bytes(frame))).passes();
        for _ in 0..packets {
            ensure!(runner.passes(frame)? == passes, "no other verdict than without a report");
        }
        let elapsed = start.elapsed();
        ensure!(elapsed < window / 2, "it took {elapsed:?}");
        Ok(kernel)
    })
}

/// What is to be reported of a frame on loopback, if anything is.
fn record(hook: Hook, presets: Presets, frame: &[u8]) -> Result<Option<PacketRecord>> {
    let packet = parse(&Bytes(frame));
    let reason = verdict(presets, &packet);
    let log = if presets.contains(Presets::LOG) { FOR_LOG } else { 0 };
    let watch = if presets.watches(reason) { FOR_WATCH } else { 0 };
    let record = PacketRecord {
        time_ns: 0,
        ifindex: LOOPBACK,
        observer: hook.observer() as u32,
        reason: reason as u32,
        rule: NO_RULE,
        length: u32::try_from(frame.len())?,
        wanted: log | watch,
        tcp_flags: packet.tcp_flags.into(),
        ethertype: packet.ethertype,
        ip_version: packet.ip_version,
        protocol: packet.protocol,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        source: packet.source,
        destination: packet.destination,
    };
    Ok((log | watch != 0).then_some(record))
}

/// Takes what was reported so far.
fn records(kernel: &mut Kernel) -> Result<Vec<PacketRecord>> {
    let mut events = kernel.events()?;
    let mut records = Vec::new();
    while let Some(event) = events.next() {
        let bytes = event.first_chunk().context("a record is shorter than it should be")?;
        let record = PacketRecord::from_bytes(bytes);
        ensure!(record.time_ns > 0, "it says when");
        records.push(PacketRecord { time_ns: 0, ..record });
    }
    Ok(records)
}

fn suppressed(kernel: &Kernel, hook: Hook) -> Result<u64> {
    Ok(kernel.stats(LOOPBACK, hook)?.iter().map(|stats| stats.log_suppressed).sum())
}

//! The `log` preset: what it reports, and that a flood of packets is no flood of reports. And the
//! daemon's own log, which nobody has to read.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, Daemon, DaemonOptions, command::stdout_of, privilege, wait_for};

use crate::scene::{
    ECHO, Reach, Scene, check_no_ping, container, hooks, ping_works, status, wait_state,
};

/// More packets than are reported of one second.
const FLOOD: usize = 400;

#[test]
fn packets_are_reported_with_their_verdict_and_at_a_bounded_rate() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("loud", &[("xdp.policy", "log")])?;
    scene.run("strict", &[("tc.policy", "drop-icmp,log"), ("tc.direction", "ingress")])?;
    for name in ["loud", "strict"] {
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    let _echo = scene.engine().from_container("loud")?.echo_server(ECHO)?;
    let [v4, v6] = scene.addresses("loud")?;
    assert_eq!(scene.reach_from_host("loud")?, Reach::ALL, "log drops nothing");
    for (source, protocol) in [
        (format!("{v4}:80"), "tcp"),
        (format!("[{v6}]:80"), "tcp"),
        (format!("{v4}:{ECHO}"), "udp"),
        (format!("[{v6}]:{ECHO}"), "udp"),
        (v4.to_string(), "icmp 0/0"),
        (v6.to_string(), "icmpv6 129/0"),
    ] {
        let words =
            [format!("source={source} "), format!("protocol={protocol} "), "\"egress\"".to_owned()];
        wait_report(&daemon, "loud", "passed", &words)?;
    }
    let host = scene.engine().from_host();
    for to in scene.addresses("strict")? {
        assert!(!ping_works(&host, to)?, "strict drops pings");
        let protocol = if to.is_ipv4() { "icmp 8/0" } else { "icmpv6 128/0" };
        let words = [format!("destination={to} "), format!("protocol={protocol} ")];
        wait_report(
            &daemon,
            "strict",
            "drop-icmp",
            &[&words[..], &["\"ingress\"".to_owned()]].concat(),
        )?;
    }
    check_flood(&scene, &daemon, v4)
}

/// All packets pass, all are counted, and few are reported.
fn check_flood(scene: &Scene, daemon: &Daemon<'_>, to: IpAddr) -> Result<()> {
    let seen = || -> Result<(u64, u64)> {
        let status = container(daemon, "loud")?;
        let hook = *hooks(&status)?.get("egress").context("egress is policed")?;
        Ok((hook.traffic.passed.packets, hook.traffic.log_suppressed))
    };
    let ((passed, suppressed), reported) = (seen()?, reports(daemon, "loud")?.len());
    let mut ping = scene.engine().from_host().command("busybox");
    ping.args(["ping", "-q", "-i", "0.001", "-c", &FLOOD.to_string(), &to.to_string()]);
    let said = stdout_of(&mut ping)?;
    assert!(said.contains(&format!("{FLOOD} packets received")), "all are answered:\n{said}");
    let (passed, suppressed) = (seen()?.0 - passed, seen()?.1 - suppressed);
    let flood = u64::try_from(FLOOD)?;
    assert!(passed >= flood, "all are counted: {passed}");
    assert!(suppressed >= flood / 4, "what was not reported is counted too: {suppressed}");
    let reported = reports(daemon, "loud")?.len() - reported;
    assert!(reported < FLOOD * 3 / 4, "few are reported: {reported}");
    Ok(())
}

/// Waits for a report of a packet that has these words.
fn wait_report(daemon: &Daemon<'_>, name: &str, verdict: &str, words: &[String]) -> Result<()> {
    wait_for(DEADLINE, &format!("a report of {name} with {words:?}"), || {
        let reports = reports(daemon, name)?;
        let verdict = format!("verdict=\"{verdict}\"");
        let found = reports.iter().any(|report| {
            report.contains(&verdict) && words.iter().all(|word| report.contains(word))
        });
        ensure!(found, "{reports:#?}");
        Ok(())
    })
}

/// The lines of the log that report a container's packets.
fn reports(daemon: &Daemon<'_>, name: &str) -> Result<Vec<String>> {
    let about = format!(" packet container={name} ");
    Ok(daemon.log()?.lines().filter(|line| line.contains(&about)).map(str::to_owned).collect())
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let options = DaemonOptions::default().with_unread_log(scene.machine());
    let daemon = Daemon::start_with(scene.machine(), &options)?;
    scene.run("loud", &[("xdp.policy", "drop-icmp")])?;
    wait_state(&daemon, "loud", State::Enforced)?;
    check_no_ping(&scene, "loud", "nobody reads that it is enforced")?;
    assert!(status(&daemon)?.counts.quarantined > 0, "its interface was closed at first");
    assert!(!daemon.log()?.contains("enforced"), "the log is not where it is otherwise");
    daemon.stop()
}

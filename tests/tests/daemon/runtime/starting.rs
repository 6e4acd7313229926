//! What has a policy gets it before its first instruction, however late the daemon is.

use std::fs;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_until};
use nix::sys::signal::Signal;

use super::Gated;
use crate::scene::{Label, check_no_ping, check_ping, container, only_interface, wait_state};

#[test]
fn a_start_waits_until_the_policy_stands() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let (engine, gate) = (gated.scene.engine(), gated.scene.engine().gate());
    // Behind our runtime stands one that holds the container where it would begin.
    gated.set(&format!("deadline_ms = 60000\nruntime = {:?}\n", gate.runtime()))?;
    let daemon = gated.scene.daemon()?;
    for (name, label) in [("xdp", ("xdp.policy", "drop-icmp")), ("tc", ("tc.policy", "drop-icmp"))]
    {
        daemon.signal(Signal::SIGSTOP)?;
        let mut starting = gated.begin(name, &[label], &[])?;
        wait_until(DEADLINE, &format!("the runtime to ask about {name}"), || is_asking(&gated))?;
        daemon.signal(Signal::SIGCONT)?;
        gate.wait_held()?;
        // Nothing is waited for here: what stands now stands before the first instruction.
        assert_eq!(container(&daemon, name)?.state, State::Enforced, "{name} was let through");
        let addresses = engine.docker([
            "network",
            "inspect",
            "--format",
            "{{range .Containers}}{{.IPv4Address}}{{end}}",
            crate::scene::LAN,
        ])?;
        let address = addresses.split('/').next().unwrap_or_default().parse()?;
        check_ping(&engine.from_host(), &[address], false, &format!("{name}, held"))?;
        gate.open()?;
        ensure!(starting.wait(DEADLINE)?.success(), "{name} starts");
        gate.close()?;
        check_no_ping(&gated.scene, name, "started")?;
        engine.docker(["rm", "--force", name])?;
    }
    Ok(())
}

#[test]
fn whatever_starts_through_the_gate_is_policed_at_once() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let (scene, daemon) = (&gated.scene, gated.scene.daemon()?);
    let policy: &[Label<'_>] = &[("tc.policy", "drop-icmp")];
    scene.network("second", &[])?;

    gated.run("plain", &[], &["--network", crate::scene::LAN])?;
    gated.run("lonely", policy, &["--network", "none"])?;
    gated.run("web", policy, &["--network", crate::scene::LAN])?;
    assert_eq!(container(&daemon, "web")?.state, State::Enforced, "web, no look later");

    // Two networks from its first start on.
    gated.run("two", policy, &["--network", crate::scene::LAN])?;
    scene.engine().docker(["network", "connect", "second", "two"])?;
    scene.engine().docker(["restart", "--time", "0", "two"])?;
    let two = container(&daemon, "two")?;
    assert_eq!((two.state, two.interfaces.len()), (State::Enforced, 2), "{two:?}");

    // Another's network, and a policy of its own.
    let options = ["--runtime", super::RUNTIME, "--network", "container:web"];
    let command = ["/httpd", "-f", "-p", "81"];
    scene.run_command("guest", &[("xdp.policy", "drop-udp")], &options, &command)?;
    let guest = container(&daemon, "guest")?;
    assert_eq!(guest.state, State::Enforced, "{guest:?}");
    let web = container(&daemon, "web")?;
    let (its, shared) = (only_interface(&guest)?, only_interface(&web)?);
    assert_eq!(its.host, shared.host, "they share an interface");
    let hooks: Vec<&str> = shared.hooks.iter().map(|hook| hook.policy.as_str()).collect();
    assert!(hooks.contains(&"drop-udp") && hooks.contains(&"drop-icmp"), "both: {hooks:?}");

    // Started by its restart policy, which nobody calls the API for.
    gated.run("again", policy, &["--network", crate::scene::LAN, "--restart", "always"])?;
    let pid = scene.engine().pid("again")?;
    scene.machine().run("kill", ["-KILL", &pid.to_string()])?;
    wait_until(DEADLINE, "the restart", || {
        scene.engine().inspect("again", "{{.RestartCount}}").is_ok_and(|count| count == "1")
            && scene.engine().pid("again").is_ok_and(|new| new != pid)
    })?;
    wait_state(&daemon, "again", State::Enforced)?;
    check_no_ping(scene, "again", "restarted by its policy")
}

/// Whether our runtime is waiting for an answer in this machine.
fn is_asking(gated: &Gated) -> bool {
    let settings = gated.settings();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let ours = words.iter().any(|word| word.ends_with(b"/ebpf-netns-runtime"));
        let path = settings.as_os_str().as_encoded_bytes();
        ours && words.contains(&b"start".as_slice())
            && words.iter().any(|word| word.ends_with(path))
    })
}

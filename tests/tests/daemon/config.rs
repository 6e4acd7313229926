//! The operator's configuration: the policy of every container, and what labels that are not
//! understood do.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Output,
};

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, Machine,
    binaries::{self, Binary},
    command::output_of,
    privilege,
};

use crate::{
    scene::{ECHO, LAN, Reach, Scene, check_no_ping, check_ping, hooks, status, wait_state},
    starting::{addresses, start_gated, wait_interface},
};

/// The exit code for what is not understood.
pub(crate) const BAD_DATA: i32 = 65;

/// Starts a daemon that has a configuration.
pub(crate) fn configured<'a>(
    scene: &'a Scene,
    configuration: &Configuration,
) -> Result<Daemon<'a>> {
    scene.daemon_with(&[&configuration.argument()])
}

/// `ebpf-netns-plugin reload`.
pub(crate) fn reload(daemon: &Daemon<'_>) -> Result<Output> {
    output_of(daemon.plugin()?.arg("reload"))
}

/// Has the configuration loaded again, which must work.
#[track_caller]
pub(crate) fn reloaded(daemon: &Daemon<'_>) -> Result<String> {
    let output = reload(daemon)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "reload: {output:?}");
    Ok(said)
}

/// It was refused as not understood, and said all of this.
#[track_caller]
pub(crate) fn check_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(BAD_DATA), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "it says {words:?}: {said}");
}

#[test]
fn the_default_policy_is_every_containers_and_labels_only_tighten_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let text = "[default]\n\"tc.policy\" = \"drop-icmp\"\n";
    let configuration = Configuration::new(scene.machine(), text)?;
    scene.run("before", &[])?;
    let daemon = configured(&scene, &configuration)?;
    wait_state(&daemon, "before", State::Enforced)?;
    check_no_ping(&scene, "before", "it ran before the daemon")?;

    let both = Reach { icmp: false, ..Reach::ALL };
    let no_udp = Reach { udp: false, ..both };
    for (name, labels, policy, reached) in [
        ("none", &[] as &[_], "drop-icmp", both),
        ("looser", &[("tc.policy", "pass")], "drop-icmp", both),
        ("tighter", &[("tc.policy", "drop-udp")], "drop-udp,drop-icmp", no_udp),
        ("closed", &[("tc.policy", "pas")], "closed", Reach::NOTHING),
    ] {
        scene.run(name, labels)?;
        let state = if name == "closed" { State::Closed } else { State::Enforced };
        let container = wait_state(&daemon, name, state)?;
        for (direction, hook) in hooks(&container)? {
            assert_eq!(hook.policy, policy, "{name}, {direction}");
        }
        scene.wait_listening(name)?;
        let _echo = scene.engine().from_container(name)?.echo_server(ECHO)?;
        assert_eq!(scene.reach_from_host(name)?, reached, "{name}");
    }

    // Before its first instruction, too.
    let gate = scene.engine().gate();
    let mut starting = start_gated(&scene, "held", &[])?;
    gate.wait_held()?;
    wait_interface(&daemon, "held", State::Enforced)?;
    check_ping(&scene.engine().from_host(), &addresses(&scene, "held")?, false, "held")?;
    gate.open()?;
    ensure!(starting.wait(DEADLINE)?.success(), "it starts");
    let said = status(&daemon)?.config;
    assert_eq!(said.default.as_deref(), Some("TC, egress and ingress: drop-icmp"));
    assert_eq!(said.file, Some(configuration.file()));
    scene.end(daemon)
}

#[test]
fn a_host_network_and_no_network_are_told_with_a_default_policy() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let text = "[default]\nxdp.policy = \"log\"\n";
    let daemon = configured(&scene, &Configuration::new(scene.machine(), text)?)?;
    scene.run_command("host", &[], &["--network", "host"], &["/httpd", "-f", "-p", "8080"])?;
    wait_state(&daemon, "host", State::Unenforceable)?;
    scene.run_with("alone", &[], &["--network", "none"])?;
    wait_state(&daemon, "alone", State::Idle)?;
    scene.create("created", &[], &["--network", LAN])?;
    wait_state(&daemon, "created", State::Idle)?;
    scene.end(daemon)
}

#[test]
fn the_operator_decides_what_a_label_does_that_is_not_understood() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "on_error = \"audit\"\n")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("web", &[("tc.policy", "drop-icpm"), ("xdp.policy", "drop-all")])?;
    let open = wait_state(&daemon, "web", State::Open)?;
    let reason = open.reason.unwrap_or_default();
    for word in ["audit", "nothing is enforced", "drop-icpm", "did you mean drop-icmp?"] {
        assert!(reason.contains(word), "status says {word:?}: {reason}");
    }
    let host = scene.engine().from_host();
    check_ping(&host, &scene.addresses("web")?, true, "it is open")?;
    let log = daemon.log()?;
    assert!(log.contains("ERROR") && log.contains("OPEN: labels not understood"), "{log}");
    let table = output_of(daemon.plugin()?.arg("status"))?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("web: OPEN: on_error is audit"), "{table}");
    let file = configuration.file().display().to_string();
    assert!(table.contains(&format!("configuration: {file}, loaded ")), "{table}");

    configuration.write("on_error = \"audit\"\n[default]\ntc.policy = \"drop-icmp\"\n")?;
    reloaded(&daemon)?;
    let kept = wait_state(&daemon, "web", State::Enforced)?;
    let reason = kept.reason.unwrap_or_default();
    assert!(reason.contains("only the operator's default policy"), "{reason}");
    check_no_ping(&scene, "web", "the default policy stands")?;
    scene.wait_listening("web")?;
    let http = host.http(scene.addresses("web")?[0])?;
    assert_eq!(http, ebpf_netns_tests::traffic::Http::Answered(200), "and nothing else does");

    configuration.write("")?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Closed)?;
    check_no_ping(&scene, "web", "closed")?;
    scene.end(daemon)
}

#[test]
fn a_configuration_that_is_not_understood_starts_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let plugin = binaries::path(Binary::Plugin)?;
    let configuration = Configuration::new(&machine, "")?;
    let file = configuration.file();
    let with = |verb: &str, more: &[&str]| {
        output_of(machine.command(&plugin).args([verb, "--config"]).arg(&file).args(more))
    };
    configuration.policy("web", "drop-udp")?;
    ensure!(with("check", &[])?.status.success(), "an empty configuration is good");
    ensure!(with("check", &["--label=tc.policy=web"])?.status.success(), "labels may name it");
    check_refused(
        &with("check", &["--label=tc.policy=webb"])?,
        &["\"webb\"", "configuration/policies", "did you mean web?"],
    );
    for verb in ["check", "run"] {
        configuration.write("strikt = true\n\n[default]\n\"tc.policy\" = \"drop-tpc\"\n")?;
        configuration.policy("web", "drop-udp")?;
        configuration.policy("log", "log")?;
        fs::set_permissions(configuration.policy_file("web"), Permissions::from_mode(0o664))?;
        let wrong = [
            "config.toml:1: unknown key strikt",
            "did you mean strict?",
            "config.toml:4: [default] tc.policy: column 1",
            "policies/log.toml: log is the name of a preset",
            "policies/web.toml: may be written by others",
        ];
        check_refused(&with(verb, &[])?, &wrong);
        fs::remove_file(configuration.policy_file("log"))?;
        fs::remove_file(configuration.file())?;
        check_refused(&with(verb, &[])?, &["config.toml: is not there"]);
    }
    Ok(())
}

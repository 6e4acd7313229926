//! `ebpf-netns link`, `unlink` and `list`: what `ip netns` sees, and what is left alone.

mod netns_support;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Daemon, Engine, EngineOptions, images::Image, privilege, wait_for, wait_until,
};
use netns_support::{json, run, text};
use serde_json::Value;

/// An engine in which the containers live on without it, or `None` without root.
fn engine() -> Result<Option<Engine>> {
    if !privilege::have_root()? {
        return Ok(None);
    }
    let flags = vec!["--live-restore".to_owned()];
    Engine::start_with(EngineOptions { images: vec![Image::Busybox], flags }).map(Some)
}

fn start(engine: &Engine, name: &str) -> Result<()> {
    engine.docker(["run", "-d", "--name", name, "busybox"]).map(drop)
}

/// A path in the machine's `/run/netns`, as this process reaches it.
fn entry(engine: &Engine, name: &str) -> PathBuf {
    engine.machine().outside("/run/netns").join(name)
}

/// The state of each link, as `NAME STATE`.
fn states(engine: &Engine) -> Result<Vec<String>> {
    let listed = json(engine, &["list"])?;
    let field = |row: &Value, name: &str| -> Result<String> {
        let value = row.get(name).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("{name} of {row}"))
    };
    let rows = listed.as_array().context("a list")?;
    rows.iter().map(|row| Ok(format!("{} {}", field(row, "name")?, field(row, "state")?))).collect()
}

fn sandbox_key_is_a_namespace(engine: &Engine, container: &str) -> Result<bool> {
    let key = engine.inspect(container, "{{.NetworkSettings.SandboxKey}}")?;
    let kind = engine.machine().run("stat", ["--file-system", "--format", "%T", &key])?;
    Ok(kind == "nsfs")
}

#[test]
fn a_linked_container_is_visible_to_ip_netns_and_nsenter() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    let machine = engine.machine();
    start(&engine, "web")?;
    machine.run("rmdir", ["/run/netns"])?;
    let id = engine.inspect("web", "{{.Id}}")?;
    let eth0 = engine.docker(["exec", "web", "ip", "-oneline", "link", "show", "eth0"])?;
    let mac = engine.inspect("web", "{{.NetworkSettings.Networks.bridge.MacAddress}}")?;
    assert!(eth0.contains(&mac), "{eth0}");
    for target in ["pid", "sandbox-key", "bind"] {
        let made = json(&engine, &["link", "web", "--target", target])?;
        assert_eq!(made["result"], if target == "pid" { "created" } else { "replaced" });
        assert_eq!(json(&engine, &["link", "web", "--target", target])?["result"], "unchanged");
        for ip in [&["ip", "netns", "exec", "docker-web", "ip"][..], &["ip", "-n", "docker-web"]] {
            let shown = machine.run(ip[0], ip[1..].iter().chain(&["link", "show", "eth0"]))?;
            assert!(shown.contains(&mac), "{target}: {shown}");
        }
        let namespace = ["--net=/run/netns/docker-web", "--", "ip", "link", "show", "eth0"];
        assert!(machine.run("nsenter", namespace)?.contains(&mac), "{target}");
        assert_eq!(states(&engine)?, ["docker-web live"]);
    }
    let rows = json(&engine, &["list"])?;
    assert_eq!((&rows[0]["container"]["id"], &rows[0]["target"]), (&id.into(), &"bind".into()));
    let removed = text(&engine, &["unlink", "web"])?;
    assert_eq!(removed, "docker-web removed\n");
    assert!(machine.run("ip", ["netns", "list"])?.is_empty());
    assert!(sandbox_key_is_a_namespace(&engine, "web")?, "Docker's own file is untouched");
    Ok(())
}

#[test]
fn ip_netns_del_of_a_link_leaves_docker_whole() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(&engine, "web")?;
    text(&engine, &["link", "web"])?;
    let deleted = engine.machine().run("ip", ["netns", "del", "docker-web"]);
    assert!(fs::symlink_metadata(entry(&engine, "docker-web")).is_err(), "{deleted:?}");
    assert!(sandbox_key_is_a_namespace(&engine, "web")?);
    assert_eq!(states(&engine)?, ["docker-web stale: link missing"]);
    engine.docker(["network", "create", "later"])?;
    engine.docker(["network", "connect", "later", "web"])?;
    assert_eq!(json(&engine, &["link", "web"])?["result"], "created");
    assert_eq!(states(&engine)?, ["docker-web live"]);
    Ok(())
}

#[test]
fn a_name_that_is_not_ours_is_left_alone() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    let machine = engine.machine();
    start(&engine, "web")?;
    machine.run("ip", ["netns", "add", "theirs"])?;
    machine.run("ln", ["-s", "/proc/1/ns/net", "/run/netns/symlink"])?;
    machine.run("touch", ["/run/netns/file"])?;
    machine.run("mkdir", ["/run/netns/directory"])?;
    let before = machine.run("ls", ["-l", "--inode", "/run/netns"])?;
    for name in ["theirs", "symlink", "file", "directory"] {
        for target in ["pid", "sandbox-key", "bind"] {
            let link = ["link", "web", "--name", name, "--target", target];
            run(&engine, &link)?.failed(1, "was not made by ebpf-netns")?;
        }
        run(&engine, &["unlink", name])?.failed(66, "was not made by ebpf-netns")?;
    }
    text(&engine, &["link", "web"])?;
    text(&engine, &["unlink", "--all"])?;
    assert_eq!(machine.run("ls", ["-l", "--inode", "/run/netns"])?, before);

    // A name of ours that goes on to lead elsewhere is not taken over either.
    start(&engine, "db")?;
    text(&engine, &["link", "web", "--name", "shared"])?;
    run(&engine, &["link", "db", "--name", "shared"])?.failed(1, "leads to another container")?;
    for name in ["a/b", "..", "-x", "", "a b"] {
        run(&engine, &["link", "web", "--name", name])?.failed(2, "a link")?;
    }
    Ok(())
}

#[test]
fn a_link_is_stale_once_its_container_stops_and_right_again_after_link() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    let names = ["one", "two", "three"];
    for (name, target) in names.iter().zip(["pid", "sandbox-key", "bind"]) {
        start(&engine, name)?;
        text(&engine, &["link", name, "--target", target])?;
    }
    engine.docker(["stop", "-t", "0"].iter().chain(&names))?;
    let stale = |state: &String| state.contains(" stale: ");
    assert!(states(&engine)?.iter().all(stale), "{:?}", states(&engine)?);
    engine.docker(["start"].iter().chain(&names))?;
    assert!(states(&engine)?.iter().all(stale), "a new run is another namespace");
    for (name, target) in names.iter().zip(["pid", "sandbox-key", "bind"]) {
        assert_eq!(json(&engine, &["link", name, "--target", target])?["result"], "replaced");
    }
    assert!(
        states(&engine)?.iter().all(|state| state.ends_with(" live")),
        "{:?}",
        states(&engine)?
    );

    engine.docker(["rm", "--force"].iter().chain(&names))?;
    let table = text(&engine, &["list"])?;
    assert!(table.contains("one (removed)"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    text(&engine, &["unlink", "--stale"])?;
    assert!(states(&engine)?.is_empty());
    assert!(engine.machine().run("ls", ["/run/netns"])?.is_empty());
    let mounts = engine.machine().run("cat", ["/proc/self/mountinfo"])?;
    assert!(!mounts.contains("/run/netns/"), "no mount keeps a namespace: {mounts}");
    Ok(())
}

#[test]
fn a_process_id_that_is_used_again_makes_a_link_stale() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(&engine, "web")?;
    let pid = engine.pid("web")?;
    text(&engine, &["link", "web"])?;
    engine.docker(["stop", "-t", "0", "web"])?;
    assert_eq!(states(&engine)?, ["docker-web stale: container gone"]);

    // The machine counts process ids by itself: the next one but for what others start meanwhile.
    let script = format!(
        "echo {} > /proc/sys/kernel/ns_last_pid; sleep 1000 & echo $!; wait $!",
        pid.checked_sub(1).context("a process before it")?
    );
    let (mut other, _) = wait_for(DEADLINE, "the process id to be used again", || {
        let mut command = engine.machine().command("sh");
        let (process, log) = engine.machine().spawn(command.args(["-c", &script]), "reuse.log")?;
        wait_until(Duration::from_secs(5), "the id", || {
            fs::read_to_string(&log).is_ok_and(|said| said.ends_with('\n'))
        })?;
        let said = fs::read_to_string(&log)?;
        ensure!(said.trim() == pid.to_string(), "it got {said}");
        Ok((process, log))
    })?;
    assert_eq!(states(&engine)?, ["docker-web stale: pid reused"]);
    run(&engine, &["exec", "web", "--", "true"])?.failed(66, "has stopped")?;
    engine.docker(["start", "web"])?;
    assert_eq!(json(&engine, &["link", "web"])?["result"], "replaced");
    assert_eq!(states(&engine)?, ["docker-web live"]);
    other.kill()
}

#[test]
fn links_are_known_without_docker_and_follow_a_rename() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    for name in ["web", "db"] {
        start(&engine, name)?;
        text(&engine, &["link", name])?;
    }
    engine.docker(["rename", "web", "front"])?;
    let listed = json(&engine, &["list"])?;
    let name = |row: usize| listed[row]["container"]["name"].clone();
    assert_eq!([name(0), name(1)], ["db", "front"]);
    text(&engine, &["unlink", "front"])?;

    engine.kill()?;
    let ran = run(&engine, &["list"])?;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("db (unknown)") && ran.stdout.contains("live"), "{ran:?}");
    assert!(ran.stderr.contains("nothing listens at"), "{ran:?}");
    run(&engine, &["link", "db"])?.failed(69, "nothing listens at")?;
    assert_eq!(text(&engine, &["unlink", "db"])?, "docker-db removed\n");
    assert_eq!(text(&engine, &["unlink", "--all"])?, "nothing to remove\n");
    Ok(())
}

#[test]
fn the_daemon_sweeps_the_link_of_a_container_that_is_gone() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    let daemon = Daemon::start(engine.machine())?;
    for name in ["web", "other"] {
        start(&engine, name)?;
        text(&engine, &["link", name])?;
    }
    engine.docker(["rm", "--force", "web"])?;
    let listed = || engine.machine().run("ip", ["netns", "list"]);
    wait_until(DEADLINE, "the link to be swept", || {
        listed().is_ok_and(|list| !list.contains("docker-web"))
    })?;
    assert!(listed()?.contains("docker-other"), "the other's link stays");
    daemon.stop()
}

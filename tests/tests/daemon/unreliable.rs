//! Answers of Docker that are wrong, late or missing: what is enforced stays, the reason is told
//! once, and the daemon goes on as soon as Docker does.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{DockerStatus, State};
use ebpf_netns_tests::{
    DEADLINE, Daemon, DaemonOptions, privilege,
    proxy::{Deal, Proxy},
    wait_for, wait_until,
};

use serde_json::{Value, json};

use crate::scene::{Label, Scene, check_no_ping, status, wait_state};

const POLICY: [Label<'_>; 1] = [("tc.policy", "drop-icmp")];

/// A daemon that reaches the engine through a proxy.
pub(crate) fn daemon_behind<'a>(scene: &'a Scene, proxy: &Proxy) -> Result<Daemon<'a>> {
    let docker_host = proxy.docker_host();
    let options = DaemonOptions { docker_host, ..DaemonOptions::default() };
    Daemon::start_with(scene.machine(), &options)
}

/// The engine's list with so many containers more, that are made up after one of it: to make them would
/// take minutes.
pub(crate) fn list_with(scene: &Scene, count: usize) -> Result<String> {
    let real = scene.engine().get("/containers/json?all=true")?;
    let mut list: Vec<Value> = serde_json::from_str(&real)?;
    let mut model = list.first().context("there is one to make them after")?.clone();
    model["State"] = json!("exited");
    for number in 0..count {
        model["Id"] = json!(format!("{number:064x}"));
        model["Names"] = json!([format!("/made-up-{number}")]);
        list.push(model.clone());
    }
    Ok(json!(list).to_string())
}

/// How many lines of a daemon's log have this.
pub(crate) fn lines_with(daemon: &Daemon<'_>, text: &str) -> Result<usize> {
    Ok(daemon.log()?.lines().filter(|line| line.contains(text)).count())
}

/// The host's ends of a container, once it is enforced, and the programs there.
pub(crate) fn enforced(daemon: &Daemon<'_>, name: &str) -> Result<Vec<(u32, Vec<u32>)>> {
    let container = wait_state(daemon, name, State::Enforced)?;
    let ends = container.interfaces.iter().map(|interface| {
        let host = interface.host.as_ref().context("it has a host-side veth")?;
        let programs = interface.hooks.iter().filter_map(|hook| hook.program.as_ref());
        Ok((host.ifindex.get(), programs.map(|program| program.id).collect()))
    });
    ends.collect()
}

fn wait_reason(daemon: &Daemon<'_>, text: &str) -> Result<String> {
    wait_for(DEADLINE, &format!("the status to say {text:?}"), || {
        let docker = status(daemon)?.docker;
        let DockerStatus::Unreachable { reason } = &docker else {
            anyhow::bail!("it is {docker:?}")
        };
        ensure!(reason.contains(text), "it says {reason:?}");
        Ok(reason.clone())
    })
}

fn wait_connected(daemon: &Daemon<'_>) -> Result<()> {
    wait_for(DEADLINE, "Docker to be connected", || {
        let docker = status(daemon)?.docker;
        ensure!(matches!(docker, DockerStatus::Connected { .. }), "it is {docker:?}");
        Ok(())
    })
}

/// Has the daemon connect anew, and meet what the proxy was told.
fn break_connection(proxy: &Proxy) -> Result<()> {
    proxy.vanish()?;
    proxy.appear()
}

#[test]
fn bad_answers_change_nothing_and_are_told_once() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let json = |body: &str| Deal::answer("200 OK", "application/json", body);
    let html = "<html><body>Bad Gateway</body></html>";
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfrob\r\n[]\r\n".to_vec();
    let cases: &[(&str, Deal, &str)] = &[
        ("/version", Deal::Close, "connection closed before message completed"),
        (
            "/version",
            Deal::Answer(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            "invalid HTTP version parsed",
        ),
        ("/version", Deal::answer("404 Not Found", "text/html", html), "404 Not Found"),
        ("/version", json(r#"{"ApiVersion":"1.9"}"#), "API 1.9, and 1.24 or later is needed"),
        ("/version", json("{}"), "Docker tells no version of its API: is it Docker?"),
        (
            "/containers/json",
            Deal::answer(
                "500 Internal Server Error",
                "application/json",
                r#"{"message":"the moon"}"#,
            ),
            "list containers: Docker answered 500 Internal Server Error: the moon",
        ),
        ("/containers/json", Deal::answer("200 OK", "text/html", html), "expected value at line 1"),
        ("/containers/json", Deal::Answer(chunks), "list containers: Docker's answer broke off"),
        ("/containers/json", json("[{}]"), "missing field `Id`"),
        ("/containers/json", json(r#"{"message":"page not found"}"#), "expected a sequence"),
        ("/containers/json", Deal::Truncate(100), "end of file before message length"),
        ("/containers/json", Deal::Corrupt, "list containers: Docker's answer makes no sense"),
        ("/networks", Deal::answer("502 Bad Gateway", "text/html", html), "list networks: Docker"),
        ("/events", Deal::answer("403 Forbidden", "text/plain", "no"), "listen to events: Docker"),
    ];
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &POLICY)?;
    let before = enforced(&daemon, "web")?;
    for (path, deal, expected) in cases {
        proxy.deal(path, deal.clone());
        break_connection(&proxy)?;
        let reason = wait_reason(&daemon, expected)?;
        let asked = proxy.asked("/version");
        wait_until(DEADLINE, "the daemon to try again and again", || {
            proxy.asked("/version") >= asked + 2
        })?;
        assert_eq!(enforced(&daemon, "web")?, before, "{path}: {deal:?}");
        assert_eq!(
            lines_with(&daemon, &format!("{reason:?}"))?,
            1,
            "{reason} is told once:\n{}",
            daemon.log()?
        );
        proxy.pass();
        wait_connected(&daemon)?;
        check_no_ping(&scene, "web", reason.as_str())?;
    }
    scene.run("late", &POLICY)?;
    wait_state(&daemon, "late", State::Enforced)?;
    check_no_ping(&scene, "late", "after all that")?;
    daemon.stop()
}

#[test]
fn a_network_that_is_not_told_keeps_nobody_else_waiting() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    scene.network("other", &[])?;
    let other = scene.engine().docker(["network", "inspect", "--format={{.Id}}", "other"])?;
    let proxy = Proxy::start(scene.engine())?;
    let broken =
        Deal::answer("500 Internal Server Error", "application/json", r#"{"message":"moon"}"#);
    proxy.deal(&format!("/networks/{other}"), broken);
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &POLICY)?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_no_ping(&scene, "web", "another network is not told")?;
    assert_eq!(lines_with(&daemon, "moon")?, 1, "{}", daemon.log()?);
    wait_connected(&daemon)?;
    daemon.stop()
}

#[test]
fn the_daemon_goes_on_as_soon_as_docker_does() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &POLICY)?;
    wait_state(&daemon, "web", State::Enforced)?;
    proxy.vanish()?;
    let gone = wait_reason(&daemon, "no Docker socket at")?;
    assert!(gone.contains(&proxy.socket().display().to_string()), "{gone} says where");
    check_no_ping(&scene, "web", "while there is no socket")?;
    proxy.appear()?;
    wait_connected(&daemon)?;

    // It does not wait for ever for an answer.
    proxy.deal("/containers/json", Deal::Hang);
    scene.run("late", &POLICY)?;
    wait_reason(&daemon, "list containers: Docker did not answer within 10 seconds")?;
    wait_state(&daemon, "web", State::Enforced)?;
    proxy.pass();
    wait_state(&daemon, "late", State::Enforced)?;
    check_no_ping(&scene, "late", "once Docker answers")?;
    daemon.stop()
}

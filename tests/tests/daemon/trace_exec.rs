//! `trace --exec`, of real containers.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::execs::{ExecEvent, Line};
use ebpf_netns_tests::{
    DEADLINE, EngineOptions, Machine,
    binaries::{self, Binary},
    command::output_of,
    images::Image,
    privilege, wait_for,
};

use crate::{scene::Scene, trace::Trace};

/// The engine of a private machine.
const DOCKER_HOST: &str = "unix:///run/docker.sock";
const FAILED: i32 = 1;
const NOT_FOUND: i32 = 66;
const NOT_PERMITTED: i32 = 77;

/// An engine with containers that have a shell, and tracefs mounted.
fn scene(names: &[&str]) -> Result<Scene> {
    let images = vec![Image::Busybox];
    let scene = Scene::with(EngineOptions { images, ..EngineOptions::default() })?;
    let tracefs =
        "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing";
    scene.machine().run("sh", ["-c", tracefs])?;
    names.iter().try_for_each(|name| run(&scene, name))?;
    Ok(scene)
}

fn run(scene: &Scene, name: &str) -> Result<()> {
    scene.engine().docker(["run", "--detach", "--name", name, Image::Busybox.name()]).map(drop)
}

fn exec(scene: &Scene, name: &str, command: &[&str]) -> Result<()> {
    scene.engine().docker([&["exec", name], command].concat()).map(drop)
}

/// Waits for a call with this file's name at its end, and returns it.
fn wait_exec(trace: &Trace, words: &[&str]) -> Result<ExecEvent> {
    let line = trace.wait_line(words)?;
    match serde_json::from_str(&line).with_context(|| format!("read {line}"))? {
        Line::Exec(exec) => Ok(*exec),
        other => anyhow::bail!("a call, and not {other:?}"),
    }
}

#[test]
fn what_a_container_executes_is_told_and_what_others_do_is_not() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene(&["web", "db"])?;
    let web = Trace::start(&scene, &["--exec", "web"])?;
    let json = Trace::start(&scene, &["--exec", "--format=json", "web"])?;
    let all = Trace::start(&scene, &["--exec"])?;
    exec(&scene, "db", &["ls", "/etc"])?;
    exec(&scene, "web", &["ls", "/"])?;
    web.wait_line(&[" web ", "/ls: ls /"])?;
    let call = wait_exec(&json, &["\"exec\"", "/ls"])?;
    ensure!(call.filename.ends_with("/ls") && call.arguments == ["ls", "/"], "{call:?}");
    ensure!(call.container == "web" && call.id.len() == 64 && call.uid == 0, "{call:?}");
    ensure!(call.pid > 0 && call.pid_inside.is_some() && !call.comm.is_empty(), "{call:?}");
    ensure!(call.descriptor.is_none() && !call.cut && !call.more, "{call:?}");
    // What came before was either told before, or not at all.
    let told = web.text()?;
    ensure!(!told.contains(" db ") && !told.contains("/etc"), "db is not followed:\n{told}");
    for words in [[" db ", "/ls: ls /etc"], [" web ", "/ls: ls /"]] {
        all.wait_line(&words)?;
    }
    // A shell's child, with arguments that have to be told apart.
    exec(&scene, "web", &["sh", "-c", "/bin/echo 'a b' ''; exec /bin/true"])?;
    web.wait_line(&["exec /bin/echo: /bin/echo \"a b\" \"\""])?;
    web.wait_line(&["exec /bin/true: /bin/true"])?;
    // What begins later is found too.
    run(&scene, "late")?;
    wait_until_told(&scene, &all, "late")?;
    [web, json, all].into_iter().try_for_each(Trace::end)
}

/// Has a container execute something until that is told.
fn wait_until_told(scene: &Scene, trace: &Trace, name: &str) -> Result<()> {
    wait_for(DEADLINE, &format!("{name} to be told"), || {
        exec(scene, name, &["true"])?;
        let text = trace.text()?;
        let words = format!(" {name} ");
        let told = text.lines().any(|line| line.contains(&words) && line.contains("true: true"));
        ensure!(told, "{text}");
        Ok(())
    })
}

#[test]
fn many_and_long_arguments_are_cut_and_said_to_be() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene(&["web"])?;
    let json = Trace::start(&scene, &["--exec", "--format=json", "web"])?;
    let long = "x".repeat(600);
    exec(&scene, "web", &["true", &long, "after"])?;
    let call = wait_exec(&json, &["after"])?;
    ensure!(call.cut && !call.more && call.arguments.len() == 3, "{call:?}");
    ensure!(call.arguments[1].len() == 255 && long.starts_with(&call.arguments[1]), "{call:?}");
    let many: Vec<String> = (0..60).map(|number| format!("n{number}")).collect();
    let many: Vec<&str> = std::iter::once("true").chain(many.iter().map(String::as_str)).collect();
    exec(&scene, "web", &many)?;
    let call = wait_exec(&json, &["n20"])?;
    ensure!(call.more && !call.cut && call.arguments.len() == 40, "{call:?}");
    json.end()
}

#[test]
fn what_is_missing_for_it_is_said() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene(&["web"])?;
    let machine = scene.machine();
    let program = binaries::path(Binary::Plugin)?;
    let program = program.to_str().context("its path is text")?;
    let without_tracefs = format!(
        "mount -t tmpfs none /sys/kernel/tracing; \
         if [ -d /sys/kernel/debug ]; then mount -t tmpfs none /sys/kernel/debug; fi; \
         exec {program} trace --exec web"
    );
    check(
        machine,
        &["unshare", "--mount", "--propagation", "private", "sh", "-c", &without_tracefs],
        (FAILED, "mount -t tracefs tracefs /sys/kernel/tracing"),
    )?;
    let limited = ["--bounding-set=-perfmon,-sys_admin", "--inh-caps=-all"];
    let trace = [program, "trace", "--exec", "web"];
    check(
        machine,
        &[&["setpriv"], &limited[..], &trace[..]].concat(),
        (NOT_PERMITTED, "CAP_PERFMON"),
    )?;
    check(machine, &[program, "trace", "--exec", "nobody"], (NOT_FOUND, "nobody"))
}

#[track_caller]
fn check(machine: &Machine, words: &[&str], (code, said): (i32, &str)) -> Result<()> {
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = machine.command(program);
    let output = output_of(command.env("DOCKER_HOST", DOCKER_HOST).args(arguments))?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    ensure!(text.contains(said), "{words:?}: {text}");
    Ok(())
}

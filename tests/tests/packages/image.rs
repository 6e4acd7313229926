//! The image on an engine: nothing in it but the programs, and the daemon as compose/plugin.yaml has it.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions, binaries, images::Image, privilege, wait_for,
};
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::Value;

use super::packed::{VERSION, ensure_enforced, packed};

const COMPOSE: &str = include_str!("../../../compose/plugin.yaml");
const PLUGIN: &str = "/usr/bin/ebpf-netns-plugin";

#[test]
fn the_daemon_runs_from_an_image_with_nothing_else_in_it() -> Result<()> {
    if !binaries::can_stand_alone()? {
        return Ok(());
    }
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine =
        Engine::start_with(EngineOptions { images: vec![Image::Busybox], ..Default::default() })?;
    let loaded = engine.docker(["load", "--input", &packed("oci.tar")?.display().to_string()])?;
    let image = format!("ebpf-netns:{VERSION}");
    ensure!(loaded.contains(&image), "{loaded}");
    let said = engine.docker(["run", "--rm", &image, "--version"])?;
    ensure!(said == format!("ebpf-netns-plugin {VERSION}"), "{said}");

    // As on a host, where systemd mounts it so.
    engine.machine().run("mount", ["--make-rshared", "/run"])?;
    let mut run = vec!["run".to_owned(), "-d".to_owned(), "--name=daemon".to_owned()];
    run.extend(options(&engine)?);
    run.extend([image, "run".to_owned()]);
    engine.docker(&run)?;
    engine.docker(["run", "-d", "--name", "web", "--label", "xdp.policy=drop-icmp", "busybox"])?;
    wait_for(DEADLINE, "web to be enforced", || {
        let status = engine
            .docker(["exec", "daemon", PLUGIN, "status", "--format", "json"])
            .with_context(|| engine.docker(["logs", "daemon"]).unwrap_or_default())?;
        ensure_enforced(&status)
    })?;
    let gateway = engine.inspect("web", "{{.NetworkSettings.Gateway}}")?.parse()?;
    let pings =
        || -> Result<bool> { Ok(engine.from_container("web")?.ping(gateway, 2)?.is_complete()) };
    ensure!(!pings()?, "the policy holds");

    // The same image says whether the machine is fit.
    let doctor = engine.try_docker(["exec", "daemon", PLUGIN, "doctor", "--format", "json"])?;
    let doctor: Value = serde_json::from_slice(&doctor.stdout)?;
    ensure!(["yes", "unknown"].map(Value::from).contains(&doctor["verdict"]["fit"]), "{doctor}");

    engine.docker(["rm", "--force", "daemon"])?;
    ensure!(!pings()?, "the policy holds without a daemon");
    Ok(())
}

/// What the Compose file gives the daemon, as options of `docker run`.
fn options(engine: &Engine) -> Result<Vec<String>> {
    let documents = Yaml::load_from_str(COMPOSE)?;
    let services = documents.first().and_then(|all| all.as_mapping_get("services"));
    let daemon = services.and_then(|all| all.as_mapping_get("daemon"));
    let daemon = daemon.context("there is a daemon")?;
    let mut options = Vec::new();
    for (key, option) in [
        ("network_mode", "network"),
        ("pid", "pid"),
        ("cap_drop", "cap-drop"),
        ("cap_add", "cap-add"),
        ("security_opt", "security-opt"),
        ("volumes", "volume"),
    ] {
        let value = daemon.as_mapping_get(key).with_context(|| format!("it has {key}"))?;
        let one = value.as_str().into_iter();
        let all = value.as_sequence().into_iter().flatten().filter_map(Yaml::as_str);
        for value in one.chain(all) {
            options.push(format!("--{option}={}", known(engine, key, value)?));
        }
    }
    ensure!(daemon.as_mapping_get("read_only").is_some_and(|it| it.as_bool() == Some(true)));
    options.push("--read-only".to_owned());
    Ok(options)
}

/// Engines before 23 do not know what `CAP_SYS_ADMIN` was divided into.
fn known(engine: &Engine, key: &str, value: &str) -> Result<String> {
    let version = engine.docker(["version", "--format", "{{.Server.Version}}"])?;
    let major: u32 = version.split('.').next().unwrap_or_default().parse()?;
    let newer = key == "cap_add" && ["BPF", "PERFMON"].contains(&value);
    Ok(if newer && major < 23 { "SYS_ADMIN" } else { value }.to_owned())
}

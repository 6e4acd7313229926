//! `runtime install` and `uninstall` on an engine's own configuration.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions,
    binaries::{self, Binary},
    command::output_of,
    images::Image,
    privilege, wait_until,
};
use serde_json::{Value, json};

use super::RUNTIME;
use crate::scene::{LAN, Scene, container};

/// A file that somebody cares for.
const CARED_FOR: &str = "{\n\t\"zz-later\":   false,\n\t\"log-opts\": { \"max-size\": \"1m\" },\n\t\
                         \"labels\": [\"a=b\", \"c=d\"]\n}";

#[test]
fn the_runtime_is_registered_with_a_running_engine_and_taken_out_again() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let engine = scene.engine();
    let file = engine.configuration();
    // dockerd knows no "zz-later", and says so only when it starts.
    let cared_for = CARED_FOR.replace("zz-later\":   false", "debug\":   false");
    fs::write(&file, &cared_for)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;

    let dry = verb(engine, "install", &["--dry-run", "--default"])?;
    for part in ["+\t\"runtimes\": {", "+\t\"default-runtime\": \"ebpf-netns\"", "--- "] {
        assert!(dry.contains(part), "the diff {dry:?} has {part:?}");
    }
    assert_eq!(fs::read_to_string(&file)?, cared_for, "a dry run changes nothing");
    assert!(!engine.runtimes()?.contains(&RUNTIME.to_owned()));

    let said = verb(engine, "install", &["--default"])?;
    assert!(said.contains("registered: docker run --runtime ebpf-netns"), "{said}");
    assert!(engine.runtimes()?.contains(&RUNTIME.to_owned()), "the engine has it at once");
    let default = engine.docker(["info", "--format", "{{.DefaultRuntime}}"])?;
    assert_eq!(default, RUNTIME);
    let installed = fs::read_to_string(&file)?;
    assert!(
        installed.starts_with(cared_for.trim_end_matches("\n}")),
        "the rest stays: {installed}"
    );
    assert_eq!(fs::metadata(&file)?.mode() & 0o7777, 0o640, "its mode stays");
    let backup = file.with_file_name("daemon.json.before-ebpf-netns");
    assert_eq!(fs::read_to_string(&backup)?, cared_for, "what it was is kept");

    let again = verb(engine, "install", &["--default"])?;
    assert!(again.starts_with("nothing to change"), "{again}");
    assert_eq!(fs::read_to_string(&backup)?, cared_for, "the copy is not of our own version");

    // It works: with the daemon, and not without.
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    assert_eq!(container(&daemon, "web")?.state, State::Enforced);
    daemon.stop()?;
    let refused = engine.try_docker(["run", "--network", LAN, "noshell"])?;
    assert!(String::from_utf8(refused.stderr)?.contains("ebpf-netns: "), "it is the default");

    let status: Value = serde_json::from_str(&verb(engine, "status", &["--format=json"])?)?;
    assert_eq!(status["engine"]["registered"], true, "{status}");
    let users = status["engine"]["containers"].as_array().context("containers")?;
    assert!(users.contains(&json!("web")) && users.len() == 2, "{status}");

    check_fails(engine, "uninstall", &[], 1, &["web", "would not start", "--force"])?;
    let all = engine.docker(["ps", "--all", "--quiet"])?;
    engine.docker([&["rm", "--force"][..], &all.lines().collect::<Vec<_>>()].concat())?;
    let said = verb(engine, "uninstall", &[])?;
    assert!(said.contains("taken out"), "{said}");
    assert_eq!(fs::read_to_string(&file)?, cared_for, "as if nothing had been");
    assert!(!engine.runtimes()?.contains(&RUNTIME.to_owned()), "the engine has it no more");
    assert_eq!(engine.docker(["info", "--format", "{{.DefaultRuntime}}"])?, "runc");
    scene.run("later", &[])?;
    Ok(())
}

#[test]
fn what_dockerd_does_not_take_is_put_back() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    // An argument and a setting of the same thing exclude each other.
    let flags = vec!["--default-runtime=runc".to_owned()];
    let images = vec![Image::Noshell];
    let engine = Engine::start_with(EngineOptions { flags, images })?;
    let before = fs::read_to_string(engine.configuration())?;
    let words = ["--default-runtime", "one place alone"];
    check_fails(&engine, "install", &["--default"], 1, &words)?;
    assert_eq!(fs::read_to_string(engine.configuration())?, before);
    // The engine is well, and starts with the file.
    engine.restart()?;
    verb(&engine, "install", &[])?;
    assert!(engine.runtimes()?.contains(&RUNTIME.to_owned()));
    Ok(())
}

#[test]
fn files_that_are_wrong_are_refused_and_left_alone() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Noshell],
        ..EngineOptions::default()
    })?;
    let file = engine.configuration();
    for (text, words) in [
        ("{\n  \"debug\": true,\n}", ["daemon.json: line 3, column 1", "not JSON"]),
        ("[]", ["daemon.json: the file", "an object"]),
        ("{\"runtimes\": {\"ebpf-netns\": {\"path\": \"/bin/x\"}}}", ["is /bin/x", "--name"]),
    ] {
        fs::write(&file, text)?;
        check_fails(&engine, "install", &[], 65, &words)?;
        assert_eq!(fs::read_to_string(&file)?, text, "it is left alone");
    }
    let other = ["--config", "/etc/docker/other.json"];
    check_fails(&engine, "install", &other, 1, &["reads", "daemon.json", "--config"])?;
    check_fails(&engine, "install", &["--path", "/bin/true"], 1, &["/bin/true is no program"])?;
    check_fails(&engine, "install", &["--name", "runc"], 2, &["Docker's own"])?;

    // Without Docker, the file alone is changed, and nobody can tell who needs the runtime.
    fs::write(&file, CARED_FOR.replace("zz-later\":   false", "debug\":   false"))?;
    engine.stop()?;
    wait_until(DEADLINE, "no pidfile", || !engine.machine().outside("/run/docker.pid").exists())?;
    let said = verb(&engine, "install", &[])?;
    assert!(said.contains("Docker does not run; from its next start on"), "{said}");
    check_fails(&engine, "uninstall", &[], 1, &["nobody knows", "--force"])?;
    engine.restart()?;
    assert!(engine.runtimes()?.contains(&RUNTIME.to_owned()), "it took it at its start");
    Ok(())
}

/// `ebpf-netns-plugin runtime VERB` on an engine's own configuration.
fn run(engine: &Engine, verb: &str, options: &[&str]) -> Result<Output> {
    let mut command = engine.machine().command(binaries::path(Binary::Plugin)?);
    command.args(["runtime", verb]).env("DOCKER_HOST", engine.docker_host());
    if !options.contains(&"--config") {
        command.arg("--config").arg(engine.configuration());
    }
    output_of(command.args(options))
}

/// As [`run`], which must succeed; what it says.
fn verb(engine: &Engine, verb: &str, options: &[&str]) -> Result<String> {
    let output = run(engine, verb, options)?;
    let (said, warned) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{verb} {options:?}: {said}{warned}");
    Ok(said)
}

/// As [`run`], which must fail with a code and one sentence that has all of these words.
#[track_caller]
fn check_fails(
    engine: &Engine,
    verb: &str,
    options: &[&str],
    code: i32,
    words: &[&str],
) -> Result<()> {
    let output = run(engine, verb, options)?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(code), "{verb} {options:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{verb} {options:?}: {said:?} has {word:?}");
    }
    let directory = engine.configuration();
    let left = fs::read_dir(directory.parent().unwrap_or(Path::new("/")))?.flatten();
    let temporary = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"));
    assert_eq!(temporary.count(), 0, "no temporary file is left");
    Ok(())
}

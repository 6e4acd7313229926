//! Where the demonstration plays: the engine, the names it uses there, what differed so far.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions,
    command::{output_of, shown},
    images::Image,
    traffic::Http,
    wait_for,
};

use super::Host;
use crate::ui;

/// The containers of the story.
const CONTAINERS: [&str; 3] = ["plain", "web", "quiet"];

/// Starts or finds the engine, with an image of nginx in it.
pub(super) fn open(kind: Host) -> Result<Engine> {
    match kind {
        Host::Private => {
            ui::heading("A Docker engine of our own, in a network without a way out");
            let images = vec![Image::Nginx];
            Engine::start_with(EngineOptions { images, ..EngineOptions::default() })
        }
        Host::Host => {
            ui::heading("This machine's Docker engine");
            let engine = Engine::host()?;
            remove_leftovers(&engine)?;
            refuse_policies_of_others(&engine)?;
            refuse_second_daemon(&engine)?;
            engine.import(Image::Nginx, &name(kind, "nginx"))?;
            Ok(engine)
        }
    }
}

/// The engine, the names in it, and the notes taken.
pub(super) struct Scene<'e> {
    engine: &'e Engine,
    kind: Host,
    containers: Vec<String>,
    differences: Vec<String>,
}

impl<'e> Scene<'e> {
    pub(super) fn new(engine: &'e Engine, kind: Host) -> Self {
        Self { engine, kind, containers: Vec::new(), differences: Vec::new() }
    }

    pub(super) fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// A container's or image's name.
    pub(super) fn name(&self, short: &str) -> String {
        name(self.kind, short)
    }

    /// Starts a container of the nginx image, with labels, and waits until it serves.
    pub(super) fn start(&mut self, short: &str, labels: &[&str]) -> Result<String> {
        let (name, image) = (self.name(short), self.name("nginx"));
        let mut run = self.engine.docker_command();
        run.args(["run", "--detach", "--name", &name]);
        for label in labels {
            run.args(["--label", label]);
        }
        self.containers.push(name.clone());
        let output = show(run.arg(&image))?;
        ensure!(output.status.success(), "docker run {name} failed");
        self.wait_serving(&name)?;
        Ok(name)
    }

    /// Removes a container, showing it.
    pub(super) fn remove(&mut self, name: &str) -> Result<()> {
        self.containers.retain(|other| other != name);
        show(self.engine.docker_command().args(["rm", "--force", name])).map(drop)
    }

    /// Notes whether something is as it should be.
    pub(super) fn expect(&mut self, what: &str, met: bool) {
        if met {
            ui::line(format_args!("  ok: {what}"));
        } else {
            ui::line(format_args!("  DIFFERS: expected that {what}"));
            self.differences.push(what.to_owned());
        }
    }

    /// Removes what was made, and returns what differed.
    pub(super) fn close(self) -> Result<Vec<String>> {
        let Self { engine, kind, containers, differences } = self;
        for container in &containers {
            engine.docker(["rm", "--force", container])?;
        }
        if kind == Host::Host {
            engine.docker(["rmi", &name(kind, "nginx")])?;
            // Made for containers of these names, and there only when the story broke off.
            for container in CONTAINERS {
                let link = format!("docker-{}", name(kind, container));
                output_of(engine.netns()?.args(["unlink", &link]))?;
            }
        }
        Ok(differences)
    }

    /// From inside the container, which no policy of the host's end of the veth can see.
    fn wait_serving(&self, name: &str) -> Result<()> {
        let inside = self.engine.from_container(name)?;
        wait_for(DEADLINE, &format!("nginx in {name} to serve"), || {
            let http = inside.http([127, 0, 0, 1].into())?;
            ensure!(http == Http::Answered(200), "{http:?}");
            Ok(())
        })
    }
}

/// Plain in our own engine, marked as ours in another.
fn name(kind: Host, short: &str) -> String {
    match kind {
        Host::Private => short.to_owned(),
        Host::Host => format!("ebpf-netns-demo-{short}"),
    }
}

/// Containers and image of a demo that was killed; nobody else's have such names.
fn remove_leftovers(engine: &Engine) -> Result<()> {
    let names = CONTAINERS.map(|short| name(Host::Host, short));
    let all = engine.docker(["ps", "--all", "--format", "{{.Names}}"])?;
    for left in all.lines().filter(|line| names.iter().any(|name| name == line)) {
        engine.docker(["rm", "--force", left])?;
    }
    engine.try_docker(["rmi", &name(Host::Host, "nginx")]).map(drop)
}

/// Prints a command, runs it, and prints its output.
pub(super) fn show(command: &mut Command) -> Result<Output> {
    ui::typed(typed(command));
    let output = output_of(command)?;
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        if !text.trim().is_empty() {
            ui::line(text.trim_end());
        }
    }
    Ok(output)
}

/// As [`show`], for a command that must succeed; returns its stdout.
pub(super) fn shown_stdout(command: &mut Command) -> Result<String> {
    let output = show(command)?;
    ensure!(output.status.success(), "{} failed, {}", typed(command), output.status);
    String::from_utf8(output.stdout).context("the output is text")
}

/// The command line with programs as one types them, without their directories.
fn typed(command: &Command) -> String {
    let line = shown(command);
    let (program, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let program = program.rsplit('/').next().unwrap_or(program);
    format!("{program} {rest}").trim_end().to_owned()
}

/// Two daemons would undo each other's work.
fn refuse_second_daemon(engine: &Engine) -> Result<()> {
    let status = output_of(engine.netns()?.arg("status"))?;
    ensure!(
        !status.status.success(),
        "the daemon of ebpf-netns runs on this host already: stop it, or use `--engine private`"
    );
    Ok(())
}

/// The daemon of the demo would enforce the labels of containers that are not the demo's.
fn refuse_policies_of_others(engine: &Engine) -> Result<()> {
    let labels = engine.docker(["ps", "--format", "{{.Names}} {{.Labels}}"])?;
    for line in labels.lines() {
        let (name, labels) = line.split_once(' ').unwrap_or((line, ""));
        let ours =
            labels.split(',').any(|label| label.starts_with("xdp.") || label.starts_with("tc."));
        ensure!(
            !ours,
            "container {name} has labels of ebpf-netns, which the demo's daemon would enforce: \
             use `--engine private`"
        );
    }
    Ok(())
}

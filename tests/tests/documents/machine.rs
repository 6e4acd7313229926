//! A machine like that of a reader: the repository's files where they are, an engine with the images
//! that documents name, our commands in the path.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_dist::{Machine, plugin};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions, Process,
    binaries::{self, Binary},
    command::output_of,
    documents::{self, Document, Shown},
    images::Image,
    wait_for,
};

use crate::how::{How, how};

/// How long a command is watched that goes on until it is interrupted.
const WATCHED: &str = "4";
/// What `timeout` ends with when it had to interrupt.
const INTERRUPTED: i32 = 124;

/// The machine, and the daemon that runs on it.
pub(crate) struct Reader {
    daemon: Option<Process>,
    engine: Engine,
    place: PathBuf,
}

impl Reader {
    /// Sits down with a document: its first `yaml` is `compose.yaml`, where it has one.
    pub(crate) fn new(document: &Document) -> Result<Self> {
        let images = vec![Image::Nginx, Image::Busybox, Image::Redis];
        let engine = Engine::start_with(EngineOptions { images, ..EngineOptions::default() })?;
        let place = engine.machine().directory().join("reader");
        fs::create_dir(&place)?;
        for part in ["compose", "plugin"] {
            symlink(documents::root().join(part), place.join(part))?;
        }
        let services = "services: {db: {labels: {tc.policy: log}}}\n".to_owned();
        let own = document.blocks("yaml").into_iter().find(|text| text.starts_with("services:"));
        fs::write(place.join("compose.yaml"), own.unwrap_or_else(|| services.clone()))?;
        fs::write(place.join("compose.override.yaml"), &services)?;
        let reader = Self { daemon: None, engine, place };
        reader.own_configuration()?;
        Ok(reader)
    }

    /// `/etc`, in which the reader writes and nobody else sees it, with the files that documents speak
    /// of.
    fn own_configuration(&self) -> Result<()> {
        let machine = self.engine.machine();
        for part in ["etc", "work"] {
            fs::create_dir(machine.directory().join(part))?;
        }
        let layers = format!(
            "lowerdir=/etc,upperdir={0}/etc,workdir={0}/work",
            machine.directory().display()
        );
        machine.run("mount", ["-t", "overlay", "overlay", "-o", &layers, "/etc"])?;
        // As systemd mounts it at boot.
        let tracefs =
            "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing";
        machine.run("sh", ["-c", tracefs])?;
        self.shell(
            "mkdir -p /etc/ebpf-netns/policies policies\n\
             printf 'tc = \"auto\"\\n' >/etc/ebpf-netns/config.toml\n\
             printf 'policy = \"log\"\\n' | tee policies/no-mail.toml \
             >/etc/ebpf-netns/policies/no-mail.toml\n\
             chmod -R go-w /etc/ebpf-netns; cp -r /etc/ebpf-netns/. .; cp config.toml FILE",
        )
        .and_then(|output| succeeded("make the reader's files", &output))
    }

    /// What `cargo xtask plugin` makes, of the programs as they are built for tests.
    pub(crate) fn make_plugin(&self) -> Result<()> {
        let machine = Machine::here().context("there are packages for this machine")?;
        plugin(&binaries::standalone()?, machine, &self.place.join("target/dist/plugin"))
    }

    /// Prepares what a document takes for granted.
    pub(crate) fn before(&mut self, lines: &[&str]) -> Result<()> {
        for line in lines {
            let shown = Shown { place: "before".into(), line: (*line).into(), output: Vec::new() };
            self.follow(&shown)?;
        }
        Ok(())
    }

    /// Does what a document shows.
    pub(crate) fn follow(&mut self, shown: &Shown) -> Result<()> {
        let Shown { place, line, output } = shown;
        let about = || format!("{place}: {line}");
        match how(line) {
            How::Not(_) => Ok(()),
            How::Daemon => self.start_daemon(line).with_context(about),
            How::Without => {
                self.end_daemon()?;
                self.shell(line).and_then(|output| succeeded(line, &output)).with_context(about)
            }
            How::GoesOn => self.watch(line).with_context(about),
            How::As(other) => {
                self.shell(other).and_then(|output| succeeded(other, &output)).with_context(about)
            }
            How::Ends(code) => {
                let came = self.shell(line).with_context(about)?;
                ensure!(came.status.code() == Some(code), "{}: {came:?}", about());
                if line.starts_with("ebpf-netns check") && !output.is_empty() {
                    let said = [came.stdout, came.stderr].concat();
                    let said = String::from_utf8(said)?;
                    let shown = output.join("\n");
                    ensure!(said.trim_end() == shown, "{}\n{said}\nshown:\n{shown}", about());
                }
                Ok(())
            }
        }
    }

    fn start_daemon(&mut self, line: &str) -> Result<()> {
        self.end_daemon()?;
        let mut shell = self.command(&format!("exec {line}"))?;
        let (daemon, _log) = self.engine.machine().spawn(&mut shell, "daemon.log")?;
        self.daemon = Some(daemon);
        wait_for(DEADLINE, "the daemon to answer", || {
            succeeded("status", &self.shell("ebpf-netns status")?)
        })
    }

    fn end_daemon(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.terminate().map(drop))
    }

    fn watch(&self, line: &str) -> Result<()> {
        let output = self.shell(&format!("timeout --signal=INT {WATCHED} {line}"))?;
        let code = output.status.code();
        ensure!(code == Some(INTERRUPTED), "it did not go on: {output:?}");
        let shown = output.stdout.len() + output.stderr.len();
        ensure!(shown > 0 || !line.starts_with("ebpf-netns"), "it showed nothing: {output:?}");
        Ok(())
    }

    /// Waits until the daemon says of a container that its policy stands.
    pub(crate) fn wait_enforced(&self, name: &str) -> Result<()> {
        wait_for(DEADLINE, &format!("{name} to be enforced"), || {
            let output = self.shell("ebpf-netns status")?;
            let table = String::from_utf8_lossy(&output.stdout).into_owned();
            let is = |line: &str| line.starts_with(name) && line.contains(" enforced ");
            ensure!(table.lines().any(is), "{table}");
            Ok(())
        })
    }

    fn shell(&self, line: &str) -> Result<Output> {
        output_of(&mut self.command(line)?)
    }

    fn command(&self, line: &str) -> Result<Command> {
        let program = binaries::path(Binary::Netns)?;
        let own = program.parent().map(PathBuf::from);
        let usual = std::env::var_os("PATH").unwrap_or_default();
        // Before any other client of Docker's, that of the engine's version.
        let client = PathBuf::from("/usr/bin");
        let directories = own.into_iter().chain([client]).chain(std::env::split_paths(&usual));
        let directories: Vec<_> =
            directories.chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect();
        let mut bash = self.engine.machine().command("bash");
        let script = format!("cd {}; set -o pipefail; {line}", self.place.display());
        bash.args(["-c", &script])
            .env("PATH", std::env::join_paths(directories)?)
            .env("NO_PROXY", "*")
            .env("DOCKER_HOST", self.engine.docker_host())
            .env("DOCKER_CONFIG", self.engine.machine().directory())
            .env("DAEMON_JSON", self.engine.configuration());
        Ok(bash)
    }
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{what}: {output:?}");
    Ok(())
}

//! The OCI runtime that asks the daemon before a container starts, in a real engine.

mod passing;
mod refusing;
mod registering;
mod starting;

use std::{
    fs,
    path::PathBuf,
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    Process,
    binaries::{self, Binary},
    command::output_of,
};
use serde_json::json;

use crate::scene::{LAN, Label, Scene};

/// The name of the runtime in the engine.
const RUNTIME: &str = "ebpf-netns";

/// An engine that has the runtime, whose settings a test may change.
pub(crate) struct Gated {
    pub(crate) scene: Scene,
}

impl Gated {
    /// With these settings.
    fn start(settings: &str) -> Result<Self> {
        let gated = Self { scene: Scene::start()? };
        gated.set(settings)?;
        let option = format!("--ebpf-netns-settings={}", gated.settings().display());
        let runtime = json!({ "path": program()?, "runtimeArgs": [option] });
        gated.scene.engine().add_runtime(RUNTIME, &runtime)?;
        Ok(gated)
    }

    /// Changes the settings; each start reads them again.
    fn set(&self, settings: &str) -> Result<()> {
        fs::write(self.settings(), settings).context("write the settings")
    }

    fn settings(&self) -> PathBuf {
        self.scene.machine().directory().join("runtime.toml")
    }

    /// `docker run` of a web server that must start.
    fn run(&self, name: &str, labels: &[Label<'_>], options: &[&str]) -> Result<()> {
        self.scene.run_with(name, labels, &[&["--runtime", RUNTIME], options].concat())
    }

    /// `docker run` of a web server that may start or not, and how long it took.
    fn try_run(
        &self,
        name: &str,
        labels: &[Label<'_>],
        options: &[&str],
    ) -> Result<(Output, Duration)> {
        let words = words(name, labels, options);
        let begun = Instant::now();
        let output = self.scene.engine().try_docker(words)?;
        Ok((output, begun.elapsed()))
    }

    /// `docker run` of a web server that goes on while the test does.
    fn begin(&self, name: &str, labels: &[Label<'_>], options: &[&str]) -> Result<Process> {
        let mut run = self.scene.engine().docker_command();
        run.args(words(name, labels, options));
        let (process, _log) = self.scene.machine().spawn(&mut run, &format!("run-{name}.log"))?;
        Ok(process)
    }

    /// Asserts that `docker run` fails with one sentence that has all of these words, and that the
    /// container never ran.
    #[track_caller]
    fn check_refused(
        &self,
        name: &str,
        labels: &[Label<'_>],
        options: &[&str],
        words: &[&str],
    ) -> Result<Duration> {
        let (output, took) = self.try_run(name, labels, options)?;
        let said = String::from_utf8(output.stderr)?;
        assert!(!output.status.success(), "{name} must not start: {said}");
        let sentence = said.lines().find(|line| line.contains("ebpf-netns: "));
        let sentence = sentence.with_context(|| format!("{name}: our sentence in {said:?}"))?;
        for word in words {
            assert!(sentence.contains(word), "{name}: {sentence:?} has {word:?}");
        }
        assert_eq!(sentence.matches("ebpf-netns: ").count(), 1, "told once: {sentence}");
        let never = "0001-01-01T00:00:00Z";
        let started = self.scene.engine().inspect(name, "{{.State.StartedAt}}")?;
        assert_eq!(started, never, "{name} never ran");
        Ok(took)
    }

    /// Runs the runtime by hand to its end.
    fn by_hand(&self, arguments: &[&str]) -> Result<Output> {
        let own = format!("--ebpf-netns-settings={}", self.settings().display());
        output_of(self.scene.machine().command(program()?).arg(own).args(arguments))
    }

    /// The log that the shim of a container gives to the runtime.
    fn runtime_log(&self, name: &str) -> Result<String> {
        let id = self.scene.engine().inspect(name, "{{.Id}}")?;
        let bundles = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby";
        let path = self.scene.machine().outside(format!("{bundles}/{id}/log.json"));
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Asserts that a container runs.
    #[track_caller]
    fn check_running(&self, name: &str) -> Result<()> {
        let state = self.scene.engine().inspect(name, "{{.State.Status}}")?;
        ensure!(state == "running", "{name} is {state}");
        Ok(())
    }
}

/// `docker run` of a web server with our runtime, on [`LAN`] unless the options name a network.
fn words(name: &str, labels: &[Label<'_>], options: &[&str]) -> Vec<String> {
    let network: &[&str] = if options.contains(&"--network") { &[] } else { &["--network", LAN] };
    let fixed = ["run", "--detach", "--runtime", RUNTIME, "--name", name];
    let labels = labels.iter().map(|(key, value)| format!("--label={key}={value}"));
    let fixed = fixed.iter().chain(network).chain(options).map(|word| (*word).to_owned());
    fixed.chain(labels).chain(["noshell".to_owned()]).collect()
}

fn program() -> Result<PathBuf> {
    binaries::path(Binary::Runtime)
}

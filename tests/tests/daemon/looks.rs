//! How long the Docker source takes to tell whose a new veth is: the container waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns::docker::Endpoint;
use ebpf_netns_plugin::{
    docker,
    event::{DockerNews, Event},
    facts::{Life, Snapshot},
    look::Look,
};
use ebpf_netns_tests::{DEADLINE, engine::GATED_RUNTIME, privilege};
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};

use crate::scene::{LAN, Scene, at_once};

/// A Docker source without an engine.
struct Source {
    runtime: Runtime,
    look: Arc<Look>,
    events: mpsc::Receiver<Event>,
}

impl Source {
    fn start(scene: &Scene) -> Result<Self> {
        let runtime = Runtime::new()?;
        let look = Arc::new(Look::default());
        let (sender, events) = mpsc::channel(64);
        let endpoint = Endpoint::Unix(scene.engine().socket());
        runtime.spawn(docker::watch(endpoint, Arc::clone(&look), sender, Arc::default()));
        Ok(Self { runtime, look, events })
    }

    /// Asks for a look; the snapshot that answers it.
    fn look(&mut self) -> Result<Snapshot> {
        let number = self.look.ask();
        self.wait(|snapshot| snapshot.as_of >= number)
    }

    /// Waits for a snapshot.
    fn wait(&mut self, good: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
        let events = &mut self.events;
        let mut last = None;
        let wait = async {
            loop {
                let event = events.recv().await.context("the source ended")?;
                match event {
                    Event::Docker(DockerNews::Seen(seen)) if good(&seen) => return Ok(seen),
                    other => last = Some(other),
                }
            }
        };
        let waited = self.runtime.block_on(async { timeout(DEADLINE, wait).await });
        waited.with_context(|| format!("the last it told is {last:?}"))?
    }

    /// Looks so many times; how long each took, the shortest first.
    fn measure(&mut self, looks: usize) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        for _ in 0..looks {
            let start = Instant::now();
            self.look()?;
            took.push(start.elapsed());
        }
        took.sort();
        Ok(took)
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Result<Duration> {
    sorted.get(sorted.len() * percent / 100).copied().context("there are measurements")
}

#[test]
fn a_look_is_answered_at_once_also_while_many_start() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    scene.run("web", &[("tc.policy", "log")])?;
    let mut source = Source::start(&scene)?;
    source.look()?;
    let idle = source.measure(400)?;
    let done = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| -> Result<Vec<Duration>> {
        let starts = scope.spawn(|| {
            let all: Vec<String> = (0..16).map(|n| format!("web{n}")).collect();
            let started = at_once(all.iter().map(|name| || scene.run(name, &[])));
            done.store(true, Ordering::SeqCst);
            started
        });
        let mut took = Vec::new();
        while !done.load(Ordering::SeqCst) {
            took.extend(source.measure(1)?);
        }
        took.sort();
        starts.join().ok().context("a thread panicked")??;
        Ok(took)
    })?;
    for (when, took) in [("idle", &idle), ("16 starts at once", &busy)] {
        let (half, most) = (percentile(took, 50)?, percentile(took, 99)?);
        println!("{when}: {} looks, p50 {half:?}, p99 {most:?}, max {:?}", took.len(), took.last());
        ensure!(half < Duration::from_millis(500), "{when}: half of the looks took {half:?}");
    }
    Ok(())
}

#[test]
fn everyone_is_told_of_and_only_those_who_matter_are_described() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let engine = scene.engine();
    let policy = [("tc.policy", "drop-icmp")];
    scene.run("plain", &[("vendor", "x")])?;
    scene.run("shared", &[])?;
    let another_port = ["/httpd", "-f", "-p", "81", "-h", "/"];
    scene.run_command("joiner", &policy, &["--network", "container:shared"], &another_port)?;
    scene.run("ours", &policy)?;
    scene.create("made", &policy, &["--network", LAN])?;
    let mut source = Source::start(&scene)?;
    let placed = |snapshot: &Snapshot| {
        let placed = snapshot.containers.iter().filter(|one| matches!(one.life, Life::Placed(_)));
        placed.map(|one| one.name.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    let some = ["joiner", "ours", "shared"].map(str::to_owned).into();
    let snapshot = source.wait(|snapshot| placed(snapshot) == some)?;

    let lan = engine.docker(["network", "inspect", "--format={{.Id}}", LAN])?;
    let bridge = format!("br-{}", lan.get(..12).context("an id")?);
    assert_eq!(snapshot.bridges, [bridge.as_str(), "docker0"]);
    assert!(snapshot.others.is_empty(), "everybody is a container: {:?}", snapshot.others);
    let ids: Vec<_> = snapshot.containers.iter().map(|one| &one.id).collect();
    assert!(ids.is_sorted() && ids.len() == 5, "{ids:?}");
    for one in &snapshot.containers {
        let name = one.name.as_str();
        let ours = matches!(name, "joiner" | "ours" | "made");
        assert_eq!(one.labels.len(), usize::from(ours), "{one:?}");
        match name {
            "made" => assert_eq!((&one.life, one.endpoints.len()), (&Life::Down, 0), "{one:?}"),
            "joiner" => assert_eq!(one.endpoints, [], "they are another's: {one:?}"),
            _ => {
                let [endpoint] = one.endpoints.as_slice() else { anyhow::bail!("{one:?}") };
                assert_eq!(endpoint.network, LAN);
                assert_eq!(endpoint.bridge.as_deref(), Some(bridge.as_str()));
                let template = "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}";
                let mac = engine.inspect(name, template)?;
                assert_eq!(endpoint.mac.map(|mac| mac.to_string()), Some(mac), "{one:?}");
            }
        }
    }
    source.look.describe_everyone(true);
    let all = ["joiner", "ours", "plain", "shared"].map(str::to_owned).into();
    source.look.ask();
    source.wait(|snapshot| placed(snapshot) == all)?;

    // One that is starting is known by its address before it runs.
    let mut start = engine.docker_command();
    start.args(["run", "--detach", "--name=late", "--network", LAN, "--runtime", GATED_RUNTIME]);
    let (_starting, _log) = scene.machine().spawn(start.arg("noshell"), "run-late.log")?;
    engine.gate().wait_held()?;
    let snapshot = source.look()?;
    let late = snapshot.containers.iter().find(|one| one.name == "late").context("it is listed")?;
    assert_eq!(late.life, Life::Down, "it does not run yet");
    assert!(late.endpoints.iter().any(|endpoint| endpoint.mac.is_some()), "{late:?}");
    engine.gate().open()
}

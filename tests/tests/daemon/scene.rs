//! What every test of the daemon needs: an engine with a network, labelled containers, and what
//! reaches them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, HookStatus, InterfaceStatus, State, Status};
use ebpf_netns_tests::{
    DEADLINE, Daemon, DaemonOptions, Engine, EngineOptions, Machine,
    binaries::{self, Binary},
    command::stdout_of,
    images::Image,
    traffic::{Http, Reply, Vantage},
    wait_for,
};
use serde_json::Value;

/// The network that containers are on unless a test says otherwise: IPv4 and IPv6.
pub(crate) const LAN: &str = "lan";

/// The port of echo servers.
pub(crate) const ECHO: u16 = 7777;

/// A label of a container.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// A running engine with the network [`LAN`].
pub(crate) struct Scene {
    engine: Engine,
}

impl Scene {
    /// Starts it with the small image alone.
    pub(crate) fn start() -> Result<Self> {
        Self::with(EngineOptions { images: vec![Image::Noshell], ..EngineOptions::default() })
    }

    pub(crate) fn with(options: EngineOptions) -> Result<Self> {
        let scene = Self { engine: Engine::start_with(options)? };
        scene.network(LAN, &["--ipv6", "--subnet", "fd00:ebf::/64"])?;
        Ok(scene)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn machine(&self) -> &Machine {
        self.engine.machine()
    }

    pub(crate) fn daemon(&self) -> Result<Daemon<'_>> {
        Daemon::start(self.machine())
    }

    /// A daemon with more arguments of `ebpf-netns-plugin run`.
    pub(crate) fn daemon_with(&self, arguments: &[&str]) -> Result<Daemon<'_>> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let options = DaemonOptions { arguments, ..DaemonOptions::default() };
        Daemon::start_with(self.machine(), &options)
    }

    /// Ends a daemon and takes off what it left.
    pub(crate) fn end(&self, daemon: Daemon<'_>) -> Result<()> {
        daemon.stop()?;
        self.clean().map(drop)
    }

    /// `ebpf-netns-plugin clean`; what it says.
    pub(crate) fn clean(&self) -> Result<String> {
        self.machine().run(binaries::path(Binary::Plugin)?, ["clean"])
    }

    /// `docker network create OPTIONS NAME`.
    pub(crate) fn network(&self, name: &str, options: &[&str]) -> Result<()> {
        let arguments = [&["network", "create"], options, &[name]].concat();
        self.engine.docker(arguments).map(drop)
    }

    /// Runs a web server with labels on [`LAN`].
    pub(crate) fn run(&self, name: &str, labels: &[Label<'_>]) -> Result<()> {
        self.run_with(name, labels, &["--network", LAN])
    }

    /// Runs a web server with labels and other options of `docker run`.
    pub(crate) fn run_with(
        &self,
        name: &str,
        labels: &[Label<'_>],
        options: &[&str],
    ) -> Result<()> {
        self.start_container(&["run", "--detach"], name, labels, options, &[])
    }

    /// As [`Self::run_with`], with another command than the web server on port 80.
    pub(crate) fn run_command(
        &self,
        name: &str,
        labels: &[Label<'_>],
        options: &[&str],
        command: &[&str],
    ) -> Result<()> {
        self.start_container(&["run", "--detach"], name, labels, options, command)
    }

    /// As [`Self::run_with`], but created only.
    pub(crate) fn create(&self, name: &str, labels: &[Label<'_>], options: &[&str]) -> Result<()> {
        self.start_container(&["create"], name, labels, options, &[])
    }

    fn start_container(
        &self,
        verb: &[&str],
        name: &str,
        labels: &[Label<'_>],
        options: &[&str],
        command: &[&str],
    ) -> Result<()> {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("--label={key}={value}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let image = [Image::Noshell.name()];
        let arguments = [verb, &["--name", name], &labels, options, &image, command].concat();
        self.engine.docker(arguments).map(drop)
    }

    /// A container's addresses on [`LAN`], of IPv4 and IPv6.
    pub(crate) fn addresses(&self, container: &str) -> Result<[IpAddr; 2]> {
        self.engine.addresses_on(container, LAN)?.both()
    }

    /// Waits until a container's web server listens, asked from within, where no policy applies.
    pub(crate) fn wait_listening(&self, container: &str) -> Result<()> {
        let inside = self.engine.from_container(container)?;
        wait_for(DEADLINE, &format!("{container} to listen"), || {
            let http = inside.http(IpAddr::from([127, 0, 0, 1]))?;
            ensure!(http == Http::Answered(200), "{http:?}");
            Ok(())
        })
    }

    /// What the host gets through to a container's web server and echo server.
    pub(crate) fn reach_from_host(&self, container: &str) -> Result<Reach> {
        reach(&self.engine.from_host(), &self.addresses(container)?, ECHO)
    }
}

/// What was sent there and came back, over each version of IP that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
    pub(crate) icmp: bool,
}

impl Reach {
    pub(crate) const ALL: Self = Self { tcp: true, udp: true, icmp: true };
    pub(crate) const NOTHING: Self = Self { tcp: false, udp: false, icmp: false };
}

/// Tries HTTP, UDP to the echo server and ping, all at once. What works over one version of IP and
/// not over the other is an error.
pub(crate) fn reach(from: &Vantage<'_>, to: &[IpAddr], echo: u16) -> Result<Reach> {
    let each = at_once(to.iter().map(|to| move || reach_one(from, *to, echo)))?;
    let first = *each.first().context("there is an address to reach")?;
    ensure!(each.iter().all(|one| *one == first), "the same over all of {to:?}: {each:?}");
    Ok(first)
}

fn reach_one(from: &Vantage<'_>, to: IpAddr, echo: u16) -> Result<Reach> {
    thread::scope(|scope| {
        let tcp = scope.spawn(move || http_works(from, to));
        let udp = scope.spawn(move || udp_works(from, SocketAddr::from((to, echo))));
        // A neighbour that was not found a moment ago may take a second to be found.
        let icmp = ping_works(from, to)? || ping_works(from, to)?;
        Ok(Reach { tcp: joined(tcp)?, udp: joined(udp)?, icmp })
    })
}

pub(crate) fn http_works(from: &Vantage<'_>, to: IpAddr) -> Result<bool> {
    match from.http(to)? {
        Http::Answered(200) => Ok(true),
        Http::TimedOut | Http::Unreachable => Ok(false),
        other => bail!("HTTP to {to}: {other:?}"),
    }
}

pub(crate) fn udp_works(from: &Vantage<'_>, to: SocketAddr) -> Result<bool> {
    match from.udp(to)? {
        Reply::Echoed => Ok(true),
        Reply::TimedOut | Reply::Unreachable => Ok(false),
        Reply::Refused => bail!("UDP to {to} is refused"),
    }
}

pub(crate) fn ping_works(from: &Vantage<'_>, to: IpAddr) -> Result<bool> {
    Ok(from.ping(to, 1)?.is_complete())
}

/// The host's pings of a container on [`LAN`] are lost, over IPv4 and IPv6.
#[track_caller]
pub(crate) fn check_no_ping(scene: &Scene, name: &str, when: &str) -> Result<()> {
    check_ping(
        &scene.engine().from_host(),
        &scene.addresses(name)?,
        false,
        &format!("{name}, {when}"),
    )
}

/// Pings of each address are answered, or not.
#[track_caller]
pub(crate) fn check_ping(
    from: &Vantage<'_>,
    to: &[IpAddr],
    expected: bool,
    what: &str,
) -> Result<()> {
    let ping = |to: IpAddr| Ok(ping_works(from, to)? || (expected && ping_works(from, to)?));
    let answered = at_once(to.iter().map(|to| move || ping(*to)))?;
    assert!(answered.iter().all(|one| *one == expected), "{what}: pings of {to:?}: {answered:?}");
    Ok(())
}

/// Runs all of these on threads of their own and returns what they return, in order.
pub(crate) fn at_once<T: Send>(
    work: impl Iterator<Item: FnOnce() -> Result<T> + Send>,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = work
            .map(|work| {
                // Logs are named after the test, which is the name of its thread.
                let name = thread::current().name().unwrap_or_default().to_owned();
                thread::Builder::new().name(name).spawn_scoped(scope, work)
            })
            .collect();
        threads.into_iter().map(|thread| joined(thread?)).collect()
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_panic| anyhow!("a thread of the test panicked"))?
}

/// Name and index of the host's end of a container's `eth0`.
pub(crate) fn host_veth(scene: &Scene, name: &str) -> Result<(String, u32)> {
    let inside = link(&scene.engine().from_container(name)?, "eth0")?;
    let links = scene.machine().run("ip", ["-j", "link", "show"])?;
    let links: Value = serde_json::from_str(&links)?;
    let mut links = links.as_array().context("ip shows a list")?.iter();
    let host = links.find(|link| link["ifindex"] == inside["link_index"]);
    let host = host.with_context(|| format!("the host's end of {name}'s eth0"))?;
    let (name, index) = (host["ifname"].as_str(), host["ifindex"].as_u64());
    let (name, index) = name.zip(index).context("a link has a name and an index")?;
    Ok((name.to_owned(), index.try_into()?))
}

/// What `ip -j link show dev NAME` says in a namespace.
pub(crate) fn link(at: &Vantage<'_>, name: &str) -> Result<Value> {
    let shown = stdout_of(at.command("ip").args(["-j", "link", "show", "dev", name]))?;
    let shown: Value = serde_json::from_str(&shown)?;
    shown.get(0).cloned().with_context(|| format!("ip shows {name}"))
}

/// What the daemon says of everything.
pub(crate) fn status(daemon: &Daemon<'_>) -> Result<Status> {
    serde_json::from_value(daemon.status()?).context("read the status")
}

/// What the daemon says of one container.
pub(crate) fn container(daemon: &Daemon<'_>, name: &str) -> Result<ContainerStatus> {
    let status = status(daemon)?;
    let names: Vec<String> = status.containers.iter().map(|one| one.name.clone()).collect();
    let found = status.containers.into_iter().find(|container| container.name == name);
    found.with_context(|| format!("status has {names:?} and not {name}"))
}

/// Waits until the daemon says that a container is in a state.
pub(crate) fn wait_state(daemon: &Daemon<'_>, name: &str, state: State) -> Result<ContainerStatus> {
    wait_for(DEADLINE, &format!("{name} to be {state:?}"), || {
        let container = container(daemon, name)?;
        ensure!(container.state == state, "it is {container:?}");
        Ok(container)
    })
}

/// The only interface of a container.
pub(crate) fn only_interface(container: &ContainerStatus) -> Result<&InterfaceStatus> {
    match container.interfaces.as_slice() {
        [interface] => Ok(interface),
        others => bail!("{} has one interface, not {others:?}", container.name),
    }
}

/// The directions in which a container's only interface is policed, each with its hook.
pub(crate) fn hooks(container: &ContainerStatus) -> Result<BTreeMap<&str, &HookStatus>> {
    let interface = only_interface(container)?;
    Ok(interface.hooks.iter().map(|hook| (hook.direction.as_str(), hook)).collect())
}

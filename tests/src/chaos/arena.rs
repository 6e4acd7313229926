//! The place where faults are injected: an engine, the daemon, containers that send what they may
//! not, and others that have nothing to do with it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    counter::{self, Counter, PERIOD},
    innocent::Beat,
    policy::{NAMED, Policy, SWAPPED},
};
use crate::{
    Configuration, Daemon, DaemonOptions, Engine, EngineOptions, Machine, Process,
    binaries::{self, Binary},
    command,
    images::Image,
    stream::Kind,
    wait::{DEADLINE, wait_for},
};

/// The network of the containers.
pub const LAN: &str = "lan";
/// Another network, to connect to and disconnect from.
pub const OTHER: &str = "other";
/// The port of the echo server of the innocent.
pub(super) const ECHO: u16 = 7777;

/// A container whose first process sends numbered frames of each kind, a thousand a second.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Its number in the frames.
    pub id: u32,
    /// What it is labelled with.
    pub policy: Policy,
    /// Frames got out in a situation that is documented to be open.
    pub excused: bool,
}

/// An engine with two networks and everything around it.
#[derive(Debug)]
pub struct Arena<'a> {
    engine: &'a Engine,
    daemon: Option<Daemon<'a>>,
    /// How the daemon is started.
    pub options: DaemonOptions,
    counter: Counter,
    senders: BTreeMap<String, Sender>,
    pub(super) beats: Vec<Beat>,
    /// The fault itself takes from those who have no label, such as an engine that ends them.
    pub innocents_suffer: bool,
    next: u32,
}

/// The options of an arena's engine.
#[must_use]
pub fn engine_options(flags: &[&str]) -> EngineOptions {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    EngineOptions { flags, images: vec![Image::Probe] }
}

impl<'a> Arena<'a> {
    /// Makes the networks and starts to count.
    ///
    /// # Errors
    ///
    /// When Docker or the counter fails.
    pub fn new(engine: &'a Engine) -> Result<Self> {
        for network in [LAN, OTHER] {
            engine.docker(["network", "create", network])?;
        }
        Ok(Self {
            engine,
            daemon: None,
            options: DaemonOptions::default(),
            counter: Counter::start(engine.machine())?,
            senders: BTreeMap::new(),
            beats: Vec::new(),
            innocents_suffer: false,
            next: 1,
        })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'a Machine {
        self.engine.machine()
    }

    /// The counter of frames.
    #[must_use]
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// The senders, by the names of their containers.
    #[must_use]
    pub fn senders(&self) -> &BTreeMap<String, Sender> {
        &self.senders
    }

    /// The daemon.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn daemon(&self) -> Result<&Daemon<'a>> {
        self.daemon.as_ref().context("the daemon does not run")
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn start_daemon(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        self.daemon = Some(Daemon::start_with(self.machine(), &self.options)?);
        Ok(())
    }

    /// Takes the daemon away, to end it in some way.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn take_daemon(&mut self) -> Result<Daemon<'a>> {
        self.daemon.take().context("the daemon does not run")
    }

    /// Kills the daemon (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it was not running.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.take_daemon()?.kill()
    }

    /// Starts the daemon again, with other options.
    ///
    /// # Errors
    ///
    /// When it does not end in order, or does not answer.
    pub fn restart_daemon(&mut self, options: DaemonOptions) -> Result<()> {
        self.take_daemon()?.stop()?;
        self.options = options;
        self.start_daemon()?;
        self.converged(DEADLINE).map(drop)
    }

    /// As [`Self::restart_daemon`], with a configuration that has the first of the policies that
    /// [`Self::write_policy`] swaps.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn configure(&mut self) -> Result<()> {
        let argument = Configuration::new(self.machine(), "")?.argument();
        self.write_policy(0)?;
        self.restart_daemon(DaemonOptions { arguments: vec![argument], ..Default::default() })
    }

    /// Has the operator's policy be the first (0) or the second (1) of the two, once the daemon
    /// loads its configuration again.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_policy(&self, which: usize) -> Result<()> {
        let presets = SWAPPED.get(which).context("there are two policies")?;
        Configuration::of(self.machine()).policy(NAMED, presets)
    }

    /// No frame got out that may not have; `when` is for the error.
    ///
    /// # Errors
    ///
    /// When one did.
    pub fn tight(&self, when: &str) -> Result<()> {
        let leaks = self.leaks()?;
        ensure!(leaks.is_empty(), "{when}, forbidden frames came through: {leaks:?}");
        Ok(())
    }

    /// A number for one more sender.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// `docker run` of a sender on [`LAN`].
    ///
    /// # Errors
    ///
    /// When Docker refuses.
    pub fn run(&mut self, name: &str, policy: Policy) -> Result<Sender> {
        self.run_on(name, policy, &["--network", LAN])
    }

    /// As [`Self::run`], with other options of `docker run`.
    ///
    /// # Errors
    ///
    /// When Docker refuses.
    pub fn run_on(&mut self, name: &str, policy: Policy, options: &[&str]) -> Result<Sender> {
        self.make(name, policy, &[&["run", "--detach"], options].concat())
    }

    /// `docker create` of a sender on [`LAN`], to be started later.
    ///
    /// # Errors
    ///
    /// When Docker refuses.
    pub fn create(&mut self, name: &str, policy: Policy) -> Result<Sender> {
        self.make(name, policy, &["create", "--network", LAN])
    }

    pub(super) fn make(&mut self, name: &str, policy: Policy, verb: &[&str]) -> Result<Sender> {
        let sender = self.enlist(name, policy);
        let arguments = run_arguments(name, sender, verb);
        self.engine.docker(arguments)?;
        Ok(sender)
    }

    /// A sender that somebody else starts, with [`run_arguments`].
    pub fn enlist(&mut self, name: &str, policy: Policy) -> Sender {
        let sender = Sender { id: self.number(), policy, excused: false };
        self.senders.insert(name.to_owned(), sender);
        sender
    }

    /// From now on, frames of this sender are not held against the daemon.
    pub fn excuse(&mut self, name: &str) {
        if let Some(sender) = self.senders.get_mut(name) {
            sender.excused = true;
        }
    }

    /// Takes a container that is gone off the list of those that are watched.
    pub(super) fn forget(&mut self, name: &str) {
        self.senders.remove(name);
    }

    /// After `docker rename`: `third` is now what `first` was, and `first` what `second` was.
    pub(super) fn exchange_names(&mut self, first: &str, third: &str, second: &str) {
        for (from, to) in [(first, third), (second, first)] {
            if let Some(sender) = self.senders.remove(from) {
                self.senders.insert(to.to_owned(), sender);
            }
        }
    }

    /// `docker rm --force`; what it sent stays counted.
    ///
    /// # Errors
    ///
    /// When Docker refuses.
    pub fn remove(&self, names: &[&str]) -> Result<()> {
        let arguments = [&["rm", "--force", "--volumes"], names].concat();
        self.engine.docker(arguments).map(drop)
    }

    /// Runs two unlabelled containers and lets datagrams go back and forth: between them, and from
    /// the host.
    ///
    /// # Errors
    ///
    /// When they do not start.
    pub fn invite_innocents(&mut self) -> Result<()> {
        let run = ["run", "--detach", "--stop-signal", "KILL", "--network", LAN, "--name"];
        self.engine.docker(run.iter().chain(&["echo", "probe", "serve", "7777"]))?;
        let sender = self.run("bystander", Policy::None)?;
        let server = SocketAddr::from((self.engine.addresses_on("echo", LAN)?.v4()?, ECHO));
        let inside = self.engine.from_container("bystander")?;
        wait_for(DEADLINE, "the innocent to answer", || {
            let reply = inside.udp(server)?;
            ensure!(reply == crate::traffic::Reply::Echoed, "{reply:?}");
            Ok(())
        })?;
        for kind in Kind::ALL {
            self.wait_kind(sender.id, kind)?;
        }
        for (name, from) in [("neighbour", inside), ("host", self.engine.from_host())] {
            self.beats.push(Beat::start(self.machine(), &from, server, name)?);
        }
        Ok(())
    }

    /// Waits until so many frames of a sender came through.
    ///
    /// # Errors
    ///
    /// When they do not.
    pub fn wait_received(&self, id: u32, least: u64) -> Result<()> {
        wait_for(DEADLINE, &format!("{least} frames of sender {id}"), || {
            let received = counter::received(&self.counter.latest()?, id, |_| true);
            ensure!(received >= least, "{received} came through");
            Ok(())
        })
    }

    /// Waits until a frame of a kind came through: where nothing forbids it, it is counted.
    fn wait_kind(&self, id: u32, wanted: Kind) -> Result<()> {
        wait_for(DEADLINE, &format!("{} of sender {id} to be counted", wanted.name()), || {
            let received = counter::received(&self.counter.latest()?, id, |kind| kind == wanted);
            ensure!(received > 0, "none came through");
            Ok(())
        })
    }

    /// Floods from a container's namespace with forbidden frames, as fast as the kernel can.
    ///
    /// # Errors
    ///
    /// When the container does not run, or has no policy that forbids UDP.
    pub fn flood(&self, name: &str) -> Result<Flood> {
        let sender = self.senders.get(name).with_context(|| format!("{name} is no sender"))?;
        let told = self.machine().directory().join(format!("flood-{name}"));
        let inside = self.engine.from_container(name)?;
        let mut probe = inside.command(&binaries::path(Binary::Probe)?.display().to_string());
        probe.args(["deluge", &sender.id.to_string(), "udp"]).arg(&told);
        let (process, _log) = self.machine().spawn(&mut probe, &format!("flood-{name}.log"))?;
        let flood = Flood { process, told };
        wait_for(DEADLINE, "the flood to rise", || {
            ensure!(flood.sent()? > 0, "nothing is sent yet");
            Ok(())
        })?;
        Ok(flood)
    }

    /// Frames that got out and may not have, of those that are not excused, by container.
    ///
    /// # Errors
    ///
    /// When the counter does not answer.
    pub fn leaks(&self) -> Result<BTreeMap<&str, u64>> {
        let table = self.counter.settled()?;
        let guilty = self.senders.iter().filter(|(_, sender)| !sender.excused);
        let leaks = guilty.map(|(name, sender)| {
            let forbidden = |kind| sender.policy.forbids(kind);
            (name.as_str(), counter::received(&table, sender.id, forbidden))
        });
        Ok(leaks.filter(|(_, frames)| *frames > 0).collect())
    }

    /// Runs a program in the machine and returns what it wrote, if it succeeded.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn plugin(&self, arguments: &[&str]) -> Result<String> {
        let mut plugin = self.machine().command(binaries::path(Binary::Plugin)?);
        command::stdout_of(plugin.args(arguments))
    }
}

/// The arguments of `docker` that make a sender, `verb` being `run` or `create` with options.
#[must_use]
pub fn run_arguments(name: &str, sender: Sender, verb: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
    // A first process ignores what it does not handle, and Docker would wait ten seconds for it.
    arguments.extend(["--stop-signal", "KILL", "--name", name].map(str::to_owned));
    let labels = sender.policy.labels().iter();
    arguments.extend(labels.map(|label| format!("--label={label}")));
    arguments.extend(["probe", "send"].map(str::to_owned));
    arguments.extend([sender.id.to_string(), PERIOD.as_micros().to_string()]);
    arguments
}

/// A flood; it ends when dropped.
#[derive(Debug)]
pub struct Flood {
    process: Process,
    told: PathBuf,
}

impl Flood {
    /// How many frames it sent so far.
    ///
    /// # Errors
    ///
    /// When it tells nothing.
    pub fn sent(&self) -> Result<u64> {
        let text = std::fs::read_to_string(&self.told).context("ask the flood")?;
        text.parse().with_context(|| format!("a number in {text:?}"))
    }

    /// Whether it still rises.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.is_running()
    }
}

/// How long anything of ours may take to stand as it should after a fault is over.
pub const CONVERGENCE: Duration = Duration::from_secs(2);

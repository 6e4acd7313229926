//! Connections that last longer than the policy that they began under: one that stays allowed is not
//! broken by a change, and one that is forbidden stops.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, Process,
    binaries::{self, Binary},
    privilege, wait_for,
};

use crate::{
    config::{configured, reloaded},
    scene::{Scene, http_works, wait_state},
};

const DATABASE: u16 = 5432;
const OTHER: u16 = 5433;

/// How often each says something.
const PERIOD: Duration = Duration::from_millis(5);

/// A TCP connection that carries something all the time.
pub(crate) struct Talk {
    _process: Process,
    what: String,
    told: PathBuf,
}

impl Talk {
    /// From a container to an echo server; it has begun when this returns.
    pub(crate) fn begin(scene: &Scene, from: &str, to: SocketAddr) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let machine = scene.machine();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let told = machine.directory().join(format!("talk-{number}"));
        let probe = binaries::path(Binary::Probe)?.display().to_string();
        let mut probe = scene.engine().from_container(from)?.command(&probe);
        probe.args(["talk", &to.to_string(), &PERIOD.as_micros().to_string()]).arg(&told);
        let (process, _log) = machine.spawn(&mut probe, &format!("talk-{number}.log"))?;
        let talk = Self { _process: process, what: format!("{from} to {to}"), told };
        wait_for(DEADLINE, &format!("{}: a first word", talk.what), || {
            ensure!(talk.count()? > 0, "none came back");
            Ok(())
        })?;
        Ok(talk)
    }

    /// How much came back so far; an error if the connection has ended.
    pub(crate) fn count(&self) -> Result<u64> {
        let said = fs::read_to_string(&self.told).context("it has said nothing")?;
        said.parse().with_context(|| format!("{}: the connection has ended: {said}", self.what))
    }

    /// Waits until more has come back, over the same connection.
    pub(crate) fn goes_on(&self) -> Result<()> {
        let before = self.count()?;
        wait_for(DEADLINE, &format!("{}: more words", self.what), || {
            let now = self.count()?;
            ensure!(now > before + 20, "{now} after {before}");
            Ok(())
        })
    }
}

/// All of these go on.
fn go_on(talks: &[Talk], when: &str) -> Result<()> {
    talks.iter().try_for_each(|talk| talk.goes_on().context(when.to_owned()))
}

/// None of these says a word more while another, which has nothing to do with them, says many; and
/// none has been told that it has ended.
fn stand_still(talks: &[Talk], other: &Talk, when: &str) -> Result<()> {
    // What was on its way.
    other.goes_on()?;
    let counts = || talks.iter().map(Talk::count).collect::<Result<Vec<_>>>();
    let before = counts().context(when.to_owned())?;
    for _ in 0..5 {
        other.goes_on()?;
    }
    let after = counts().context(when.to_owned())?;
    ensure!(before == after, "{when}: from {before:?} to {after:?}");
    Ok(())
}

fn talks(scene: &Scene, from: &str, to: [IpAddr; 2], port: u16) -> Result<Vec<Talk>> {
    to.into_iter().map(|to| Talk::begin(scene, from, SocketAddr::new(to, port))).collect()
}

fn to_db(port: &str) -> String {
    let egress = format!("allow tcp {port} to container:db; allow tcp 80 to container:late");
    format!("egress = {egress:?}\ningress = \"deny\"\n")
}

#[test]
fn a_connection_outlives_every_change_of_the_policy_that_allows_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    configuration.policy_of("web", &to_db("5432"))?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("db", &[])?;
    scene.run("web", &[("tc.policy", "web")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let at_db = scene.engine().from_container("db")?;
    let _servers = [at_db.echo_server(DATABASE)?, at_db.echo_server(OTHER)?];
    let db = scene.addresses("db")?;
    let allowed = talks(&scene, "web", db, DATABASE)?;
    // With itself, which no veth sees.
    let other = Talk::begin(&scene, "db", SocketAddr::new(db[0], OTHER))?;

    changes(&scene, &configuration, &daemon, &allowed)?;
    let daemon = restarts(&scene, &configuration, daemon, &allowed)?;

    // Forbidden, it stops without a word, and is the same connection when it is allowed again.
    configuration.policy_of("web", &to_db("1-5431"))?;
    reloaded(&daemon)?;
    stand_still(&allowed, &other, "its port is allowed no more")?;
    configuration.policy_of("web", &to_db("5432"))?;
    reloaded(&daemon)?;
    go_on(&allowed, "allowed again")?;
    // By another's hand, and by a preset.
    for default in ["\"tc.egress\" = \"deny tcp to lan; allow\"", "\"xdp.policy\" = \"drop-tcp\""] {
        configuration.write(&format!("[default]\n{default}\n"))?;
        reloaded(&daemon)?;
        stand_still(&allowed, &other, default)?;
        configuration.write("")?;
        reloaded(&daemon)?;
        go_on(&allowed, "the default policy has gone")?;
    }
    drop((allowed, other));
    scene.end(daemon)
}

/// Policies, hooks and names change.
fn changes(
    scene: &Scene,
    configuration: &Configuration,
    daemon: &Daemon<'_>,
    allowed: &[Talk],
) -> Result<()> {
    for text in [
        to_db("5432-5433"),
        "egress = \"allow tcp\"\ningress = \"deny\"\n".to_owned(),
        "policy = \"drop-icmp,log\"\negress = \"deny udp; allow\"\n".to_owned(),
        "policy = \"drop-udp\"\n".to_owned(),
        to_db("5432"),
    ] {
        configuration.policy_of("web", &text)?;
        reloaded(daemon)?;
        go_on(allowed, &text)?;
    }
    for default in
        ["\"tc.egress\" = \"allow tcp 5000-6000 to lan\"", "\"xdp.policy\" = \"drop-udp\""]
    {
        configuration.write(&format!("[default]\n{default}\n"))?;
        reloaded(daemon)?;
        go_on(allowed, default)?;
        configuration.write("")?;
        reloaded(daemon)?;
        go_on(allowed, "the default policy has gone")?;
    }
    let web = scene.engine().from_container("web")?;
    for round in 0..3 {
        scene.run("late", &[])?;
        let [v4, _] = scene.addresses("late")?;
        scene.wait_listening("late")?;
        wait_for(DEADLINE, "the name to be followed", || {
            ensure!(http_works(&web, v4)?, "not yet");
            Ok(())
        })?;
        go_on(allowed, &format!("a name came, {round}"))?;
        scene.engine().docker(["rm", "--force", "late"])?;
        go_on(allowed, &format!("a name went, {round}"))?;
    }
    Ok(())
}

/// The daemon goes, in order and not, and comes back.
fn restarts<'a>(
    scene: &'a Scene,
    configuration: &Configuration,
    mut daemon: Daemon<'a>,
    allowed: &[Talk],
) -> Result<Daemon<'a>> {
    for round in 0..4 {
        let how = if round % 2 == 0 { "stopped" } else { "killed" };
        if round % 2 == 0 {
            daemon.stop()?;
        } else {
            daemon.kill()?;
        }
        go_on(allowed, how)?;
        daemon = configured(scene, configuration)?;
        wait_state(&daemon, "web", State::Enforced)?;
        go_on(allowed, &format!("started again after it was {how}"))?;
    }
    Ok(daemon)
}

/// T17 of other tools: what was established before the rules came was let through for ever.
#[test]
fn t17_a_connection_that_began_before_the_rules_is_judged_by_them() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let rules = [("tc.egress", "allow tcp 5432"), ("tc.ingress", "deny")];
    // No daemon runs yet: nobody stops it.
    for (name, labels) in [("db", &[][..]), ("plain", &[]), ("web", &rules)] {
        scene.run(name, labels)?;
    }
    let at_db = scene.engine().from_container("db")?;
    let _servers = [at_db.echo_server(DATABASE)?, at_db.echo_server(OTHER)?];
    let db = scene.addresses("db")?;
    // With itself, which no veth sees.
    let control = Talk::begin(&scene, "db", SocketAddr::new(db[0], OTHER))?;
    let begin = |from: &str| -> Result<(Vec<Talk>, Vec<Talk>)> {
        Ok((talks(&scene, from, db, DATABASE)?, talks(&scene, from, db, OTHER)?))
    };
    let (allowed, forbidden) = begin("web")?;
    go_on(&forbidden, "no policy yet")?;
    let configuration = Configuration::new(scene.machine(), "")?;
    let daemon = configured(&scene, &configuration)?;
    wait_state(&daemon, "web", State::Enforced)?;
    go_on(&allowed, "it began before the daemon, and the rules allow it")?;
    stand_still(&forbidden, &control, "it began before the daemon, and the rules do not allow it")?;

    let (allowed, forbidden) = begin("plain")?;
    go_on(&forbidden, "no policy yet")?;
    configuration.write(
        "[default]\n\"tc.egress\" = \"allow tcp 5432\"\n\"tc.ingress\" = \"allow tcp 5000-6000\"\n",
    )?;
    reloaded(&daemon)?;
    wait_state(&daemon, "plain", State::Enforced)?;
    go_on(&allowed, "it began before the default policy, which allows it")?;
    stand_still(&forbidden, &control, "it began before the default policy, which forbids it")?;
    drop((allowed, forbidden, control));
    scene.end(daemon)
}

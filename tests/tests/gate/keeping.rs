//! What stays when a daemon dies, starts again and repairs, also under traffic.

use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_plugin::gate::{Condition, Difference, Gate, Hook, Installed};
use ebpf_netns_tests::{command, isolated, privilege, traffic::Reply};
use nix::{
    sys::signal::{Signal, raise},
    unistd::Pid,
};

use crate::scene::{
    Bridge, Container, PORT, Scene, add, all_answered, all_lost, echo, index, nft, none,
};

const ONE: Container = Container(Bridge(1), 2);
const TWO: Container = Container(Bridge(1), 3);
const STRANGER: Container = Container(Bridge(1), 4);

/// Set for a copy of this program that a test starts: the port to admit.
const CHILD: &str = "EBPF_NETNS_TEST_GATE_CHILD";
/// How long traffic flows while the gate is worked on.
const LENGTH: Duration = Duration::from_secs(3);

#[test]
fn a_gate_outlives_who_made_it_and_is_adopted() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    if let Ok(port) = env::var(CHILD) {
        let gate = Gate::open()?;
        gate.install(&none())?;
        gate.admit(port.parse::<u32>()?.try_into()?)?;
        raise(Signal::SIGKILL)?;
        bail!("process {} is still here", Pid::this());
    }
    isolated("keeping::a_gate_outlives_who_made_it_and_is_adopted", || {
        let scene = Scene::new(&[ONE, TWO])?;
        let one = index(ONE)?;
        let status = child("keeping::a_gate_outlives_who_made_it_and_is_adopted", &one.to_string())
            .status()?;
        ensure!(!status.success(), "the one who made it was killed: {status}");
        all_answered(&scene.pings_with_host(ONE)?, "with nobody there, the admitted port")?;
        all_lost(&scene.pings_with_host(TWO)?, "with nobody there, the other port")?;
        let new = add(STRANGER)?;
        all_lost(&scene.pings_with_host(STRANGER)?, "with nobody there, a new port")?;
        let mut ports = none();
        ports.admitted.insert(new);
        assert_eq!(scene.gate.install(&ports)?, Installed::Kept);
        ports.admitted.insert(one);
        assert_eq!(scene.gate.ports()?, ports, "those found and those given");
        all_answered(&scene.pings(ONE, STRANGER)?, "between both")
    })
}

#[test]
fn one_capability_is_enough_and_without_it_the_error_names_it() -> Result<()> {
    const NAME: &str = "keeping::one_capability_is_enough_and_without_it_the_error_names_it";
    if !privilege::have_root()? {
        return Ok(());
    }
    if env::var_os(CHILD).is_some() {
        let gate = Gate::open()?;
        let port = 9.try_into()?;
        gate.install(&none())?;
        gate.admit(port)?;
        gate.exempt(port)?;
        gate.expel(port)?;
        assert_eq!(gate.inspect()?, Condition::Intact);
        assert!(gate.remove()?);
        return Ok(());
    }
    isolated(NAME, || {
        for (capabilities, expected) in [("-all,+net_admin", "1 passed"), ("-all", "CAP_NET_ADMIN")]
        {
            let child = child(NAME, "9");
            let mut bounded = Command::new("setpriv");
            bounded.arg(format!("--bounding-set={capabilities}")).arg("--");
            bounded.arg(child.get_program()).args(child.get_args()).env(CHILD, "9");
            let output = command::output_of(&mut bounded)?;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains(expected), "with {capabilities}: {said}");
        }
        Ok(())
    })
}

#[test]
fn installing_again_under_traffic_neither_loses_nor_leaks_a_frame() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("keeping::installing_again_under_traffic_neither_loses_nor_leaks_a_frame", || {
        let extra = "add rule bridge ebpf-netns prerouting counter";
        let repaired = Installed::Repaired(vec![Difference::Rules(Hook::Prerouting)]);
        let harm = under_traffic(|scene| {
            assert_eq!(scene.gate.install(&none())?, Installed::Kept);
            nft(extra)?;
            assert_eq!(scene.gate.install(&none())?, repaired);
            Ok(())
        })?;
        assert_eq!((harm.lost, harm.leaked), (0, 0), "{harm:?}");
        Ok(())
    })
}

#[test]
fn making_the_table_anew_under_traffic_leaves_no_moment_without_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("keeping::making_the_table_anew_under_traffic_leaves_no_moment_without_it", || {
        let harm = under_traffic(|scene| {
            nft("add chain bridge ebpf-netns mine")?;
            let repaired = Installed::Repaired(vec![Difference::More]);
            assert_eq!(scene.gate.install(&none())?, repaired);
            Ok(())
        })?;
        // A frame that is judged while the one table gives way to the other may see both; a moment
        // without a table would let hundreds through each time.
        assert!(harm.lost + harm.leaked <= harm.rounds, "{harm:?}");
        Ok(())
    })
}

/// What became of traffic.
#[derive(Debug)]
struct Harm {
    /// How often the gate was worked on.
    rounds: u64,
    /// Frames between admitted containers that did not arrive.
    lost: u64,
    /// Frames of a stranger that did.
    leaked: u64,
}

/// Works on the gate over and over while admitted containers talk, and a stranger floods the host.
fn under_traffic(work: impl Fn(&Scene) -> Result<()>) -> Result<Harm> {
    let scene = Scene::new(&[ONE, TWO, STRANGER])?;
    let (to_two, to_host) = (echo(TWO.v4()), SocketAddr::new(TWO.0.host(), PORT + 1));
    let _echo = scene.from(TWO).echo_server(PORT)?;
    let host = scene.host().echo_server(PORT + 1)?;
    assert_eq!(scene.from(STRANGER).udp(to_host)?, Reply::Echoed, "without a gate");
    let known = host.received()?;
    scene.gate.install(&none())?;
    scene.admit(ONE)?;
    scene.admit(TWO)?;
    let (volley, flood, rounds) = thread::scope(|scope| {
        let (one, stranger) = (scene.from(ONE), scene.from(STRANGER));
        let volley = scope.spawn(move || one.volley(to_two, LENGTH));
        let flood = scope.spawn(move || stranger.flood(to_host, LENGTH));
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < LENGTH {
            work(&scene)?;
            rounds += 1;
        }
        let panicked = "the thread of the traffic panicked";
        let volley = volley.join().ok().context(panicked)??;
        let flood = flood.join().ok().context(panicked)??;
        anyhow::Ok((volley, flood, rounds))
    })?;
    let told = format!("{rounds} rounds, {volley:?}, {flood:?}");
    ensure!(rounds > 10 && volley.sent > 1000 && flood.sent > 1000, "there was traffic: {told}");
    let leaked = u64::try_from(host.received()? - known)?;
    Ok(Harm { rounds, lost: volley.sent - volley.echoed, leaked })
}

/// This test once more, as a process of its own in this namespace.
fn child(test: &str, port: &str) -> Command {
    let program = env::current_exe().unwrap_or_default();
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, port);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

//! `xdp.mode`: which is taken, why, and what becomes of one that cannot be had.

use anyhow::Result;
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{Daemon, privilege};

use crate::scene::{ECHO, Reach, Scene, at_once, hooks, only_interface, reach, wait_state};

/// A network whose frames are too large for native XDP on a veth.
const JUMBO: &str = "jumbo";

/// A container on a network with a mode, and what is expected.
struct Case {
    network: &'static str,
    mode: Option<&'static str>,
    outcome: Outcome,
}

enum Outcome {
    /// Enforced in this mode, with a note for each of these words.
    Enforced { mode: &'static str, note: &'static [&'static str] },
    /// Closed, for a reason with these words.
    Closed(&'static [&'static str]),
}

#[test]
fn t21_a_mode_is_used_as_asked_for_or_refused() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let mtu = ["--ipv6", "--subnet", "fd00:9000::/64", "-o", "com.docker.network.driver.mtu=9000"];
    scene.network(JUMBO, &mtu)?;
    let daemon = scene.daemon()?;
    let auto = Outcome::Enforced { mode: "generic", note: &["auto", "generic", "native"] };
    let generic = Outcome::Enforced { mode: "generic", note: &[] };
    let native = Outcome::Enforced { mode: "native", note: &[] };
    let offload = Outcome::Closed(&["offloaded XDP", "veth has no hardware", "auto"]);
    let jumbo_auto = Outcome::Enforced { mode: "generic", note: &["auto"] };
    let jumbo_generic = Outcome::Enforced { mode: "generic", note: &[] };
    let too_large = Outcome::Closed(&["native XDP", "MTU", "9000", "driver.mtu", "generic"]);
    let cases = [
        Case { network: "lan", mode: None, outcome: auto },
        Case { network: "lan", mode: Some("generic"), outcome: generic },
        Case { network: "lan", mode: Some("native"), outcome: native },
        Case { network: "lan", mode: Some("offload"), outcome: offload },
        Case { network: JUMBO, mode: Some("auto"), outcome: jumbo_auto },
        Case { network: JUMBO, mode: Some("generic"), outcome: jumbo_generic },
        Case { network: JUMBO, mode: Some("native"), outcome: too_large },
    ];
    at_once(cases.iter().zip(ECHO..).map(|(case, port)| {
        let (scene, daemon) = (&scene, &daemon);
        move || check(scene, daemon, case, port)
    }))?;
    Ok(())
}

/// `echo` is a port of its own, as the server's log is named after it.
fn check(scene: &Scene, daemon: &Daemon<'_>, case: &Case, echo: u16) -> Result<()> {
    let Case { network, mode, outcome } = case;
    let name = format!("{network}-{}", mode.unwrap_or("unset"));
    let labels: Vec<_> = [("xdp.policy", "drop-tcp")]
        .into_iter()
        .chain(mode.map(|mode| ("xdp.mode", mode)))
        .collect();
    scene.run_with(&name, &labels, &["--network", network])?;
    let to = scene.engine().addresses_on(&name, network)?.both()?;
    let (host, inside) = (scene.engine().from_host(), scene.engine().from_container(&name)?);
    match outcome {
        Outcome::Enforced { mode, note } => {
            let status = wait_state(daemon, &name, State::Enforced)?;
            let hooks = hooks(&status)?;
            let found: Vec<_> = hooks.values().map(|hook| hook.mode.as_deref()).collect();
            assert_eq!(found, [Some(*mode)], "{name}: XDP in the mode: {status:?}");
            let notes = only_interface(&status)?.notes.join("; ");
            assert_eq!(notes.is_empty(), note.is_empty(), "{name}: a note says why: {notes}");
            for word in *note {
                assert!(notes.contains(word), "{name}: the note {notes:?} has {word:?}");
            }
            scene.wait_listening(&name)?;
            let _echo = inside.echo_server(echo)?;
            let expected = Reach { tcp: false, ..Reach::ALL };
            assert_eq!(reach(&host, &to, echo)?, expected, "{name}: drop-tcp");
            for address in to {
                let frame = if *network == JUMBO { 8000 } else { 1400 };
                let ping = host.ping_of(frame, address, 1)?;
                assert!(ping.is_complete(), "{name}: a full frame passes to {address}");
            }
        }
        Outcome::Closed(words) => {
            let status = wait_state(daemon, &name, State::Closed)?;
            let reason = status.reason.unwrap_or_default();
            for word in *words {
                assert!(reason.contains(word), "{name}: the reason {reason:?} has {word:?}");
            }
            scene.wait_listening(&name)?;
            let _echo = inside.echo_server(echo)?;
            assert_eq!(reach(&host, &to, echo)?, Reach::NOTHING, "{name}: closed");
        }
    }
    Ok(())
}

//! What is closed and what passes.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::gate::{Dropped, Installed};
use ebpf_netns_tests::{isolated, privilege, traffic::Reply};

use crate::scene::{
    Bridge, Container, PORT, Scene, add, all_answered, all_lost, echo, index, ip, none, received,
    take_any_interface,
};

const ONE: Container = Container(Bridge(1), 2);
const TWO: Container = Container(Bridge(1), 3);
const OTHER: Container = Container(Bridge(2), 2);
const ANOTHER: Container = Container(Bridge(2), 3);

#[test]
fn an_unknown_port_is_closed_both_ways_for_ipv4_ipv6_and_arp() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::an_unknown_port_is_closed_both_ways_for_ipv4_ipv6_and_arp", || {
        let scene = Scene::new(&[ONE, TWO])?;
        all_answered(&scene.pings_with_host(ONE)?, "without a gate")?;
        assert_eq!(scene.gate.install(&none())?, Installed::Made);
        let before = received(ONE)?;
        all_lost(&scene.pings_with_host(ONE)?, "an unknown port")?;
        all_lost(&scene.pings(ONE, TWO)?, "between unknown ports")?;
        let neighbours = ip(&format!("neighbour show dev {}", ONE.0.name()))?;
        ensure!(!neighbours.contains("lladdr"), "ARP and ND do not pass either: {neighbours}");
        assert_eq!(received(ONE)?, before, "not one frame reached the container");
        let Some(Dropped { from, to }) = scene.gate.dropped()? else { anyhow::bail!("no gate") };
        assert!(from.packets > 0 && from.bytes > from.packets, "counted from it: {from:?}");
        assert!(to.packets > 0 && to.bytes > to.packets, "counted to it: {to:?}");
        Ok(())
    })
}

#[test]
fn an_admitted_port_passes_and_an_expelled_one_is_closed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::an_admitted_port_passes_and_an_expelled_one_is_closed", || {
        let scene = Scene::new(&[ONE, TWO])?;
        scene.gate.install(&none())?;
        scene.admit(ONE)?;
        scene.admit(ONE)?;
        all_answered(&scene.pings_with_host(ONE)?, "an admitted port")?;
        all_lost(&scene.pings(ONE, TWO)?, "from an admitted port to an unknown one")?;
        all_lost(&scene.pings(TWO, ONE)?, "from an unknown port to an admitted one")?;
        scene.admit(TWO)?;
        all_answered(&scene.pings(ONE, TWO)?, "between admitted ports")?;
        let one = index(ONE)?;
        scene.gate.expel(one)?;
        scene.gate.expel(one)?;
        all_lost(&scene.pings_with_host(ONE)?, "an expelled port")?;
        all_lost(&scene.pings(TWO, ONE)?, "to an expelled port")?;
        all_answered(&scene.pings_with_host(TWO)?, "the other port")?;
        Ok(())
    })
}

#[test]
fn a_port_stays_in_the_gate_when_its_link_is_gone_until_it_is_expelled() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::a_port_stays_in_the_gate_when_its_link_is_gone_until_it_is_expelled", || {
        let scene = Scene::new(&[ONE])?;
        scene.gate.install(&none())?;
        let one = index(ONE)?;
        scene.gate.admit(one)?;
        ip(&format!("link delete {}", ONE.port()))?;
        assert!(scene.gate.ports()?.admitted.contains(&one), "the kernel keeps it");
        scene.gate.expel(one)?;
        assert_eq!(scene.gate.ports()?, none());
        Ok(())
    })
}

#[test]
fn a_frame_to_a_reserved_address_does_not_slip_past() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::a_frame_to_a_reserved_address_does_not_slip_past", || {
        let scene = Scene::new(&[ONE])?;
        take_any_interface(ONE)?;
        let server = scene.host().echo_server(PORT)?;
        let (host, from) = (ONE.0.host(), scene.from(ONE));
        let reserved = "lladdr 01:80:c2:00:00:03 nud permanent dev eth0";
        ip(&format!("-n {} neighbour replace {host} {reserved}", ONE.netns()))?;
        assert_eq!(from.udp(echo(host))?, Reply::Echoed, "the host takes UDP in such a frame");
        scene.gate.install(&none())?;
        assert_eq!(from.udp(echo(host))?, Reply::TimedOut);
        assert_eq!(server.received()?, 1, "the second one did not reach the host");
        Ok(())
    })
}

#[test]
fn a_bridge_that_is_not_governed_keeps_its_ports() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::a_bridge_that_is_not_governed_keeps_its_ports", || {
        let scene = Scene::new(&[ONE, OTHER])?;
        let mut ports = none();
        ports.foreign.insert(index(OTHER)?);
        scene.gate.install(&ports)?;
        assert_eq!(scene.gate.ports()?, ports);
        all_answered(&scene.pings_with_host(OTHER)?, "a port of a foreign bridge")?;
        all_lost(&scene.pings_with_host(ONE)?, "a governed port")?;
        let new = add(ANOTHER)?;
        all_lost(&scene.pings_with_host(ANOTHER)?, "a new port that nobody told of")?;
        scene.gate.exempt(new)?;
        all_answered(&scene.pings(OTHER, ANOTHER)?, "both ports of a foreign bridge")?;
        scene.gate.expel(new)?;
        all_lost(&scene.pings(OTHER, ANOTHER)?, "expelling takes it from that set too")?;
        Ok(())
    })
}

#[test]
fn a_port_of_another_kind_passes() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("closing::a_port_of_another_kind_passes", || {
        let scene = Scene::new(&[ONE])?;
        scene.gate.install(&none())?;
        // The same container, by way of a macvlan on top of its veth.
        let port = ONE.port();
        ip(&format!("link set {port} nomaster"))?;
        ip(&format!("link add link {port} name mac0 type macvlan mode passthru"))?;
        ip(&format!("link set mac0 master {} up", ONE.0.name()))?;
        all_answered(&scene.pings_with_host(ONE)?, "a macvlan is no veth")
    })
}

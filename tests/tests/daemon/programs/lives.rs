//! A program outlives its daemon, and takes the place of another without a gap.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Programs,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};
use serde_json::Value;

use super::{counted, own, with_programs};
use crate::{
    config::reloaded,
    config_swap::{arrived, flood},
    scene::{Scene, check_ping, wait_state},
};

/// Swaps of one file for another.
const SWAPS: usize = 20;
/// The kernel's numbers of ICMP and UDP.
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// What is not to pass: what the flood is sent to.
const FORBIDDEN: &str = "-DFORBIDDEN_PORT=9";

#[test]
fn a_program_and_its_maps_outlive_a_daemon_that_is_killed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let programs = Programs::new(machine)?;
    programs.example("xdp_count.c", "count.o", &["-g", FORBIDDEN])?;
    programs.example("tc_quota.c", "quota.o", &[])?;
    let labels = [("xdp.program", "count.o#count_and_drop"), ("tc.program", "quota.o#count")];
    for tc in ["--tc=tcx", "--tc=clsact"] {
        let mut daemon = with_programs(&scene, &programs, &[tc])?;
        scene.run("web", &labels)?;
        wait_state(&daemon, "web", State::Enforced)?;
        let first = own(&daemon, "web")?;
        assert_eq!(first.len(), 3, "XDP, and TC in both directions: {first:?}");
        let maps = first.iter().find(|own| own.hook == "xdp").and_then(|own| own.maps.clone());
        let maps = maps.context("maps of XDP")?;
        let before = arrived(machine)?;
        let _flood = flood(&scene, "web")?;
        let count = || counted(machine, &maps, "packets", UDP);
        wait_for(DEADLINE, "the flood", || {
            ensure!(count()? > 1000, "it has not begun");
            Ok(())
        })?;
        for round in 0..3 {
            let seen = count()?;
            daemon.kill()?;
            let alone = count()?;
            wait_for(DEADLINE, "frames without a daemon", || {
                ensure!(count()? > alone, "none is counted");
                Ok(())
            })?;
            daemon = with_programs(&scene, &programs, &[tc])?;
            wait_state(&daemon, "web", State::Enforced)?;
            assert!(count()? > seen, "{tc}, {round}: the map goes on");
            assert_eq!(own(&daemon, "web")?, first, "{tc}, {round}: the same programs");
            assert_eq!(arrived(machine)? - before, 0, "{tc}, {round}: frames that passed");
        }
        scene.engine().docker(["rm", "--force", "web"])?;
        scene.end(daemon)?;
    }
    Ok(())
}

#[test]
fn pins_that_others_remove_are_made_again_and_nothing_of_it_is_foreign() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let programs = Programs::new(machine)?;
    programs.example("xdp_count.c", "count.o", &["-g", FORBIDDEN])?;
    programs.example("tc_quota.c", "quota.o", &[])?;
    let labels = [("xdp.program", "count.o#count_and_drop"), ("tc.program", "quota.o#count")];
    let mut daemon = with_programs(&scene, &programs, &[])?;
    scene.run("web", &labels)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let first = own(&daemon, "web")?;
    let of_xdp = first.iter().find(|own| own.hook == "xdp").and_then(|own| own.maps.clone());
    let maps = of_xdp.context("maps of XDP")?;
    check_ping(&scene.engine().from_host(), &scene.addresses("web")?, true, "what is allowed")?;
    let seen = counted(machine, &maps, "packets", ICMP)?;
    assert!(seen > 0, "the answer is counted");

    let report = doctor(machine.command(binaries::path(Binary::Plugin)?))?;
    let findings = report["findings"].as_array().context("a list of findings")?;
    let levels = findings.iter().filter_map(|finding| {
        finding["check"].as_str()?.starts_with("foreign-").then_some(&finding["level"])
    });
    assert_eq!(levels.collect::<Vec<_>>(), ["ok"], "nothing is foreign: {report}");

    let containers = "/sys/fs/bpf/ebpf-netns/containers";
    machine.run("rm", ["-r", containers])?;
    wait_for(2 * DEADLINE, "the pins to be made again", || {
        for own in &first {
            let maps = own.maps.as_ref().context("it has maps")?;
            machine.run("ls", [maps])?;
        }
        ensure!(counted(machine, &maps, "packets", ICMP)? >= seen, "the map is another");
        Ok(())
    })?;
    daemon.kill()?;
    daemon = with_programs(&scene, &programs, &[])?;
    wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(own(&daemon, "web")?, first, "the same programs are taken over");
    assert!(counted(machine, &maps, "packets", ICMP)? >= seen, "with their maps");
    scene.end(daemon)
}

/// What `doctor` says, as JSON.
fn doctor(mut plugin: Command) -> Result<Value> {
    let output = output_of(plugin.args(["doctor", "--format=json"]))?;
    serde_json::from_slice(&output.stdout).context("doctor writes JSON")
}

#[test]
fn no_frame_passes_while_a_program_takes_the_place_of_another() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let programs = Programs::new(machine)?;
    // Other files, which do the same.
    let put = |debug: &str| programs.example("xdp_count.c", "count.o", &[debug, FORBIDDEN]);
    put("-gdwarf-5")?;
    let daemon = with_programs(&scene, &programs, &[])?;
    scene.run("web", &[("xdp.program", "count.o#count_and_drop")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = arrived(machine)?;
    let _flood = flood(&scene, "web")?;
    let id = || -> Result<u32> { Ok(own(&daemon, "web")?.first().context("a program")?.id) };
    for round in 0..SWAPS {
        let (last, even) = (id()?, round.is_multiple_of(2));
        put(if even { "-gdwarf-4" } else { "-gdwarf-5" })?;
        reloaded(&daemon)?;
        wait_for(DEADLINE, "the other program", || {
            ensure!(id()? != last, "it is still {last}");
            Ok(())
        })?;
        wait_state(&daemon, "web", State::Enforced)?;
    }
    assert_eq!(arrived(machine)? - before, 0, "frames that passed");
    // The same file is the same program.
    let last = id()?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(id()?, last, "nothing is loaded again for nothing");

    // What would have been seen.
    programs.example("xdp_count.c", "count.o", &["-g"])?;
    reloaded(&daemon)?;
    wait_for(DEADLINE, "frames that pass", || {
        ensure!(arrived(machine)? > before, "none came");
        Ok(())
    })?;
    scene.end(daemon)
}

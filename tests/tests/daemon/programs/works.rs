//! What programs of the operator's count and drop, and where their maps are.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, Programs, privilege, wait_for, wait_until};

use super::{counted, gateway, own, with_programs};
use crate::scene::{
    ECHO, Scene, check_no_ping, check_ping, container, http_works, only_interface, udp_works,
    wait_state,
};

/// The kernel's numbers of protocols.
const ICMP: u8 = 1;
const UDP: u8 = 17;

#[test]
fn programs_in_c_count_and_drop_what_their_labels_name_them_for() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let programs = Programs::new(scene.machine())?;
    programs.example("xdp_count.c", "xdp_count.o", &["-g"])?;
    // Without BTF.
    programs.example("tc_quota.c", "tc_quota.o", &[])?;
    for tc in ["--tc=tcx", "--tc=clsact"] {
        let daemon = with_programs(&scene, &programs, &[tc])?;
        let labels = [
            ("xdp.program", "xdp_count.o#count_and_drop"),
            ("tc.program", "tc_quota.o#quota"),
            ("tc.direction", "egress"),
        ];
        scene.run("web", &labels)?;
        wait_state(&daemon, "web", State::Enforced)?;
        let (inside, host) = (scene.engine().from_container("web")?, gateway(&scene, "web")?);
        let _forbidden = scene.engine().from_host().echo_server(ECHO)?;
        let _allowed = scene.engine().from_host().echo_server(ECHO + 1)?;
        assert!(!udp_works(&inside, SocketAddr::from((host, ECHO)))?, "{tc}: XDP drops it");
        assert!(udp_works(&inside, SocketAddr::from((host, ECHO + 1)))?, "{tc}: and that not");
        let pings = inside.ping(host, 5)?;
        assert_eq!((pings.sent, pings.answered), (5, 3), "{tc}: TC lets three through");

        let own = own(&daemon, "web")?;
        let [xdp, filter] = own.as_slice() else { panic!("{tc}: {own:?}") };
        assert_eq!((xdp.hook.as_str(), xdp.direction.as_str()), ("xdp", "egress"));
        assert_eq!(xdp.name.as_deref(), Some("xdp_count.o#count_and_drop"));
        let mechanism = tc.trim_start_matches("--tc=");
        assert_eq!((filter.hook.as_str(), filter.direction.as_str()), (mechanism, "egress"));
        let maps = xdp.maps.as_deref().context("maps of XDP")?;
        let machine = scene.machine();
        assert!(counted(machine, maps, "packets", ICMP)? >= 5, "{tc}: all pings came by XDP");
        assert!(counted(machine, maps, "packets", UDP)? >= 2, "{tc}: and what it drops");
        let quota = filter.maps.as_deref().context("maps of TC")?;
        assert_eq!(counted(machine, quota, "seen", 0)?, 3, "{tc}: what TC let through");
        let id = scene.engine().inspect("web", "{{.Id}}")?;
        let documented = format!("/sys/fs/bpf/ebpf-netns/containers/{id}/xdp_count/maps");
        assert_eq!(maps.display().to_string(), documented, "{tc}");

        scene.engine().docker(["rm", "--force", "web"])?;
        let gone = machine.outside(format!("/sys/fs/bpf/ebpf-netns/containers/{id}"));
        wait_until(DEADLINE, "the maps to go with the container", || !gone.exists())?;
        scene.end(daemon)?;
    }
    Ok(())
}

#[test]
fn an_object_of_aya_is_a_program_too_and_a_policy_comes_first() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let programs = Programs::new(scene.machine())?;
    programs.of_aya("drop-tcp.o", "no-tcp.bpf.o")?;
    let all = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC(\"tcx/egress\") \
        int all(struct __sk_buff *skb) { return 0; }\nchar _license[] SEC(\"license\") = \"GPL\";";
    programs.text(all, "all.o", &["-g"])?;
    let daemon = with_programs(&scene, &programs, &[])?;
    let labels = [("xdp.program", "no-tcp.bpf.o"), ("xdp.policy", "drop-udp")];
    scene.run("web", &labels)?;
    wait_state(&daemon, "web", State::Enforced)?;
    scene.wait_listening("web")?;
    let _echo = scene.engine().from_container("web")?.echo_server(ECHO)?;
    let reach = scene.reach_from_host("web")?;
    assert!(!reach.tcp && !reach.udp && reach.icmp, "the program and the policy: {reach:?}");
    let notes = only_interface(&container(&daemon, "web")?)?.notes.join("; ");
    assert!(notes.contains("TC applies xdp.policy"), "{notes}");
    let place = "containers/*/no-tcp+bpf/maps";
    let found =
        scene.machine().run("sh", ["-c", &format!("ls -d /sys/fs/bpf/ebpf-netns/{place}")])?;
    assert!(found.ends_with("/no-tcp+bpf/maps"), "{found}");

    scene.end(daemon)?;

    // TC_ACT_OK ends the chain: ours has been asked by then.
    scene.run("all", &[("tc.program", "all.o"), ("tc.policy", "drop-icmp")])?;
    for tc in ["--tc=tcx", "--tc=clsact"] {
        let daemon = with_programs(&scene, &programs, &[tc])?;
        wait_state(&daemon, "all", State::Enforced)?;
        check_no_ping(&scene, "all", &format!("{tc}: the policy is asked first"))?;
        scene.wait_listening("all")?;
        let [v4, _] = scene.addresses("all")?;
        assert!(http_works(&scene.engine().from_host(), v4)?, "{tc}: the program passes it");
        scene.end(daemon)?;
    }
    Ok(())
}

#[test]
fn a_program_that_is_taken_off_is_put_back_and_all_is_closed_meanwhile() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let programs = Programs::new(scene.machine())?;
    let none = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC(\"tc\") int none(struct \
        __sk_buff *skb) { return 2; }\nchar _license[] SEC(\"license\") = \"GPL\";";
    programs.text(none, "none.o", &[])?;
    let daemon = with_programs(&scene, &programs, &["--tc=clsact"])?;
    scene.run("web", &[("tc.program", "none.o"), ("tc.direction", "ingress")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_no_ping(&scene, "web", "the program drops all")?;
    let host = crate::scene::host_veth(&scene, "web")?.0;
    let [before] = own(&daemon, "web")?.try_into().ok().context("one program")?;
    let delete = ["filter", "del", "dev", &host, "egress", "prio", "11"];
    scene.machine().run("tc", delete)?;
    wait_for(DEADLINE, "the filter to be put back", || {
        let filters = scene.machine().run("tc", ["filter", "show", "dev", &host, "egress"])?;
        ensure!(filters.contains("ebpf_netns_own"), "{filters}");
        let web = container(&daemon, "web")?;
        ensure!(web.state == State::Enforced, "{web:?}");
        Ok(())
    })?;
    let [after] = own(&daemon, "web")?.try_into().ok().context("one program")?;
    assert_eq!(before.id, after.id, "the same program");
    check_no_ping(&scene, "web", "it drops all again")?;
    assert!(crate::scene::status(&daemon)?.counts.repairs >= 1, "it is counted");
    scene.end(daemon)?;
    check_ping(&scene.engine().from_host(), &scene.addresses("web")?, true, "all is taken off")
}

//! What cannot be had as a program closes its container, and says why.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, Programs, privilege, wait_for};

use super::with_programs;
use crate::{
    config::reloaded,
    scene::{Label, Scene, check_no_ping, check_ping, container, wait_state},
};

/// Reads a packet without looking whether it is as long.
const CARELESS: &str = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC(\"xdp\") \
    int careless(struct xdp_md *ctx) { return *((char *)(long)ctx->data + 14) ? 1 : 2; }\n\
    char _license[] SEC(\"license\") = \"GPL\";";

#[test]
fn what_cannot_be_loaded_closes_its_container_and_says_why() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let programs = Programs::new(scene.machine())?;
    programs.example("xdp_count.c", "count.o", &["-g"])?;
    programs.text(CARELESS, "careless.o", &["-g"])?;
    programs.put("text.o", b"int main;")?;
    let whole = fs::read(programs.directory().join("count.o"))?;
    programs.put("half.o", whole.get(..whole.len() / 2).unwrap_or_default())?;
    programs.put("theirs.o", &whole)?;
    fs::set_permissions(programs.directory().join("theirs.o"), Permissions::from_mode(0o666))?;
    symlink("/etc/passwd", programs.directory().join("link.o"))?;
    let daemon = with_programs(&scene, &programs, &[])?;
    let cases: [(&str, Label<'_>, &[&str]); 11] = [
        ("missing", ("xdp.program", "none.o"), &["none.o: is not there: there are", "count.o"]),
        ("type", ("tc.program", "count.o#count_only"), &["an XDP program: use xdp.program"]),
        ("function", ("xdp.program", "count.o#drop"), &["no function drop", "count_and_drop"]),
        ("several", ("xdp.program", "count.o"), &["several", "count.o#count_only"]),
        (
            "verifier",
            ("xdp.program", "careless.o"),
            &["the verifier says", "invalid access to packet"],
        ),
        ("text", ("xdp.program", "text.o"), &["text.o: is no ELF object"]),
        ("half", ("xdp.program", "half.o#count_only"), &["half.o: is"]),
        ("theirs", ("xdp.program", "theirs.o"), &["may be written by others than root"]),
        ("link", ("xdp.program", "link.o"), &["is a symbolic link"]),
        ("escape", ("xdp.program", "../programs/count.o"), &["and no path"]),
        ("suffix", ("tc.program", "count.c"), &["ends in .o"]),
    ];
    for (name, label, _) in cases {
        scene.run(name, &[label])?;
    }
    for (name, label, words) in cases {
        let closed = wait_state(&daemon, name, State::Closed)?;
        let reason = closed.reason.or_else(|| closed.interfaces.first()?.reason.clone());
        let reason = reason.unwrap_or_default();
        for word in words.iter().chain(&[label.0]) {
            assert!(reason.contains(word), "{name}: {reason:?} lacks {word:?}");
        }
        check_no_ping(&scene, name, "it is closed")?;
    }
    let log = daemon.log()?;
    assert!(log.contains("invalid access to packet"), "the log has the verifier's last lines");
    scene.end(daemon)
}

#[test]
fn a_directory_that_others_can_write_to_closes_and_opens_again_when_it_is_mended() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let programs = Programs::new(scene.machine())?;
    programs.example("xdp_count.c", "count.o", &["-g"])?;
    let daemon = with_programs(&scene, &programs, &[])?;
    scene.run("web", &[("xdp.program", "count.o#count_only")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_ping(&scene.engine().from_host(), &scene.addresses("web")?, true, "the program counts")?;
    programs.set_mode(0o777)?;
    reloaded(&daemon)?;
    wait_for(DEADLINE, "it to be closed", || {
        let web = container(&daemon, "web")?;
        let reason = web.interfaces.first().and_then(|interface| interface.reason.clone());
        ensure!(web.state == State::Closed, "{web:?}");
        ensure!(reason.is_some_and(|why| why.contains("may be written by others")), "{web:?}");
        Ok(())
    })?;
    check_no_ping(&scene, "web", "others could have changed it")?;
    programs.set_mode(0o755)?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_ping(&scene.engine().from_host(), &scene.addresses("web")?, true, "it is mended")?;
    scene.end(daemon)
}

//! Attaching and detaching, step by step, on veths without Docker: what the kernel shows for each
//! way, what it refuses, and that nothing stays and nothing foreign is touched.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns::{Ifindex, Link, Rtnl, XdpMode, rtnl::Direction};
use ebpf_netns_plugin::{
    kernel::{DEFAULT_DIRECTORY, Damage, Kernel, Pins, Programs, Refusal, attached, clean},
    plan::{Attachment, Hook, Standing, Step, Way},
};
use ebpf_netns_tests::{DEADLINE, command, isolated, privilege, wait_until};
use plugin_common::abi::{EGRESS_PROGRAM, INGRESS_PROGRAM, InterfacePolicy, XDP_PROGRAM};
use serde_json::Value;

/// The one that every kernel takes.
const PASS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/pass-direct.o");

/// A veth in a machine of its own, and the programs loaded.
struct Stage {
    rtnl: Rtnl,
    kernel: Kernel,
    veth: Ifindex,
}

impl Stage {
    fn new() -> Result<Self> {
        ip("link add host0 type veth peer name inner0")?;
        ip("link set host0 up")?;
        let rtnl = Rtnl::open()?;
        let veth = rtnl.links()?.into_iter().find(|link| link.name == "host0");
        let veth = veth.context("host0 is there")?.index;
        Ok(Self { rtnl, kernel: load()?, veth })
    }

    /// Ends the daemon as a kill does, and starts another.
    fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.kernel = load()?;
        Ok(())
    }

    /// Ends the daemon as a kill does: another takes its place in a directory of its own.
    fn stop(&mut self) -> Result<()> {
        let elsewhere = Pins::open(Path::new("/sys/fs/bpf/elsewhere"))?;
        let (kernel, _events) = Kernel::new(Programs::load(&elsewhere)?, elsewhere)?;
        self.kernel = kernel;
        Ok(())
    }

    fn link(&self) -> Result<Link> {
        self.rtnl.link(self.veth)?.context("the veth is there")
    }

    fn attach(&mut self, hook: Hook, attachment: Attachment) -> Result<Result<(), Refusal>> {
        let link = self.link()?;
        let ifindex = self.veth;
        let policy = InterfacePolicy::default();
        self.kernel.apply(Step::SetPolicy { ifindex, policy }, &link)?;
        Ok(self.kernel.apply(Step::Attach { ifindex, hook, attachment }, &link))
    }

    fn detach(&mut self, hook: Hook, attachment: Attachment) -> Result<()> {
        let link = self.link()?;
        Ok(self.kernel.apply(Step::Detach { ifindex: self.veth, hook, attachment }, &link)?)
    }

    /// Waits until nothing is shown: older kernels detach a pinned link a moment after its pin.
    fn wait_bare(&self) -> Result<()> {
        wait_until(DEADLINE, "nothing to be attached", || {
            self.shown().is_ok_and(|shown| shown.is_empty())
        })
        .with_context(|| format!("{:?} stays", self.shown()))
    }

    /// Hook and program name of everything that the kernel shows on the veth.
    fn shown(&self) -> Result<Vec<(String, String)>> {
        let link = self.link()?;
        let mut shown: Vec<_> = attached(&link)
            .into_iter()
            .map(|program| (program.hook.to_owned(), program.program.name))
            .collect();
        for (name, direction) in
            [("clsact-ingress", Direction::Ingress), ("clsact-egress", Direction::Egress)]
        {
            for filter in self.rtnl.bpf_filters(self.veth, direction)? {
                shown.push((name.to_owned(), filter.name));
            }
        }
        Ok(shown)
    }
}

fn load() -> Result<Kernel> {
    let pins = Pins::open(Path::new(DEFAULT_DIRECTORY))?;
    let (kernel, _events) = Kernel::new(Programs::load(&pins)?, pins)?;
    Ok(kernel)
}

/// The ids of the programs that the kernel shows on the veth.
fn program_ids(stage: &Stage) -> Result<BTreeSet<u32>> {
    let link = stage.link()?;
    let mut ids: BTreeSet<u32> = attached(&link).iter().map(|one| one.program.id).collect();
    for direction in [Direction::Ingress, Direction::Egress] {
        ids.extend(stage.rtnl.bpf_filters(stage.veth, direction)?.iter().map(|one| one.program_id));
    }
    Ok(ids)
}

fn qdiscs() -> Result<String> {
    tc("qdisc show dev host0")
}

fn ip(line: &str) -> Result<String> {
    command::stdout_of(Command::new("ip").args(line.split(' ')))
}

fn tc(line: &str) -> Result<String> {
    command::stdout_of(Command::new("tc").args(line.split(' ')))
}

/// Datagrams that the host sends into the veth, one after the other.
struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Flood {
    fn start() -> Result<Self> {
        for interface in ["host0", "inner0"] {
            let key = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            fs::write(&key, "1").context(key)?;
        }
        ip("link set inner0 up")?;
        ip("address add 10.0.0.1/24 dev host0")?;
        ip("neighbour add 10.0.0.2 lladdr 02:00:00:00:00:02 dev host0")?;
        wait_until(DEADLINE, "the veth to have a carrier", || {
            ip("link show host0").is_ok_and(|shown| shown.contains("LOWER_UP"))
        })?;
        let socket = UdpSocket::bind("10.0.0.1:0")?;
        let before = received()?;
        let (sent, stop) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                socket.send_to(b"frame", "10.0.0.2:9")?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { sent, stop, thread })
    }

    fn wait_for_more(&self, count: u64) -> Result<()> {
        let enough = self.sent.load(Ordering::Relaxed) + count;
        wait_until(DEADLINE, "more frames", || self.sent.load(Ordering::Relaxed) >= enough)
    }

    /// How many frames were sent, and how many arrived, with those before.
    fn end(self) -> Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow!("the flood panicked"))??;
        let sent = self.sent.load(Ordering::Relaxed);
        // The other processor may still be at it.
        drop(wait_until(DEADLINE, "all frames", || received().is_ok_and(|count| count >= sent)));
        Ok((sent, received()?))
    }
}

/// How many frames the container's end has received.
fn received() -> Result<u64> {
    let shown: Value = serde_json::from_str(&ip("-json -statistics link show inner0")?)?;
    let count = shown.pointer("/0/stats64/rx/packets").and_then(Value::as_u64);
    count.with_context(|| format!("a count in {shown}"))
}

/// Runs a test's body with a stage of its own.
fn on_stage(test: &str, body: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated(test, || body(&mut Stage::new()?))
}

/// TCX came with Linux 6.6.
fn kernel_has_tcx() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    let version = (numbers.next().context("major")?, numbers.next().context("minor")?);
    Ok(version >= (6, 6))
}

#[test]
fn every_way_attaches_shows_and_detaches() -> Result<()> {
    on_stage("every_way_attaches_shows_and_detaches", |stage| {
        for (hook, attachment, shown, program) in [
            (Hook::Xdp, Attachment::XdpGeneric, "xdp", XDP_PROGRAM),
            (Hook::Xdp, Attachment::XdpNative, "xdp", XDP_PROGRAM),
            (Hook::Egress, Attachment::Tcx, "tcx-ingress", EGRESS_PROGRAM),
            (Hook::Ingress, Attachment::Tcx, "tcx-egress", INGRESS_PROGRAM),
            (Hook::Egress, Attachment::Clsact, "clsact-ingress", EGRESS_PROGRAM),
            (Hook::Ingress, Attachment::Clsact, "clsact-egress", INGRESS_PROGRAM),
        ] {
            let done = stage.attach(hook, attachment)?;
            if attachment == Attachment::Tcx && !kernel_has_tcx()? {
                let refusal = done.err().context("TCX is refused")?.to_string();
                ensure!(refusal.contains("6.6") && refusal.contains("clsact"), "{refusal}");
                println!("TCX: refused: {refusal}");
                continue;
            }
            done?;
            if attachment == Attachment::Tcx {
                println!("TCX: attached");
            }
            let expected = vec![(shown.to_owned(), program.to_owned())];
            ensure!(stage.shown()? == expected, "{attachment:?} shows {:?}", stage.shown()?);
            let mode = stage.link()?.xdp.map(|xdp| xdp.mode);
            let expected = match attachment {
                Attachment::XdpGeneric => Some(XdpMode::Generic),
                Attachment::XdpNative => Some(XdpMode::Native),
                _ => None,
            };
            ensure!(mode == expected, "{attachment:?} is shown as {mode:?}");
            stage.detach(hook, attachment)?;
            stage.wait_bare()?;
        }
        Ok(())
    })
}

/// The kernel drops what is being sent through an interface while a qdisc is added to it or removed,
/// and so none is for as long as the interface is there.
#[test]
fn nothing_that_is_sent_to_a_container_is_lost_while_filters_come_and_go() -> Result<()> {
    on_stage("nothing_that_is_sent_to_a_container_is_lost_while_filters_come_and_go", |stage| {
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        let flood = Flood::start()?;
        stage.detach(Hook::Egress, Attachment::Clsact)?;
        for _ in 0..50 {
            stage.kernel.apply(Step::Guard { ifindex: stage.veth }, &stage.link()?)?;
            stage.detach(Hook::Egress, Attachment::Clsact)?;
            stage.detach(Hook::Ingress, Attachment::Clsact)?;
            flood.wait_for_more(100)?;
        }
        let (sent, received) = flood.end()?;
        ensure!(sent == received, "{received} of {sent} frames arrived");
        ensure!(qdiscs()?.contains("clsact"), "the qdisc stays: {}", qdiscs()?);
        Ok(())
    })
}

/// Dropping the kernel is what a killed daemon amounts to: descriptors are closed, and no more.
#[test]
fn what_is_attached_outlives_the_daemon_and_the_next_one_takes_it_over() -> Result<()> {
    on_stage("what_is_attached_outlives_the_daemon_and_the_next_one_takes_it_over", |stage| {
        let tc = if kernel_has_tcx()? { Attachment::Tcx } else { Attachment::Clsact };
        let ways = [
            (Hook::Xdp, Attachment::XdpGeneric),
            (Hook::Egress, tc),
            (Hook::Ingress, Attachment::Clsact),
        ];
        for (hook, attachment) in ways {
            stage.attach(hook, attachment)??;
        }
        let (shown, ids) = (stage.shown()?, program_ids(stage)?);
        stage.restart()?;
        ensure!(stage.shown()? == shown, "{:?} instead of {shown:?}", stage.shown()?);
        ensure!(program_ids(stage)? == ids, "the programs are those of the dead daemon");
        let link = stage.link()?;
        let found = stage.kernel.inherit(&[&link])?;
        let standing = found.get(&stage.veth).context("the veth is found")?;
        let ways: BTreeSet<Way> = ways.into_iter().collect();
        ensure!(standing.ways == ways && standing.inherited == ways, "{standing:?}");
        ensure!(standing.policy == Some(InterfacePolicy::default()), "{standing:?}");
        for (hook, attachment) in &ways {
            stage.attach(*hook, *attachment)??;
        }
        ensure!(stage.shown()? == shown, "{:?} instead of {shown:?}", stage.shown()?);
        let own = program_ids(stage)?;
        ensure!(own.iter().all(|id| !ids.contains(id)), "they are ours now: {own:?}, {ids:?}");
        for (hook, attachment) in ways {
            stage.detach(hook, attachment)?;
        }
        stage.wait_bare()?;
        Ok(())
    })
}

#[test]
fn what_is_pinned_of_an_interface_that_is_gone_is_removed() -> Result<()> {
    on_stage("what_is_pinned_of_an_interface_that_is_gone_is_removed", |stage| {
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        let links = Path::new(DEFAULT_DIRECTORY).join("v4/links");
        ensure!(links.read_dir()?.count() == 1, "the link is pinned");
        stage.restart()?;
        ip("link del host0")?;
        ensure!(stage.kernel.inherit(&[])?.is_empty(), "nothing is found");
        ensure!(links.read_dir()?.count() == 0, "the pin is gone");
        Ok(())
    })
}

#[test]
fn links_of_an_older_layout_hold_until_they_are_replaced() -> Result<()> {
    on_stage("links_of_an_older_layout_hold_until_they_are_replaced", |stage| {
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        let shown = stage.shown()?;
        let root = Path::new(DEFAULT_DIRECTORY);
        fs::rename(root.join("v4"), root.join("v1"))?;
        stage.restart()?;
        let link = stage.link()?;
        let found = stage.kernel.inherit(&[&link])?;
        let standing = found.get(&stage.veth).context("the veth is found")?;
        ensure!(standing.policy.is_none(), "its entry was of another layout: {standing:?}");
        ensure!(stage.shown()? == shown, "it stays attached meanwhile");
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        ensure!(stage.shown()? == shown, "{:?} instead of {shown:?}", stage.shown()?);
        ensure!(!root.join("v1").exists(), "nothing is left of the older layout");
        Ok(())
    })
}

#[test]
fn a_newer_layout_is_left_alone() -> Result<()> {
    on_stage("a_newer_layout_is_left_alone", |stage| {
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        let shown = stage.shown()?;
        let root = Path::new(DEFAULT_DIRECTORY);
        stage.stop()?;
        fs::rename(root.join("v4"), root.join("v9"))?;
        let error = Pins::open(root).err().context("refused")?;
        ensure!(error.to_string().contains("newer version"), "{error}");
        ensure!(stage.shown()? == shown, "it stays enforced");
        fs::rename(root.join("v9"), root.join("v4"))?;
        Ok(())
    })
}

#[test]
fn f45_a_second_daemon_is_refused() -> Result<()> {
    on_stage("f45_a_second_daemon_is_refused", |_stage| {
        let error = Pins::open(Path::new(DEFAULT_DIRECTORY)).err().context("refused")?;
        ensure!(error.to_string().contains("runs already"), "{error}");
        Ok(())
    })
}

#[test]
fn f31_without_a_bpf_file_system_there_is_a_way_out() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("f31_without_a_bpf_file_system_there_is_a_way_out", || {
        let error = Pins::open(Path::new("/proc/sys/ebpf-netns")).err().context("refused")?;
        let text = error.to_string();
        ensure!(text.contains("mount -t bpf bpf /proc/sys"), "{text}");
        nix::mount::umount("/sys/fs/bpf")?;
        Pins::open(Path::new(DEFAULT_DIRECTORY))?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        ensure!(mounts.contains(" /sys/fs/bpf bpf "), "it is mounted where it is missing");
        Ok(())
    })
}

#[test]
fn f32_what_others_take_off_is_noticed() -> Result<()> {
    on_stage("f32_what_others_take_off_is_noticed", |stage| {
        let filter = (Hook::Ingress, Attachment::Clsact);
        let link = (Hook::Xdp, Attachment::XdpGeneric);
        for (hook, attachment) in [filter, link] {
            stage.attach(hook, attachment)??;
        }
        let standing = Standing {
            policy: Some(InterfacePolicy::default()),
            ways: [filter, link].into(),
            ..Standing::default()
        };
        let audit = |stage: &mut Stage| stage.kernel.audit(stage.veth, &standing);
        ensure!(audit(stage)? == Damage::default(), "all is well");
        let pin = Path::new(DEFAULT_DIRECTORY)
            .join("v4/links")
            .join(format!("{}-xdp-generic", stage.veth));
        fs::remove_file(&pin)?;
        ensure!(audit(stage)? == Damage { repinned: 1, ..Damage::default() }, "the pin is back");
        ensure!(pin.exists() && audit(stage)? == Damage::default(), "all is well again");

        command::stdout_of(Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&pin))?;
        ensure!(audit(stage)? == Damage { gone: vec![link], ..Damage::default() }, "detached");
        tc("qdisc del dev host0 clsact")?;
        let gone = audit(stage)?.gone;
        ensure!(gone.contains(&filter), "the filter went with the qdisc: {gone:?}");
        let key = stage.veth.get().to_ne_bytes().map(|byte| byte.to_string());
        let map = Path::new(DEFAULT_DIRECTORY).join("v4/maps/POLICY");
        let mut delete = Command::new("bpftool");
        command::stdout_of(
            delete.args(["map", "delete", "pinned"]).arg(&map).arg("key").args(key),
        )?;
        ensure!(audit(stage)?.policy, "the entry is gone");
        ensure!(stage.kernel.audit_pins()? == 0, "no map or program is missing");
        fs::remove_dir_all(Path::new(DEFAULT_DIRECTORY).join("v4"))?;
        ensure!(stage.kernel.audit_pins()? == 18 && map.exists(), "fifteen maps, three programs");
        Ok(())
    })
}

#[test]
fn a_link_that_cannot_be_pinned_again_stays_attached() -> Result<()> {
    on_stage("a_link_that_cannot_be_pinned_again_stays_attached", |stage| {
        let link = (Hook::Xdp, Attachment::XdpGeneric);
        stage.attach(link.0, link.1)??;
        let standing = Standing {
            policy: Some(InterfacePolicy::default()),
            ways: [link].into(),
            ..Standing::default()
        };
        let links = Path::new(DEFAULT_DIRECTORY).join("v4/links");
        fs::remove_dir_all(&links)?;
        symlink("/run", &links)?;
        for _ in 0..2 {
            let refusal = stage.kernel.audit(stage.veth, &standing).err().context("refused")?;
            let text = refusal.to_string();
            ensure!(text.contains("v4/links is not a directory: remove it"), "{text}");
            ensure!(stage.link()?.xdp.is_some(), "it was detached");
        }
        fs::remove_file(&links)?;
        let damage = stage.kernel.audit(stage.veth, &standing)?;
        ensure!(damage == Damage { repinned: 1, ..Damage::default() }, "{damage:?}");
        stage.restart()?;
        ensure!(stage.link()?.xdp.is_some(), "the pin keeps it attached");
        Ok(())
    })
}

#[test]
fn clean_takes_off_all_of_ours_and_nothing_else() -> Result<()> {
    on_stage("clean_takes_off_all_of_ours_and_nothing_else", |stage| {
        ip("link add host1 type veth peer name inner1")?;
        tc("qdisc add dev host1 clsact")?;
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        stage.stop()?;
        let removed = clean(Pins::open(Path::new(DEFAULT_DIRECTORY))?)?;
        ensure!(removed.len() == 2, "{removed:?}");
        stage.wait_bare()?;
        ensure!(!qdiscs()?.contains("clsact"), "our qdisc is gone");
        for hook in [Hook::Egress, Hook::Ingress] {
            stage.attach(hook, Attachment::Clsact)??;
        }
        for hook in [Hook::Egress, Hook::Ingress] {
            stage.detach(hook, Attachment::Clsact)?;
        }
        ensure!(qdiscs()?.contains("clsact"), "it stays without filters");
        clean(Pins::open(Path::new(DEFAULT_DIRECTORY))?)?;
        ensure!(!qdiscs()?.contains("clsact"), "one without filters is known as ours too");
        ensure!(tc("qdisc show dev host1")?.contains("clsact"), "the other is not ours");
        ensure!(!Path::new(DEFAULT_DIRECTORY).exists(), "no directory is left");
        Ok(())
    })
}

#[test]
fn t11_foreign_qdiscs_and_filters_survive() -> Result<()> {
    on_stage("t11_foreign_qdiscs_and_filters_survive", |stage| {
        tc("qdisc add dev host0 clsact")?;
        tc("qdisc add dev host0 root handle 1: tbf rate 1gbit burst 64kb latency 50ms")?;
        tc(&format!("filter add dev host0 ingress prio 5 bpf da obj {PASS} sec classifier"))?;
        tc("filter add dev host0 egress prio 1 protocol ip u32 match u32 0 0 flowid 1:1")?;
        let before = (stage.shown()?, qdiscs()?, tc("filter show dev host0 egress")?);
        for hook in [Hook::Egress, Hook::Ingress] {
            stage.attach(hook, Attachment::Clsact)??;
        }
        ensure!(stage.shown()?.len() == before.0.len() + 2, "ours stand beside it");
        for hook in [Hook::Egress, Hook::Ingress] {
            stage.detach(hook, Attachment::Clsact)?;
        }
        let after = (stage.shown()?, qdiscs()?, tc("filter show dev host0 egress")?);
        ensure!(before == after, "{before:?} became {after:?}");
        Ok(())
    })
}

#[test]
fn a_filter_that_a_killed_daemon_left_is_replaced() -> Result<()> {
    on_stage("a_filter_that_a_killed_daemon_left_is_replaced", |stage| {
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        stage.restart()?;
        ensure!(stage.shown()?.len() == 1, "the filter is still there");
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        ensure!(stage.shown()?.len() == 1, "there are two: {:?}", stage.shown()?);
        stage.detach(Hook::Egress, Attachment::Clsact)?;
        stage.wait_bare()?;
        Ok(())
    })
}

#[test]
fn a_busy_xdp_hook_is_refused_naming_who_holds_it() -> Result<()> {
    on_stage("a_busy_xdp_hook_is_refused_naming_who_holds_it", |stage| {
        ip(&format!("link set dev host0 xdpgeneric obj {PASS} sec xdp"))?;
        let holder = stage.link()?.xdp.context("the foreign program")?.program_id;
        for attachment in [Attachment::XdpGeneric, Attachment::XdpNative] {
            let refusal =
                stage.attach(Hook::Xdp, attachment)?.err().context("refused")?.to_string();
            ensure!(refusal.contains(&format!("bpftool prog show id {holder}")), "{refusal}");
            ensure!(refusal.contains("host0") && refusal.contains("tc.policy"), "{refusal}");
        }
        let still = stage.link()?.xdp.map(|xdp| xdp.program_id);
        ensure!(still == Some(holder), "the foreign program is untouched");
        Ok(())
    })
}

#[test]
fn t21_native_xdp_is_refused_above_its_mtu_with_the_way_out() -> Result<()> {
    on_stage("t21_native_xdp_is_refused_above_its_mtu_with_the_way_out", |stage| {
        ip("link set host0 mtu 9000")?;
        ip("link set inner0 mtu 9000")?;
        let refusal = stage.attach(Hook::Xdp, Attachment::XdpNative)?;
        let refusal = refusal.err().context("refused")?.to_string();
        ensure!(refusal.contains("MTU is 9000") && refusal.contains("generic"), "{refusal}");
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        Ok(())
    })
}

#[test]
fn offload_is_refused_on_a_veth() -> Result<()> {
    on_stage("offload_is_refused_on_a_veth", |stage| {
        let refusal = stage.attach(Hook::Xdp, Attachment::XdpOffload)?;
        let refusal = refusal.err().context("refused")?.to_string();
        ensure!(refusal.contains("no hardware"), "{refusal}");
        Ok(())
    })
}

#[test]
fn an_interface_that_is_gone_is_told_from_a_refusal() -> Result<()> {
    on_stage("an_interface_that_is_gone_is_told_from_a_refusal", |stage| {
        let link = stage.link()?;
        let ifindex = stage.veth;
        ip("link del host0")?;
        for (hook, attachment) in [
            (Hook::Xdp, Attachment::XdpGeneric),
            (Hook::Egress, Attachment::Tcx),
            (Hook::Egress, Attachment::Clsact),
        ] {
            let refusal = stage.kernel.apply(Step::Attach { ifindex, hook, attachment }, &link);
            let refusal = refusal.err().context("refused")?;
            ensure!(refusal.is_gone(), "{attachment:?}: {refusal}");
        }
        Ok(())
    })
}

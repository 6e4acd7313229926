//! Attaching and detaching, step by step, on veths without Docker: what the kernel shows for each
//! way, what it refuses, and that nothing stays and nothing foreign is touched.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns::{Ifindex, Link, Rtnl, XdpMode, rtnl::Direction};
use ebpf_netns_plugin::{
    kernel::{Kernel, Refusal, attached},
    plan::{Attachment, Hook, Step},
};
use ebpf_netns_tests::{command, isolated, privilege};
use plugin_common::abi::{EGRESS_PROGRAM, INGRESS_PROGRAM, InterfacePolicy, XDP_PROGRAM};

const PASS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/pass.o");

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
        let (kernel, _events) = Kernel::load()?;
        Ok(Self { rtnl, kernel, veth })
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
        Ok(self.kernel.release(Step::Detach { ifindex: self.veth, hook, attachment })?)
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

fn qdiscs() -> Result<String> {
    tc("qdisc show dev host0")
}

fn ip(line: &str) -> Result<String> {
    command::stdout_of(Command::new("ip").args(line.split(' ')))
}

fn tc(line: &str) -> Result<String> {
    command::stdout_of(Command::new("tc").args(line.split(' ')))
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
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
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
            ensure!(stage.shown()?.is_empty(), "{attachment:?} leaves {:?}", stage.shown()?);
        }
        ensure!(!qdiscs()?.contains("clsact"), "our qdisc goes with our last filter");
        Ok(())
    })
}

#[test]
fn dropping_the_kernel_takes_everything_off() -> Result<()> {
    on_stage("dropping_the_kernel_takes_everything_off", |stage| {
        stage.attach(Hook::Xdp, Attachment::XdpGeneric)??;
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        let (kernel, _events) = Kernel::load()?;
        drop(std::mem::replace(&mut stage.kernel, kernel));
        ensure!(stage.shown()?.is_empty(), "{:?} stays", stage.shown()?);
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
        let (kernel, _events) = Kernel::load()?;
        // A killed process runs no destructor.
        std::mem::forget(std::mem::replace(&mut stage.kernel, kernel));
        ensure!(stage.shown()?.len() == 1, "the filter is still there");
        stage.attach(Hook::Egress, Attachment::Clsact)??;
        ensure!(stage.shown()?.len() == 1, "there are two: {:?}", stage.shown()?);
        stage.detach(Hook::Egress, Attachment::Clsact)?;
        ensure!(stage.shown()?.is_empty(), "{:?} stays", stage.shown()?);
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
            ensure!(refusal.contains(&format!("program {holder} (xdp_pass)")), "{refusal}");
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

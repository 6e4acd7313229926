//! What is to be said of the kernel. Pure.

use super::super::finding::Findings;
use super::super::{Area, Facts, Kernel, Support, Unseen};
use super::host;
use crate::kernel::probe::{Features, Hooks};
use crate::sandbox;

/// The oldest that can work, and the oldest that was measured.
const OLDEST: sandbox::Release = (5, 8);
const MEASURED: sandbox::Release = (5, 10);

const WSL2: &str = "this is WSL2's kernel: it has BTF, and TCX from its 6.6 on; all distributions of \
    WSL share it, and Docker may run in another one of them, as Docker Desktop does";
const LINUXKIT: &str = "this is the kernel of Docker Desktop's virtual machine: it mounts no BPF file \
    system, may lack clsact, which is a module there, and has TCX from its 6.6 on";

pub(super) fn findings(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Kernel);
    let Kernel { release, features, programs, jit, hooks, strict } = &facts.kernel;
    version(&mut found, release);
    platform(&mut found, release);
    made_of(&mut found, features);
    match programs {
        Ok(Support::There) => found.ok("programs", "the daemon's programs load"),
        Ok(Support::Absent(why)) => found.failure(
            "programs",
            format!("the daemon's programs do not load: {why}"),
            "use Linux 5.10 or later with CONFIG_BPF_SYSCALL; if that is what you have, report this",
        ),
        Err(unseen) => found.unseen("programs", true, "whether the daemon's programs load", unseen),
    }
    host::jit(&mut found, jit);
    match hooks {
        Ok(hooks) => attaching(&mut found, hooks),
        Err(unseen) => unseen_hooks(&mut found, unseen),
    }
    match strict {
        Ok(Support::There) => {
            found.ok("nftables-bridge", "nftables filters bridges: strict mode is possible");
        }
        Ok(Support::Absent(why)) => found.note(
            "nftables-bridge",
            format!("strict mode is not possible: {why}"),
            "run without --strict, or use a kernel with CONFIG_NF_TABLES_BRIDGE",
        ),
        Err(unseen) => {
            found.unseen("nftables-bridge", false, "whether nftables filters bridges", unseen);
        }
    }
    host::settings(&mut found, &facts.host);
    found
}

fn version(found: &mut Findings, release: &str) {
    let what = format!("Linux {release}");
    match sandbox::release(release) {
        Some(version) if version < OLDEST => found.failure(
            "kernel",
            format!("{what}: ring buffers came with 5.8, and the programs are made with them"),
            "use Linux 5.10 or later",
        ),
        Some(version) if version < MEASURED => found.warning(
            "kernel",
            format!("{what}: may work, and is older than any that was measured"),
            "use Linux 5.10 or later",
        ),
        Some(_) => found.ok("kernel", what),
        None => found.note("kernel", format!("{what}: a version that cannot be read"), ""),
    }
}

fn platform(found: &mut Findings, release: &str) {
    if release.contains("microsoft") {
        found.note("platform", WSL2, "run the daemon in the distribution that runs dockerd");
    } else if is_linuxkit(release) {
        found.note(
            "platform",
            LINUXKIT,
            "run the daemon in a container on the host's network: compose/plugin.yaml",
        );
    }
}

/// Whether it is Docker Desktop's own.
pub(super) fn is_linuxkit(release: &str) -> bool {
    release.contains("linuxkit")
}

fn made_of(found: &mut Findings, features: &Features) {
    let Features { ring_buffer, lpm_trie, load_bytes } = features;
    match ring_buffer {
        Ok(true) => found.ok("ring-buffer", "ring buffers are there: packets can be reported"),
        Ok(false) => found.failure(
            "ring-buffer",
            "there are no ring buffers, and the programs are made with them",
            "use Linux 5.10 or later",
        ),
        Err(unseen) => found.unseen("ring-buffer", true, "whether there are ring buffers", unseen),
    }
    match lpm_trie {
        Ok(true) => found.ok("lpm-trie", "LPM tries are there, and nothing of ours needs them"),
        Ok(false) => {
            found.note("lpm-trie", "there are no LPM tries; nothing of ours needs them", "");
        }
        Err(unseen) => found.unseen("lpm-trie", false, "whether there are LPM tries", unseen),
    }
    match load_bytes {
        Ok(true) => found.ok(
            "xdp-helper",
            "bpf_xdp_load_bytes is there: from Linux 6.8 on, policy.o is the object",
        ),
        Ok(false) => found.note(
            "xdp-helper",
            "bpf_xdp_load_bytes is not there (Linux 5.18 has it): policy-direct.o is the object, which \
             takes CAP_PERFMON to load",
            "",
        ),
        Err(unseen) => found.unseen("xdp-helper", false, "whether bpf_xdp_load_bytes is there", unseen),
    }
}

fn attaching(found: &mut Findings, hooks: &Hooks) {
    let Hooks { xdp, tcx, clsact } = hooks;
    match xdp {
        Support::There => found.ok("xdp", "XDP attaches by a link, which outlives the daemon"),
        Support::Absent(why) => found.warning(
            "xdp",
            format!("XDP does not attach by a link, so that TC applies xdp.policy: {why}"),
            "use Linux 5.9 or later, or tc.policy",
        ),
    }
    if let (Support::Absent(tcx), Support::Absent(clsact)) = (tcx, clsact) {
        found.failure(
            "tc",
            format!("nothing attaches at TC: TCX: {tcx}; clsact: {clsact}"),
            "load the modules (modprobe sch_ingress cls_bpf), or use Linux 6.6 or later",
        );
        return;
    }
    match tcx {
        Support::There => found.ok("tcx", "TCX attaches"),
        Support::Absent(_) => found.note(
            "tcx",
            "there is no TCX, which came with Linux 6.6: policies are clsact filters, which do the same",
            "",
        ),
    }
    match clsact {
        Support::There => found.ok("clsact", "clsact filters attach: new veths are closed by them"),
        Support::Absent(why) => found.warning(
            "clsact",
            format!("clsact filters do not attach, so that a new veth is closed later: {why}"),
            "load the modules: modprobe sch_ingress cls_bpf",
        ),
    }
}

fn unseen_hooks(found: &mut Findings, unseen: &Unseen) {
    for (check, what) in [
        ("xdp", "whether XDP attaches by a link"),
        ("tcx", "whether TCX attaches"),
        ("clsact", "whether clsact filters attach"),
    ] {
        found.unseen(check, true, what, unseen);
    }
}

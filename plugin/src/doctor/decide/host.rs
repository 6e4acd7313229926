//! What is to be said of the kernel's settings, and of what the caller may. Pure.

use std::collections::BTreeSet;

use super::super::finding::Findings;
use super::super::{Area, BpfFs, Facts, Host, Seen};

/// What each capability is for; those that are always needed are told by the facts.
const USES: [(&str, &str); 6] = [
    ("CAP_BPF", "to load programs and make maps"),
    ("CAP_NET_ADMIN", "to attach them, and to see interfaces, filters and nftables"),
    (
        "CAP_PERFMON",
        "for programs that are several times as fast; before Linux 6.8, to load at all",
    ),
    (
        "CAP_SYS_ADMIN",
        "to mount a BPF file system where there is none, and for this command to try hooks",
    ),
    ("CAP_SYS_NICE", "to be in time on a busy machine"),
    ("CAP_SETPCAP", "to give up for good what the daemon does not need"),
];

/// The kernel's settings.
pub(super) fn settings(found: &mut Findings, host: &Host) {
    if host.btf {
        found.ok("btf", "the kernel's types (BTF) are there, and nothing of ours needs them");
    } else {
        found.note("btf", "the kernel's types (BTF) are not there; nothing of ours needs them", "");
    }
    if host.tracefs {
        found.ok("tracefs", "tracefs is mounted: trace --exec can follow what is executed");
    } else {
        found.note(
            "tracefs",
            "tracefs is not mounted; trace --exec alone needs it",
            "for trace --exec: mount -t tracefs tracefs /sys/kernel/tracing",
        );
    }
    hardening(found, &host.harden);
    unprivileged(found, &host.unprivileged);
    lockdown(found, &host.lockdown);
    bpf_fs(found, &host.bpf_fs);
}

pub(super) fn jit(found: &mut Findings, jit: &Seen<bool>) {
    match jit {
        Ok(true) => found.ok("jit", "the JIT compiler makes machine code of the programs"),
        Ok(false) => found.warning(
            "jit",
            "the JIT compiler is off: programs are interpreted, which takes several times as long",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Err(unseen) => found.unseen("jit", false, "whether the JIT compiler is on", unseen),
    }
}

fn hardening(found: &mut Findings, harden: &Seen<String>) {
    match harden.as_ref().map(String::as_str) {
        Ok("2") => found.note(
            "jit-hardening",
            "the JIT compiler hardens all programs, ours too, which makes them slower",
            "sysctl net.core.bpf_jit_harden=1 hardens those of users without rights alone",
        ),
        Ok(_) => found.ok("jit-hardening", "the JIT compiler does not harden our programs"),
        Err(unseen) => {
            found.unseen(
                "jit-hardening",
                false,
                "whether the JIT compiler hardens programs",
                unseen,
            );
        }
    }
}

fn unprivileged(found: &mut Findings, disabled: &Seen<Option<String>>) {
    match disabled.as_ref().map(Option::as_deref) {
        Ok(Some("0")) => found.note(
            "unprivileged-bpf",
            "users without rights may load some programs, which is known to weaken a kernel",
            "sysctl kernel.unprivileged_bpf_disabled=1",
        ),
        Ok(Some(_) | None) => {
            found.ok("unprivileged-bpf", "users without rights may load no programs");
        }
        Err(unseen) => {
            found.unseen("unprivileged-bpf", false, "who may load programs", unseen);
        }
    }
}

fn lockdown(found: &mut Findings, lockdown: &Seen<Option<String>>) {
    match lockdown.as_ref().map(Option::as_deref) {
        Ok(None | Some("none")) => found.ok("lockdown", "the kernel is not locked down"),
        Ok(Some("confidentiality")) => found.note(
            "lockdown",
            "the kernel is locked down (confidentiality): tracing is barred, and XDP and TC are not",
            "",
        ),
        Ok(Some(level)) => found
            .ok("lockdown", format!("the kernel is locked down ({level}), which leaves XDP and TC alone")),
        Err(unseen) => found.unseen("lockdown", false, "whether the kernel is locked down", unseen),
    }
}

fn bpf_fs(found: &mut Findings, bpf_fs: &BpfFs) {
    let BpfFs { directory, mounted, usual } = bpf_fs;
    let place = directory.parent().unwrap_or(directory).display();
    let mount = format!("mount -t bpf bpf {place}");
    match (mounted, usual) {
        (true, _) => {
            found.ok(
                "bpffs",
                format!("{place} is a BPF file system: what is attached can outlive us"),
            );
        }
        (false, true) => found.note(
            "bpffs",
            format!(
                "{place} is no BPF file system: the daemon mounts one there when it starts, if it \
                 has CAP_SYS_ADMIN"
            ),
            &mount,
        ),
        (false, false) => found.failure(
            "bpffs",
            format!("{place} is no BPF file system, without which nothing stays attached"),
            &mount,
        ),
    }
}

/// What the caller may.
pub(super) fn rights(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Rights);
    let Host { held, needed, first_user_namespace, .. } = &facts.host;
    if !first_user_namespace {
        found.warning(
            "user-namespace",
            "this is in a user namespace, where being root does not count for eBPF",
            "run it as root of the host, or in a container without user namespaces",
        );
    }
    match held {
        Ok(held) => capabilities(&mut found, held, needed),
        Err(unseen) => found.unseen("capabilities", true, "which capabilities this has", unseen),
    }
    found
}

fn capabilities(found: &mut Findings, held: &BTreeSet<String>, needed: &[String]) {
    let is_needed = |name: &str| needed.iter().any(|one| one == name);
    let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<(&str, &str)> {
        USES.into_iter().filter(|(name, _)| wanted(name)).collect()
    };
    let names = |of: &[(&str, &str)]| of.iter().map(|(name, _)| (*name).to_owned()).collect();
    let lacking = of(&|name| is_needed(name) && !held.contains(name));
    if lacking.is_empty() {
        let there: Vec<String> = names(&of(&|name| held.contains(name)));
        let what = format!("a daemon that is started like this can run: {}", there.join(", "));
        found.ok("capabilities", what);
        found.subjects(there);
    } else {
        let lacks = with_uses(&lacking);
        let what = format!("a daemon that is started like this cannot run: it lacks {lacks}");
        found.warning("capabilities", what, "run it as root, or grant what is missing");
        found.subjects::<Vec<_>>(names(&lacking));
    }
    let without = of(&|name| !is_needed(name) && !held.contains(name));
    if !without.is_empty() {
        let what = format!("of use, and not here: {}", with_uses(&without));
        found.note("capabilities-of-use", what, "");
        found.subjects::<Vec<_>>(names(&without));
    }
}

fn with_uses(of: &[(&str, &str)]) -> String {
    let each: Vec<String> =
        of.iter().map(|(name, purpose)| format!("{name} ({purpose})")).collect();
    each.join(", ")
}

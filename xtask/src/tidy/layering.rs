//! Who may name what: the boundaries between the crates and their modules.

use super::rust_text::{has_word, imports};
use super::tree::{Tree, Violation, numbered};

/// Modules that decide and do not act.
const DECIDING: [&str; 7] = [
    "plugin/src/compose",
    "plugin/src/labels",
    "plugin/src/rules",
    "plugin/src/names",
    "plugin/src/policy",
    "plugin/src/plan",
    "plugin/src/doctor/decide",
];
/// What acting takes; addresses are values, sockets are not.
const ACTING: [&str; 12] = [
    "std::fs",
    "std::net::*",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::process",
    "std::thread",
    "tokio",
    "aya",
    "bollard",
    "rtnetlink",
    "rustix",
];

/// Tests that do what no safe crate does: rings and addresses of packet sockets, and system calls
/// that nobody should make.
const UNSAFE_TESTS: [&str; 2] =
    ["tests/tests/verdict/wire.rs", "tests/src/bin/ebpf-netns-confined.rs"];

/// A path is `module` itself, its file, or below it.
fn within(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/') || rest.is_empty())
}

/// The lines of Rust code that name `word`, in files that `looked_at` picks.
fn naming(tree: &Tree, word: &str, looked_at: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
    let files = tree.with_extension("rs").filter(|(path, _)| looked_at(path));
    files
        .flat_map(|(path, file)| {
            let lines = numbered(&file.rust.code).filter(|(_, line)| has_word(line, word));
            lines.map(|(number, _)| (path.to_owned(), number))
        })
        .collect()
}

fn violations(found: Vec<(String, usize)>, what: &str) -> Vec<Violation> {
    found.into_iter().map(|(path, line)| Violation::new(&path, line, what)).collect()
}

/// Only one module talks to the engine's API.
pub(super) fn bollard_is_named_in_docker_alone(tree: &Tree) -> Vec<Violation> {
    let found = naming(tree, "bollard", |path| !within(path, "netns/src/docker"));
    violations(found, "names bollard: go through netns/src/docker (plugin/src/docker in plugin)")
}

/// Only one module of the daemon touches kernel objects.
pub(super) fn aya_is_named_in_kernel_alone(tree: &Tree) -> Vec<Violation> {
    let ours = ["plugin", "netns", "xtask"];
    let outside = |path: &str| {
        ours.iter().any(|name| within(path, name)) && !within(path, "plugin/src/kernel")
    };
    let found = ["aya", "aya_obj"].iter().flat_map(|word| naming(tree, word, outside)).collect();
    violations(found, "names aya: go through plugin/src/kernel")
}

/// Only `ebpf-netns exec` enters a namespace, right before it executes a program.
pub(super) fn namespaces_are_entered_in_exec_alone(tree: &Tree) -> Vec<Violation> {
    let outside =
        |path: &str| !within(path, "netns/src/exec") && !within(path, "netns/src/cli/exec");
    let words = ["setns", "move_into_link_name_space", "move_into_thread_name_spaces"];
    let found = words.iter().flat_map(|word| naming(tree, word, outside)).collect();
    violations(found, "enters a namespace: read it from outside, only netns's exec enters")
}

/// `/sys/class/net` shows the namespace that mounted it, which is not the one being asked about.
pub(super) fn sysfs_is_not_asked_for_links(tree: &Tree) -> Vec<Violation> {
    const SYSFS: &str = "/sys/class/net";
    let files = tree.with_extension("rs");
    let files = files.filter(|(path, _)| within(path, "netns") || within(path, "plugin"));
    files
        .flat_map(|(path, file)| {
            let lines = numbered(&file.rust.strings).filter(|(_, line)| line.contains(SYSFS));
            lines.map(move |(number, _)| {
                Violation::new(path, number, format_args!("reads {SYSFS}: ask rtnetlink"))
            })
        })
        .collect()
}

/// Labels, policy and plan are decided without a look at the world.
pub(super) fn decisions_do_no_io(tree: &Tree) -> Vec<Violation> {
    let deciding = tree.with_extension("rs");
    let deciding = deciding.filter(|(path, _)| DECIDING.iter().any(|module| within(path, module)));
    let mut found = Vec::new();
    for (path, file) in deciding {
        let code = &file.rust.code;
        let imported = imports(code).into_iter();
        let named = numbered(code).map(|(number, line)| (number, line.to_owned()));
        let end = tree.tests_from(path).unwrap_or(usize::MAX);
        for (number, text) in imported.chain(named).filter(|(number, _)| *number < end) {
            if let Some(word) = ACTING.iter().find(|word| has_word(&text, word)) {
                let what = format!("names {word} in a module that decides: take it as an argument");
                found.push(Violation::new(path, number, what));
            }
        }
    }
    found.dedup();
    found
}

/// The compiler enforces "no unsafe code" where it is told so at the root of a crate.
pub(super) fn unsafe_is_forbidden_at_the_roots(tree: &Tree) -> Vec<Violation> {
    const ATTRIBUTE: &str = "#![forbid(unsafe_code)]";
    let crates = ["plugin", "netns", "xtask", "tests", "xtask/dist"];
    let roots = crates.iter().flat_map(|name| ["lib.rs", "main.rs"].map(|file| (*name, file)));
    let roots = roots.map(|(name, file)| format!("{name}/src/{file}"));
    let bins = tree.with_extension("rs").map(|(path, _)| path.to_owned());
    let bins =
        bins.filter(|path| crates.iter().any(|name| within(path, &format!("{name}/src/bin"))));
    roots
        .chain(bins)
        .filter(|path| !UNSAFE_TESTS.contains(&path.as_str()))
        .filter_map(|path| Some((tree.get(&path)?, path)))
        .filter(|(file, _)| !file.rust.code.contains(ATTRIBUTE))
        .map(|(_, path)| Violation::new(&path, 1, format_args!("add {ATTRIBUTE}")))
        .collect()
}

/// Where what the kernel gives is read, and the compiler is dealt with.
const UNSAFE_KERNEL: &[&str] = &[
    "plugin-common/src/compiler.rs",
    "plugin-ebpf/src/capture.rs",
    "plugin-ebpf/src/clock.rs",
    "plugin-ebpf/src/exec.rs",
    "plugin-ebpf/src/maps.rs",
    "plugin-ebpf/src/packet.rs",
];

/// What cannot be had without `unsafe` is in few, small places.
pub(super) fn unsafe_stays_where_it_is_allowed(tree: &Tree) -> Vec<Violation> {
    let allowed = |path: &str, line: &str| {
        let line = line.trim();
        match path {
            path if UNSAFE_KERNEL.contains(&path) => true,
            path if UNSAFE_TESTS.contains(&path) => true,
            // Functions of an object are declared where they are called, and are safe.
            path if within(path, "plugin-ebpf") => {
                line.starts_with("#[unsafe(") || line.starts_with("unsafe extern ")
            }
            path if within(path, "plugin-common") => {
                line.starts_with("unsafe impl") && has_word(line, "Pod")
            }
            _ => false,
        }
    };
    let mut found = Vec::new();
    for (path, file) in tree.with_extension("rs") {
        for (number, line) in numbered(&file.rust.code) {
            if has_word(line, "unsafe") && !allowed(path, line) {
                let what = "unsafe code: it belongs into plugin-ebpf/src/{capture,clock,exec,maps,\
                            packet}.rs, or is a `Pod` of plugin-common";
                found.push(Violation::new(path, number, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::style::check;
    use super::*;

    #[test]
    fn bollard_outside_of_docker_is_found() {
        let rule = bollard_is_named_in_docker_alone;
        check(rule, "plugin/src/engine.rs", "use bollard::Docker;", true);
        check(rule, "plugin/src/docker/mod.rs", "use bollard::Docker;", true);
        check(rule, "netns/src/docker.rs", "use bollard::Docker;", false);
        check(rule, "netns/src/dockerish.rs", "use bollard::Docker;", true);
        check(rule, "plugin/src/engine.rs", "// not bollard", false);
    }

    #[test]
    fn aya_outside_of_kernel_is_found() {
        let rule = aya_is_named_in_kernel_alone;
        check(rule, "plugin/src/engine.rs", "let x: aya::Ebpf;", true);
        check(rule, "plugin/src/kernel/load.rs", "let x: aya::Ebpf;", false);
        check(rule, "tests/tests/t1.rs", "let x: aya::Ebpf;", false);
    }

    #[test]
    fn entering_a_namespace_outside_of_exec_is_found() {
        let rule = namespaces_are_entered_in_exec_alone;
        check(rule, "netns/src/link.rs", "nix::sched::setns(fd)", true);
        check(rule, "netns/src/exec.rs", "nix::sched::setns(fd)", false);
        check(rule, "netns/src/cli/exec.rs", "move_into_link_name_space(fd)", false);
        check(rule, "plugin/src/main.rs", "move_into_link_name_space(fd)", true);
    }

    #[test]
    fn sysfs_in_a_string_is_found_and_in_a_comment_is_not() {
        let rule = sysfs_is_not_asked_for_links;
        check(rule, "netns/src/veth.rs", "read(\"/sys/class/net/eth0/iflink\")", true);
        check(rule, "netns/src/veth.rs", "// never /sys/class/net", false);
        check(rule, "tests/src/lib.rs", "read(\"/sys/class/net\")", false);
    }

    #[test]
    fn deciding_modules_that_act_are_found() {
        let rule = decisions_do_no_io;
        check(rule, "plugin/src/labels/mod.rs", "use std::fs;", true);
        check(rule, "plugin/src/plan/steps.rs", "async fn f(x: tokio::fs::File)", true);
        check(rule, "plugin/src/policy.rs", "use std::net::TcpStream;", true);
        check(rule, "plugin/src/policy.rs", "use std::{\n    fs,\n    net::Ipv4Addr,\n};", true);
        check(rule, "plugin/src/policy.rs", "use std::net::Ipv4Addr;", false);
        check(rule, "plugin/src/engine/mod.rs", "use std::fs;", false);
        check(
            rule,
            "plugin/src/plan.rs",
            "fn f() {}\n#[cfg(test)]\nmod t {\nuse std::fs;\n}",
            false,
        );
    }

    #[test]
    fn a_root_without_the_attribute_is_found() {
        let rule = unsafe_is_forbidden_at_the_roots;
        check(rule, "plugin/src/lib.rs", "//! x\n", true);
        check(rule, "plugin/src/lib.rs", "// #![forbid(unsafe_code)]", true);
        check(rule, "plugin/src/lib.rs", "#![forbid(unsafe_code)]", false);
        check(rule, "tests/src/bin/probe.rs", "fn main() {}", true);
        check(rule, "tests/src/bin/ebpf-netns-confined.rs", "fn main() {}", false);
        check(rule, "plugin-ebpf/src/lib.rs", "", false);
    }

    #[test]
    fn unsafe_elsewhere_is_found() {
        let rule = unsafe_stays_where_it_is_allowed;
        check(rule, "plugin-common/src/verdict.rs", "unsafe { x() }", true);
        check(rule, "plugin-common/src/abi.rs", "unsafe impl aya::Pod for Key {}", false);
        check(rule, "plugin-ebpf/src/judge.rs", "unsafe { x() }", true);
        check(rule, "plugin-ebpf/src/judge.rs", "#[unsafe(no_mangle)]", false);
        check(rule, "plugin-ebpf/src/packet.rs", "unsafe { x() }", false);
        check(rule, "tests/tests/verdict/wire.rs", "unsafe { x() }", false);
        check(rule, "netns/src/lib.rs", "unsafe { x() }", true);
    }
}

//! Results for people: tables without lines, which `grep` and `awk` read too.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use ebpf_netns::text::printable;

use crate::kernel::{AttachedProgram, Count, Traffic};
use crate::labels::{Direction, LabelPolicy, XdpMode, format_presets};
use crate::status::{
    ContainerStatus, DockerStatus, HookStatus, InterfaceStatus, QuarantineStatus, Status,
};

/// The table of `status`, with what needs a sentence below it.
pub(super) fn status(status: &Status) -> String {
    let mut text = docker(&status.docker);
    for QuarantineStatus { name, ifindex, seconds, reason } in &status.quarantined {
        let name = printable(name);
        // Writing to a string cannot fail.
        writeln!(text, "{name} ({ifindex}) is closed since {seconds} s: {reason}").ok();
    }
    if status.containers.is_empty() {
        text.push_str("no container has labels of ebpf-netns\n");
        return text;
    }
    let mut table = new_table(&[
        "CONTAINER",
        "STATE",
        "INTERFACE",
        "HOST VETH",
        "HOOK",
        "DIRECTION",
        "POLICY",
        "PROGRAM",
        "PASSED",
        "DROPPED",
    ]);
    for container in &status.containers {
        add_container(&mut table, container);
    }
    text.push_str(&render(&mut table));
    for container in &status.containers {
        add_sentences(&mut text, container);
    }
    text
}

fn docker(docker: &DockerStatus) -> String {
    match docker {
        DockerStatus::Connected { .. } => String::new(),
        DockerStatus::Unknown => "Docker: not reached yet\n".to_owned(),
        DockerStatus::Unreachable { reason } => {
            format!("Docker: unreachable, what was enforced stays: {}\n", printable(reason))
        }
    }
}

fn add_container(table: &mut Table, container: &ContainerStatus) {
    let name = printable(&container.name).to_string();
    if container.interfaces.is_empty() {
        table.add_row([name.as_str(), container.state.name()]);
    }
    for interface in &container.interfaces {
        let row = |hook: Option<&HookStatus>| interface_row(&name, interface, hook);
        if interface.hooks.is_empty() {
            table.add_row(row(None));
        }
        for hook in &interface.hooks {
            table.add_row(row(Some(hook)));
        }
    }
}

fn interface_row(
    container: &str,
    interface: &InterfaceStatus,
    hook: Option<&HookStatus>,
) -> Vec<String> {
    let inside = printable(&interface.name).to_string();
    let place = match &interface.network {
        Some(network) => format!("{inside}@{}", printable(network)),
        None => inside,
    };
    let host = interface.host.as_ref().map_or_else(
        || "-".to_owned(),
        |host| format!("{}({})", printable(&host.name), host.ifindex),
    );
    let mut row = vec![container.to_owned(), interface.state.name().to_owned(), place, host];
    if let Some(hook) = hook {
        let mode = hook.mode.as_ref().map_or(String::new(), |mode| format!(" {mode}"));
        row.extend([
            format!("{}{mode}", hook.hook),
            hook.direction.clone(),
            hook.policy.clone(),
            hook.program.as_ref().map_or_else(String::new, |p| format!("{} id {}", p.name, p.id)),
            hook.traffic.passed.packets.to_string(),
            dropped(&hook.traffic),
        ]);
    }
    row
}

/// How many packets were dropped, and why where the policy alone does not say it.
fn dropped(traffic: &Traffic) -> String {
    let total = traffic.dropped_packets();
    let reasons: Vec<String> = traffic
        .dropped
        .iter()
        .map(|(reason, Count { packets, .. })| format!("{reason} {packets}"))
        .collect();
    if total == 0 { "0".to_owned() } else { format!("{total} ({})", reasons.join(", ")) }
}

fn add_sentences(text: &mut String, container: &ContainerStatus) {
    let name = printable(&container.name);
    let mut add = |who: &str, sentence: &str| {
        // Writing to a string does not fail.
        writeln!(text, "{who}: {}", printable(sentence)).ok();
    };
    if let Some(reason) = &container.reason
        && container.interfaces.iter().all(|interface| interface.reason.is_none())
    {
        add(&name.to_string(), &format!("{}: {reason}", container.state.name()));
    }
    for interface in &container.interfaces {
        let who = format!("{name} {}", printable(&interface.name));
        if let Some(reason) = &interface.reason {
            add(&who, &format!("{}: {reason}", interface.state.name()));
        }
        for note in &interface.notes {
            add(&who, note);
        }
    }
}

/// What labels mean, in one line.
pub(super) fn policy(policy: Option<&LabelPolicy>) -> String {
    let Some(LabelPolicy { xdp, tc }) = policy else {
        return "none of these labels is ebpf-netns's: nothing is touched".to_owned();
    };
    let mut parts = Vec::new();
    if let Some(xdp) = xdp {
        let mode = match xdp.mode {
            XdpMode::Auto => "auto",
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
            XdpMode::Offload => "offload",
        };
        parts.push(format!("XDP ({mode}), egress: {}", format_presets(xdp.presets)));
    }
    if let Some(tc) = tc {
        let direction = match tc.direction {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
            Direction::Both => "egress and ingress",
        };
        parts.push(format!("TC, {direction}: {}", format_presets(tc.presets)));
    }
    parts.join("; ")
}

/// The table of `attached`.
pub(super) fn attached(programs: &[AttachedProgram]) -> String {
    let mut table = new_table(&["IFINDEX", "HOOK", "ID", "NAME", "TAG"]);
    for AttachedProgram { ifindex, hook, program } in programs {
        table.add_row([
            ifindex.to_string(),
            (*hook).to_owned(),
            program.id.to_string(),
            printable(&program.name).to_string(),
            program.tag.clone(),
        ]);
    }
    render(&mut table)
}

/// Columns without lines, as `docker ps` has them.
fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

fn render(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

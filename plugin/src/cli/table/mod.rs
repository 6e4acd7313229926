//! Results for people: tables without lines, which `grep` and `awk` read too.

mod doctor;
mod explain;
mod programs;
mod rules;
mod top;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{Table, presets};
use ebpf_netns::text::printable;

pub(super) use self::doctor::doctor;
pub(super) use self::explain::explanation;
pub(super) use self::programs::programs;
pub(super) use self::top::top;
use crate::compose::{Checked, ServicePolicy};
use crate::config::{Config, OnError};
use crate::finding::Finding;
use crate::kernel::{AttachedProgram, Count, Traffic};
use crate::labels::LabelPolicy;
use crate::reload::Taken;
use crate::status::{
    ConfigStatus, ContainerStatus, DockerStatus, HookStatus, InterfaceStatus, PolicyStatus,
    QuarantineStatus, Status,
};

/// The table of `status`, with what needs a sentence below it.
pub(super) fn status(status: &Status) -> String {
    let mut text = docker(&status.docker);
    text.push_str(&configured(&status.config));
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
        programs::own(&mut text, container);
        add_sentences(&mut text, container);
    }
    for container in &status.containers {
        for interface in &container.interfaces {
            rules::add(&mut text, &container.name, interface);
        }
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

/// What came of `reload`.
pub(super) fn taken(taken: &Taken) -> String {
    let Taken { containers, changed, unfinished, notes } = taken;
    let mut text = format!(
        "configuration loaded; containers with a policy: {containers}, changed: {changed}\n"
    );
    if *unfinished > 0 {
        // Writing to a string cannot fail.
        writeln!(text, "still attaching on {unfinished} interfaces: status shows when it is done")
            .ok();
    }
    for note in notes {
        writeln!(text, "{note}").ok();
    }
    text
}

/// What labels mean, in one line.
pub(super) fn policy(policy: Option<&LabelPolicy>) -> String {
    policy.map_or_else(
        || "none of these labels is ebpf-netns's: nothing is touched".to_owned(),
        ToString::to_string,
    )
}

/// What is probably not meant, one on a line.
pub(super) fn hints(hints: &[Finding]) -> String {
    let mut text = String::new();
    for hint in hints {
        // Writing to a string cannot fail.
        writeln!(text, "hint: {hint}").ok();
    }
    text
}

/// What the labels of services mean, one on a line.
pub(super) fn services(checked: &Checked) -> String {
    let Checked { services, hints: found } = checked;
    let lines = services
        .iter()
        .map(|ServicePolicy { service, policy }| format!("{}: {policy}\n", printable(service)));
    let mut text: String = lines.collect();
    if services.is_empty() {
        text.push_str("no service has labels of ebpf-netns: nothing is touched\n");
    }
    text.push_str(&hints(found));
    text
}

/// What a configuration says, for `check`.
pub(super) fn config(config: &Config) -> String {
    let Config { file, default, policies, .. } = config;
    let file = file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    let mut text = format!("{}: understood\n", printable(&file));
    text.push_str(&default_policy(default.as_ref().map(ToString::to_string).as_deref()));
    for (name, policy) in policies.iter() {
        // Writing to a string cannot fail.
        writeln!(text, "policy {name}: {policy}").ok();
    }
    text
}

fn default_policy(default: Option<&str>) -> String {
    default.map_or(String::new(), |policy| format!("policy of every container: {policy}\n"))
}

/// What the operator configured, as far as it is not the default.
fn configured(config: &ConfigStatus) -> String {
    let ConfigStatus { file, since, default, on_error, policies, refused } = config;
    let mut text = String::new();
    if let Some(file) = file {
        let since = UNIX_EPOCH + Duration::from_secs(*since);
        let age = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        // Writing to a string cannot fail.
        writeln!(text, "configuration: {}, loaded {age} s ago", printable(&file.to_string_lossy()))
            .ok();
    }
    text.push_str(&default_policy(default.as_deref()));
    if *on_error == OnError::Audit {
        text.push_str(
            "labels that are not understood do not close their containers: on_error is audit\n",
        );
    }
    for PolicyStatus { name, policy, containers } in policies {
        // Writing to a string cannot fail.
        writeln!(text, "policy {name}: {policy} (containers that name it: {containers})").ok();
    }
    for problem in refused {
        let problem = printable(problem);
        writeln!(text, "configuration not taken, the one before holds: {problem}").ok();
    }
    text
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

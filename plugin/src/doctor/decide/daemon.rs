//! What is to be said of the daemon, and of what earlier ones left. Pure.

use std::cmp::Ordering;

use super::super::finding::Findings;
use super::super::{Area, Daemon, Facts, Leftovers, Seen};
use super::{count, list};
use crate::gate::{Condition, TABLE};
use crate::kernel::Layout;
use crate::sandbox::Confinement;
use crate::status::{DockerStatus, State, Status};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn findings(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Daemon);
    let Leftovers { layouts, gate, foreign_gate } = &facts.leftovers;
    match &facts.daemon {
        Daemon::Answers(status) => answers(&mut found, status),
        Daemon::Absent => absent(&mut found, layouts),
        Daemon::Unseen(unseen) if unseen.denied => {
            found.unseen("daemon", false, "whether the daemon runs", unseen);
        }
        Daemon::Unseen(unseen) => found.warning(
            "daemon",
            format!("the daemon runs and gives no answer: {unseen}"),
            "look at its log, or restart it: what is attached stays",
        ),
    }
    strict(&mut found, &facts.daemon, gate);
    if *foreign_gate {
        found.note(
            "strict-mode",
            format!(
                "there is an nftables table bridge {TABLE} that somebody else made: strict mode \
                 does not start beside it"
            ),
            "remove it if nobody needs it: nft delete table bridge ebpf-netns",
        );
    }
    leftovers(&mut found, layouts);
    found
}

fn answers(found: &mut Findings, status: &Status) {
    let Status { version, sandbox, docker, config, containers, quarantined, .. } = status;
    if version == VERSION {
        found.ok("daemon", format!("the daemon runs and answers (version {version})"));
    } else {
        found.warning(
            "daemon",
            format!("the daemon is of version {version}, and this command of {VERSION}"),
            "restart the daemon: what is attached stays, and is taken over",
        );
    }
    confined(found, sandbox.as_ref());
    if let DockerStatus::Unreachable { reason } = docker {
        found.warning(
            "daemon-docker",
            format!("the daemon does not reach Docker; what is enforced stays: {reason}"),
            "start Docker, or restart the daemon with the right --docker-host",
        );
    }
    if !config.refused.is_empty() {
        found.warning(
            "configuration",
            format!("a configuration was not taken: {}", config.refused.join("; ")),
            "put it right, see ebpf-netns check, and run ebpf-netns reload",
        );
    }
    let bad =
        |one: &&crate::status::ContainerStatus| matches!(one.state, State::Open | State::Unknown);
    let open: Vec<&str> = containers.iter().filter(bad).map(|one| one.name.as_str()).collect();
    if !open.is_empty() {
        let what = format!("not all is stopped that should be on {}", list(open.iter().copied()));
        found.warning("open", what, "ebpf-netns status says why");
        found.subjects(open.into_iter().map(str::to_owned));
    }
    if !quarantined.is_empty() {
        let what =
            format!("{} closed until it is known whose", count(quarantined.len(), "interface"));
        found.note("quarantined", what, "ebpf-netns status says why");
        found.subjects(quarantined.iter().map(|one| one.name.clone()));
    }
}

fn confined(found: &mut Findings, sandbox: Option<&Confinement>) {
    let Some(Confinement { capabilities, landlock, seccomp, gaps }) = sandbox else {
        found.note(
            "sandbox",
            "the daemon does not say how it is confined: it is starting, or older",
            "",
        );
        return;
    };
    let what = format!("capabilities {capabilities}; Landlock {landlock}; seccomp {seccomp}");
    if gaps.is_empty() {
        found.ok("sandbox", format!("the daemon is confined: {what}"));
    } else {
        let gaps = gaps.join("; ");
        found.note("sandbox", format!("the daemon is confined, with gaps ({gaps}): {what}"), "");
    }
}

/// Before the first start it is nothing to warn of.
fn absent(found: &mut Findings, layouts: &Seen<Vec<Layout>>) {
    const START: &str = "ebpf-netns run, or its systemd unit";
    if layouts.as_ref().is_ok_and(|layouts| !layouts.is_empty()) {
        found.warning(
            "daemon",
            "no daemon runs: what was attached stays, and containers that start now have no policy",
            START,
        );
    } else {
        found.note("daemon", "no daemon runs: nothing is enforced yet", START);
    }
}

fn strict(found: &mut Findings, daemon: &Daemon, gate: &Seen<Condition>) {
    const CHECK: &str = "strict-mode";
    let is_strict = match daemon {
        Daemon::Answers(status) => status.strict,
        Daemon::Absent | Daemon::Unseen(_) => None,
    };
    match (is_strict, gate) {
        (Some(true), Ok(Condition::Intact)) => {
            found.ok(CHECK, "strict mode is on: the kernel closes ports that are not let through");
        }
        (Some(true), Ok(_)) => found.warning(
            CHECK,
            "strict mode is on, and its nftables table was changed or removed",
            "the daemon puts it right within 30 seconds; find out who changes it",
        ),
        (Some(true), Err(unseen)) => found.unseen(CHECK, false, "strict mode's table", unseen),
        (Some(false), _) => found.note(
            CHECK,
            "strict mode is off: a container that starts while no daemon runs has no policy",
            "ebpf-netns run --strict",
        ),
        (None, Ok(Condition::Intact | Condition::Changed(_))) if *daemon == Daemon::Absent => {
            found.warning(
                CHECK,
                "strict mode's table is there and no daemon runs: new containers have no network",
                "start the daemon, or take it all off: ebpf-netns-plugin clean",
            );
        }
        (None, Err(unseen)) if unseen.denied => {
            found.unseen(CHECK, false, "strict mode's table", unseen);
        }
        (None, _) => {}
    }
}

fn leftovers(found: &mut Findings, layouts: &Seen<Vec<Layout>>) {
    const CHECK: &str = "leftovers";
    let layouts = match layouts {
        Ok(layouts) => layouts,
        Err(unseen) => {
            found.unseen(CHECK, false, "what other versions left", unseen);
            return;
        }
    };
    let mut others = layouts.iter().filter(|layout| layout.age != Ordering::Equal).peekable();
    if others.peek().is_none() {
        found.ok(CHECK, "nothing of another version is left");
    }
    for Layout { path, age, links } in others {
        let (path, links) = (path.display(), count(*links, "link"));
        if *age == Ordering::Greater {
            found.failure(
                CHECK,
                format!(
                    "{path} is of a newer version ({links}): this version's daemon does not start"
                ),
                "run that version, or give it up with its ebpf-netns-plugin clean",
            );
        } else {
            found.note(
                CHECK,
                format!("{path} is of an older version ({links}), which a daemon takes over when it starts"),
                "restart the daemon",
            );
        }
    }
}

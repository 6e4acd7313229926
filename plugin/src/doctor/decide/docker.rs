//! What is to be said of Docker. Pure.

use ebpf_netns::docker::Survey;

use super::super::finding::Findings;
use super::super::{Area, Daemon, Docker, Facts};
use super::{kernel, registered};

/// The API of Docker 20.10, the oldest that is supported.
const OLDEST_API: (u32, u32) = (1, 41);

/// What Docker Desktop says it runs on.
const DESKTOP: &str = "Docker Desktop";

pub(super) fn findings(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Docker);
    let Docker { endpoint, survey, runtime_program: _ } = &facts.docker;
    let survey = match survey {
        Ok(survey) => survey,
        Err(unseen) if unseen.denied => {
            found.unseen("docker", true, "Docker", unseen);
            return found;
        }
        Err(unseen) => {
            let way_out = "start it; if it runs and listens elsewhere, give --docker-host";
            found.failure("docker", format!("Docker is not reachable: {unseen}"), way_out);
            return found;
        }
    };
    version(&mut found, survey, endpoint);
    place(&mut found, survey, &facts.kernel.release);
    let firewall = survey.firewall.as_deref().unwrap_or("iptables");
    found.ok("firewall", format!("Docker filters by {firewall}, which is all the same to us"));
    runtime(&mut found, facts, survey);
    found
}

fn version(found: &mut Findings, survey: &Survey, endpoint: &str) {
    let Survey { version, api, .. } = survey;
    let what = format!("Docker {version} (API {api}) answers at {endpoint}");
    let numbers = api.split_once('.');
    let numbers =
        numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match numbers {
        Some(numbers) if numbers < OLDEST_API => {
            found.failure("docker", format!("{what}: too old"), "use Docker 20.10 or later");
        }
        Some(_) => found.ok("docker", what),
        None => found.note("docker", format!("{what}: a version that cannot be read"), ""),
    }
}

/// Whether its containers are on this machine at all.
fn place(found: &mut Findings, survey: &Survey, release: &str) {
    if survey.system == DESKTOP && !kernel::is_linuxkit(release) {
        found.failure(
            "docker-desktop",
            "this Docker is Docker Desktop: its containers are in a virtual machine and not here",
            "run the daemon in a container of it: compose/plugin.yaml",
        );
    }
    if survey.rootless {
        found.failure(
            "rootless",
            "this Docker runs without root: its bridges are in a network namespace of its own",
            "use a Docker that runs as root",
        );
    }
}

/// The runtime gate.
fn runtime(found: &mut Findings, facts: &Facts, survey: &Survey) {
    const CHECK: &str = "runtime-gate";
    let Some((name, program)) = registered(survey) else {
        found.note(
            CHECK,
            "the runtime gate is not registered: that a policy stands before a container's first \
             instruction is likely, and not certain",
            "ebpf-netns-plugin runtime install",
        );
        return;
    };
    let all = survey.default_runtime.as_deref() == Some(name);
    let whose = if all { "for every new container" } else { "for containers that ask for it" };
    match &facts.docker.runtime_program {
        Some(Ok(false)) => found.warning(
            CHECK,
            format!(
                "the runtime gate is registered as {name}, and {} is no program: containers that were \
                 made for it do not start",
                program.display()
            ),
            "install it there, or run ebpf-netns-plugin runtime install again",
        ),
        Some(Err(unseen)) => found.unseen(CHECK, false, "the runtime gate's program", unseen),
        _ if facts.daemon == Daemon::Absent => found.warning(
            CHECK,
            format!("the runtime gate is registered as {name}, {whose}, and no daemon runs: these \
                 containers do not start"),
            "ebpf-netns run",
        ),
        _ => found.ok(CHECK, format!("the runtime gate is registered as {name}, {whose}")),
    }
}

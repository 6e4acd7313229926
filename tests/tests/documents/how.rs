//! How a command of a document is run, where that is not simply to its end and with success.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use ebpf_netns_tests::documents;

/// What is to become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It ends with this exit code.
    Ends(i32),
    /// It is the daemon: it goes on in the background, in the place of the one before.
    Daemon,
    /// The daemon is ended before it.
    Without,
    /// It goes on until it is interrupted, and has shown something by then.
    GoesOn,
    /// This is run in its place, since the machine of the tests differs in that.
    As(&'static str),
    /// It is not run, for this reason.
    Not(&'static str),
}

use How::{As, Daemon, Ends, GoesOn, Not, Without};

const BUILDS: &str = "takes cargo, and is read by xtask's own test";
const COMPOSE: &str = "what it starts is started by tests/tests/compose";
const INSTALLS: &str = "what is packed is installed and loaded by tests/tests/packages";
const PULLS: &str = "makes an image from a registry";

/// By the beginning of the command; the longest counts.
const TABLE: &[(&str, How)] = &[
    ("cargo ", Not(BUILDS)),
    ("sudo -E cargo ", Not(BUILDS)),
    ("git add ", Not("changes the repository")),
    ("docker compose -f compose/plugin.yaml ", Not(COMPOSE)),
    ("docker compose -f compose/demo.yaml ", Not(COMPOSE)),
    ("docker compose -f compose/dev.yaml ", Not(PULLS)),
    ("docker compose config |", Not("the files are read as they are by the line before")),
    ("docker run --rm --privileged --pid host alpine nsenter", Not("is for a virtual machine")),
    ("dpkg --install ebpf-netns_", Not(INSTALLS)),
    ("tar -C /usr/local ", Not(INSTALLS)),
    ("systemctl daemon-reload", Not(INSTALLS)),
    ("systemctl enable --now ebpf-netns", Not(INSTALLS)),
    ("docker load --input ebpf-netns-", Not(INSTALLS)),
    ("docker run --rm ebpf-netns:", Not(INSTALLS)),
    ("docker run --network n1 --label xdp.policy=drop-tpc", Ends(125)),
    ("docker run --network name=n1,", GoesOn),
    ("docker run --network guarded ", GoesOn),
    (
        "bpftool map dump pinned /sys/fs/bpf/ebpf-netns/containers/",
        // The id is that of the container, which is shown as far as a line has room.
        As("timeout 30 ebpf-netns status --watch | grep --max-count 1 'maps in'; \
            bpftool map dump pinned /sys/fs/bpf/ebpf-netns/containers/$(docker inspect \
            --format '{{.Id}}' web)/xdp_count/maps/packets"),
    ),
    ("ebpf-netns run", Daemon),
    ("ebpf-netns-plugin clean", Without),
    ("ebpf-netns top", GoesOn),
    ("ebpf-netns top --once", Ends(0)),
    ("ebpf-netns top --iterations", As("ebpf-netns top --iterations 2 --format json")),
    ("ebpf-netns capture web -w web.pcapng", GoesOn),
    (
        "ebpf-netns capture web -w - | wireshark",
        As("ebpf-netns capture web -w - --duration 1 | tshark -r -"),
    ),
    ("ebpf-netns trace", GoesOn),
    ("ebpf-netns trace --filter 'tcp prot 80'", Ends(2)),
    ("ebpf-netns status --watch", GoesOn),
    ("ebpf-netns exec web -- tcpdump", GoesOn),
    ("ebpf-netns check --label xdp.policy=log,drop-tpc", Ends(65)),
    ("ebpf-netns check --label 'tc.egress=allow dns\n", Ends(65)),
    ("ebpf-netns check --programs /etc/ebpf-netns/programs --label tc.program=", Ends(65)),
    (
        "ebpf-netns-plugin runtime install",
        As("ebpf-netns-plugin runtime install --config \"$DAEMON_JSON\""),
    ),
    (
        "ebpf-netns-plugin runtime install --dry-run",
        As("ebpf-netns-plugin runtime install --dry-run --config \"$DAEMON_JSON\""),
    ),
    (
        "ebpf-netns-plugin runtime install --default",
        As("ebpf-netns-plugin runtime install --default --config \"$DAEMON_JSON\""),
    ),
    (
        "ebpf-netns-plugin runtime status",
        As("ebpf-netns-plugin runtime status --config \"$DAEMON_JSON\""),
    ),
    (
        "ebpf-netns-plugin runtime uninstall",
        // It refuses while a container of the runtime is left.
        As("docker rm --force $(docker ps --all --quiet) && \
            ebpf-netns-plugin runtime uninstall --config \"$DAEMON_JSON\""),
    ),
    ("docker run --runtime ebpf-netns --label xdp.policy=drop-tcp", GoesOn),
    ("docker run --runtime ebpf-netns --label xdp.policy=drop-tpc", Ends(125)),
];

/// How to run it.
pub(crate) fn how(line: &str) -> How {
    entry(line).map_or(Ends(0), |(_, how)| *how)
}

fn entry(line: &str) -> Option<&'static (&'static str, How)> {
    TABLE.iter().filter(|(begin, _)| line.starts_with(begin)).max_by_key(|(begin, _)| begin.len())
}

#[test]
fn every_exception_is_one_of_a_command_that_documents_show() -> Result<()> {
    let mut used = BTreeSet::new();
    for document in documents::all()? {
        for shown in document.commands()? {
            used.extend(entry(&shown.line).map(|(begin, _)| *begin));
        }
    }
    let unused: Vec<_> = TABLE.iter().filter(|(begin, _)| !used.contains(begin)).collect();
    ensure!(unused.is_empty(), "no document shows these any more: {unused:?}");
    Ok(())
}

//! Findings for machines of every kind, as tables: what differs from a healthy one, and what is to be
//! said of it.

use std::cmp::Ordering;
use std::path::PathBuf;

use ebpf_netns::docker::{NetworkMode, Survey, SurveyedContainer, SurveyedNetwork};
use ebpf_netns::exit;

use super::super::{
    BpfFs, Daemon, Docker, Facts, Finding, Fit, Foreign, Hook, Host, Kernel, Leftovers, Level,
    Networks, Port, Report, Support, Unseen,
};
use super::{list, report};
use crate::config::OnError;
use crate::gate::Condition;
use crate::kernel::Layout;
use crate::kernel::probe::{Features, Hooks};
use crate::sandbox::Confinement;
use crate::status::{
    ConfigStatus, ContainerStatus, Counts, DockerStatus, QuarantineStatus, State, Status,
};

/// What makes a machine different.
type Change = fn(&mut Facts);

/// A machine that has everything.
fn healthy() -> Facts {
    let network = |name: &str, driver: &str, bridge: Option<&str>| SurveyedNetwork {
        name: name.to_owned(),
        driver: driver.to_owned(),
        bridge: bridge.map(str::to_owned),
    };
    let survey = Survey {
        version: "29.1.0".to_owned(),
        api: "1.52".to_owned(),
        system: "Debian GNU/Linux 12".to_owned(),
        firewall: Some("nftables".to_owned()),
        runtimes: [("ebpf-netns".to_owned(), Some(PathBuf::from("/usr/bin/ebpf-netns-runtime")))]
            .into(),
        networks: vec![
            network("bridge", "bridge", Some("docker0")),
            network("host", "host", None),
            network("outside", "macvlan", None),
            network("mesh", "overlay", None),
        ],
        containers: vec![container("web", &["bridge"], "tc.policy")],
        ..Survey::default()
    };
    Facts {
        kernel: Kernel {
            release: "6.12.0-1-amd64".to_owned(),
            features: Features { ring_buffer: Ok(true), lpm_trie: Ok(true), load_bytes: Ok(true) },
            programs: Ok(Support::There),
            jit: Ok(true),
            hooks: Ok(Hooks { xdp: Support::There, tcx: Support::There, clsact: Support::There }),
            strict: Ok(Support::There),
        },
        host: host(),
        docker: Docker {
            endpoint: "unix:///var/run/docker.sock".to_owned(),
            survey: Ok(survey),
            runtime_program: Some(Ok(true)),
        },
        networks: Ok(Networks {
            bridges: ["docker0".to_owned(), "lxcbr0".to_owned()].into(),
            ports: vec![port("veth1", "docker0"), port("vethlxc", "lxcbr0")],
            unseen: None,
        }),
        daemon: Daemon::Answers(Box::new(status())),
        leftovers: Leftovers {
            layouts: Ok(vec![layout(Ordering::Equal, 2)]),
            gate: Ok(Condition::Intact),
            foreign_gate: false,
        },
    }
}

fn host() -> Host {
    let all = ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_NICE", "SETPCAP"];
    Host {
        btf: true,
        tracefs: true,
        harden: Ok("1".to_owned()),
        unprivileged: Ok(Some("2".to_owned())),
        lockdown: Ok(None),
        bpf_fs: BpfFs { directory: "/sys/fs/bpf/ebpf-netns".into(), mounted: true, usual: true },
        held: Ok(all.map(|name| format!("CAP_{name}")).into()),
        needed: ["CAP_BPF", "CAP_NET_ADMIN"].map(str::to_owned).into(),
        first_user_namespace: true,
    }
}

fn status() -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        strict: Some(true),
        sandbox: Some(Confinement {
            capabilities: "CAP_BPF CAP_NET_ADMIN".to_owned(),
            landlock: "full, ABI 6".to_owned(),
            seccomp: "deny".to_owned(),
            gaps: Vec::new(),
        }),
        docker: DockerStatus::Connected { api: "1.52".to_owned() },
        config: ConfigStatus {
            file: None,
            since: 0,
            default: None,
            on_error: OnError::default(),
            policies: Vec::new(),
            refused: Vec::new(),
        },
        containers: Vec::new(),
        quarantined: Vec::new(),
        counts: Counts::default(),
    }
}

fn container(name: &str, networks: &[&str], label: &str) -> SurveyedContainer {
    SurveyedContainer {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        mode: NetworkMode::Network(networks.first().copied().unwrap_or_default().to_owned()),
        networks: networks.iter().map(|name| (*name).to_owned()).collect(),
        labels: vec![label.to_owned()],
    }
}

fn port(name: &str, bridge: &str) -> Port {
    Port { name: name.to_owned(), bridge: bridge.to_owned(), mtu: 1500, foreign: Vec::new() }
}

fn layout(age: Ordering, links: usize) -> Layout {
    Layout { path: "/sys/fs/bpf/ebpf-netns/v9".into(), age, links }
}

fn survey(facts: &mut Facts) -> &mut Survey {
    facts.docker.survey.as_mut().unwrap()
}

fn running(facts: &mut Facts) -> &mut Status {
    match &mut facts.daemon {
        Daemon::Answers(status) => status,
        other => panic!("a daemon that answers, not {other:?}"),
    }
}

fn attach(facts: &mut Facts, position: usize, hook: Hook) {
    let what = "program 7 (theirs)".to_owned();
    facts.networks.as_mut().unwrap().ports[position].foreign.push(Foreign { hook, what });
}

fn denied() -> Unseen {
    Unseen::denied("it takes more")
}

fn with(change: Change) -> Report {
    let mut facts = healthy();
    change(&mut facts);
    report(&facts)
}

fn of<'a>(report: &'a Report, check: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.check == check).collect()
}

/// Of a machine with this change, the check is told at this level, with all of these words.
#[track_caller]
fn check(change: Change, name: &str, level: Level, words: &[&str]) -> Report {
    let report = with(change);
    let found = of(&report, name);
    let found = found.iter().find(|finding| finding.level == level);
    let finding = found.unwrap_or_else(|| panic!("{name} at {level:?} in {:#?}", report.findings));
    let way_out = finding.way_out.as_deref().unwrap_or_default();
    let said = format!("{}; {way_out}; {}", finding.what, finding.subjects.join(" "));
    for word in words {
        assert!(said.contains(word), "{name}: {said:?} lacks {word:?}");
    }
    report
}

#[test]
fn a_machine_that_has_everything_is_fit_and_all_is_ok() {
    let report = with(|_| ());
    let bad: Vec<&Finding> =
        report.findings.iter().filter(|finding| finding.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!((report.verdict.fit, report.verdict.exit_code), (Fit::Yes, exit::OK));
    assert!(report.verdict.summary.ends_with("needs is there"), "{}", report.verdict.summary);
}

#[test]
fn what_enforcement_cannot_do_without_is_a_failure_and_makes_the_machine_unfit() {
    let cases: [(Change, &str, &[&str]); 14] = [
        (|f| f.kernel.release = "5.4.0-150-generic".into(), "kernel", &["5.8", "5.10 or later"]),
        (
            |f| f.kernel.programs = Ok(Support::Absent("the verifier says: no".into())),
            "programs",
            &["the verifier says: no", "5.10"],
        ),
        (|f| f.kernel.features.ring_buffer = Ok(false), "ring-buffer", &["5.10"]),
        (
            |f| {
                let hooks = f.kernel.hooks.as_mut().unwrap();
                hooks.tcx = Support::Absent("EINVAL".into());
                hooks.clsact = Support::Absent("ENOENT".into());
            },
            "tc",
            &["EINVAL", "ENOENT", "modprobe", "6.6"],
        ),
        (
            |f| {
                f.host.bpf_fs =
                    BpfFs { directory: "/mnt/bpf/x".into(), mounted: false, usual: false };
            },
            "bpffs",
            &["/mnt/bpf", "mount -t bpf bpf /mnt/bpf"],
        ),
        (
            |f| f.docker.survey = Err(Unseen::failed("nothing listens there")),
            "docker",
            &["nothing listens there", "--docker-host"],
        ),
        (|f| survey(f).api = "1.40".into(), "docker", &["too old", "20.10"]),
        (|f| survey(f).rootless = true, "rootless", &["network namespace of its own"]),
        (
            |f| survey(f).system = "Docker Desktop".into(),
            "docker-desktop",
            &["virtual machine", "compose/plugin.yaml"],
        ),
        (
            |f| f.networks.as_mut().unwrap().bridges = ["virbr0".to_owned()].into(),
            "bridges",
            &["docker0", "--network host"],
        ),
        (
            |f| f.leftovers.layouts = Ok(vec![layout(Ordering::Greater, 1)]),
            "leftovers",
            &["v9", "newer", "1 link", "clean"],
        ),
        (
            |f| {
                f.leftovers.layouts =
                    Ok(vec![layout(Ordering::Greater, 0), layout(Ordering::Less, 0)]);
            },
            "leftovers",
            &["newer", "0 links"],
        ),
        (|f| survey(f).api = "0.9".into(), "docker", &["API 0.9"]),
        (|f| f.kernel.release = "4.19.0".into(), "kernel", &["Linux 4.19.0"]),
    ];
    for (change, name, words) in cases {
        let Report { verdict, .. } = check(change, name, Level::Failure, words);
        assert_eq!((verdict.fit, verdict.exit_code), (Fit::No, exit::UNFIT), "{name}");
        assert!(verdict.summary.contains(name), "{name}: {}", verdict.summary);
    }
}

#[test]
fn what_works_less_well_is_a_warning_and_the_machine_is_fit() {
    let cases: [(Change, &str, &[&str]); 17] = [
        (|f| f.kernel.release = "5.9.1".into(), "kernel", &["older than any", "5.10"]),
        (|f| f.kernel.jit = Ok(false), "jit", &["interpreted", "bpf_jit_enable=1"]),
        (
            |f| f.kernel.hooks.as_mut().unwrap().xdp = Support::Absent("EINVAL".into()),
            "xdp",
            &["TC applies xdp.policy", "EINVAL", "5.9"],
        ),
        (
            |f| f.kernel.hooks.as_mut().unwrap().clsact = Support::Absent("ENOENT".into()),
            "clsact",
            &["closed later", "ENOENT", "modprobe sch_ingress"],
        ),
        (|f| f.host.first_user_namespace = false, "user-namespace", &["does not count"]),
        (
            |f| f.host.held = Ok(["CAP_BPF".to_owned()].into()),
            "capabilities",
            &["CAP_NET_ADMIN (to attach them", "grant what is missing"],
        ),
        (
            |f| f.docker.runtime_program = Some(Ok(false)),
            "runtime-gate",
            &["/usr/bin/ebpf-netns-runtime", "do not start", "runtime install"],
        ),
        (|f| f.daemon = Daemon::Absent, "runtime-gate", &["no daemon runs", "do not start"]),
        (|f| f.daemon = Daemon::Absent, "daemon", &["what was attached stays", "ebpf-netns run"]),
        (
            |f| f.daemon = Daemon::Absent,
            "strict-mode",
            &["new containers have no network", "clean"],
        ),
        (
            |f| f.daemon = Daemon::Unseen(Unseen::failed("no answer within 5000 ms")),
            "daemon",
            &["5000 ms", "its log"],
        ),
        (|f| running(f).version = "0.0.1".into(), "daemon", &["0.0.1", "restart"]),
        (
            |f| running(f).docker = DockerStatus::Unreachable { reason: "refused".into() },
            "daemon-docker",
            &["refused", "what is enforced stays"],
        ),
        (
            |f| running(f).config.refused = vec!["config.toml:3: no such key".into()],
            "configuration",
            &["config.toml:3", "reload"],
        ),
        (|f| f.leftovers.gate = Ok(Condition::Missing), "strict-mode", &["changed or removed"]),
        (
            |f| {
                survey(f).networks.push(SurveyedNetwork {
                    name: "old".into(),
                    driver: "bridge".into(),
                    bridge: Some("br-gone".into()),
                });
            },
            "bridges",
            &["br-gone"],
        ),
        (
            |f| {
                running(f).containers.push(ContainerStatus {
                    id: "id-of-web".into(),
                    name: "web".into(),
                    state: State::Open,
                    reason: None,
                    interfaces: Vec::new(),
                });
            },
            "open",
            &["web", "ebpf-netns status"],
        ),
    ];
    for (change, name, words) in cases {
        let Report { verdict, .. } = check(change, name, Level::Warning, words);
        assert_eq!((verdict.fit, verdict.exit_code), (Fit::Yes, exit::OK), "{name}");
        assert!(verdict.summary.contains("warning"), "{name}: {}", verdict.summary);
    }
}

#[test]
fn what_is_good_to_know_is_a_note_and_no_more() {
    let cases: [(Change, &str, &[&str]); 18] = [
        (
            |f| f.kernel.release = "5.15.167.4-microsoft-standard-WSL2".into(),
            "platform",
            &["WSL2", "TCX from its 6.6", "distribution"],
        ),
        (
            |f| f.kernel.release = "6.12.72-linuxkit".into(),
            "platform",
            &["Docker Desktop", "mounts no BPF file system", "clsact", "compose/plugin.yaml"],
        ),
        (|f| f.kernel.features.load_bytes = Ok(false), "xdp-helper", &["5.18", "CAP_PERFMON"]),
        (|f| f.kernel.features.lpm_trie = Ok(false), "lpm-trie", &["nothing of ours"]),
        (
            |f| f.kernel.hooks.as_mut().unwrap().tcx = Support::Absent("EINVAL".into()),
            "tcx",
            &["6.6", "clsact filters, which do the same"],
        ),
        (
            |f| f.kernel.strict = Ok(Support::Absent("no bridges".into())),
            "nftables-bridge",
            &["no bridges", "without --strict"],
        ),
        (|f| f.host.btf = false, "btf", &["nothing of ours needs them"]),
        (|f| f.host.tracefs = false, "tracefs", &["trace --exec alone needs it"]),
        (|f| f.host.harden = Ok("2".into()), "jit-hardening", &["slower", "bpf_jit_harden=1"]),
        (
            |f| f.host.unprivileged = Ok(Some("0".into())),
            "unprivileged-bpf",
            &["unprivileged_bpf_disabled=1"],
        ),
        (|f| f.host.lockdown = Ok(Some("confidentiality".into())), "lockdown", &["XDP and TC"]),
        (|f| f.host.bpf_fs.mounted = false, "bpffs", &["the daemon mounts one", "mount -t bpf"]),
        (|f| survey(f).runtimes.clear(), "runtime-gate", &["not certain", "runtime install"]),
        (|f| survey(f).networks.clear(), "bridges", &["no network of the driver bridge"]),
        (|f| running(f).strict = Some(false), "strict-mode", &["off", "--strict"]),
        (
            |f| running(f).sandbox.as_mut().unwrap().gaps = vec!["Landlock: absent".into()],
            "sandbox",
            &["Landlock: absent"],
        ),
        (
            |f| {
                running(f).quarantined.push(QuarantineStatus {
                    ifindex: 7.try_into().unwrap(),
                    name: "veth7".into(),
                    seconds: 3,
                    reason: "nobody's yet".into(),
                });
            },
            "quarantined",
            &["1 interface", "veth7"],
        ),
        (
            |f| f.leftovers.layouts = Ok(vec![layout(Ordering::Less, 3)]),
            "leftovers",
            &["older", "3 links", "takes over"],
        ),
    ];
    for (change, name, words) in cases {
        let Report { verdict, findings, .. } = check(change, name, Level::Note, words);
        assert_eq!((verdict.fit, verdict.exit_code), (Fit::Yes, exit::OK), "{name}");
        assert!(findings.iter().all(|one| one.level <= Level::Note), "{name}: {findings:#?}");
    }
}

#[test]
fn before_its_first_start_a_missing_daemon_is_nothing_to_warn_of() {
    let report = with(|facts| {
        facts.daemon = Daemon::Absent;
        facts.leftovers.layouts = Ok(Vec::new());
        facts.leftovers.gate = Ok(Condition::Missing);
        survey(facts).runtimes.clear();
    });
    let levels: Vec<Level> = of(&report, "daemon").iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Note]);
    assert!(of(&report, "strict-mode").is_empty(), "{report:#?}");
    assert!(report.findings.iter().all(|finding| finding.level <= Level::Note), "{report:#?}");
}

#[test]
fn what_could_not_be_looked_at_is_never_ok_and_leaves_the_machine_unknown_where_it_is_needed() {
    let cases: [(Change, &[&str], Fit); 14] = [
        (|f| f.kernel.programs = Err(denied()), &["programs"], Fit::Unknown),
        (|f| f.kernel.hooks = Err(denied()), &["xdp", "tcx", "clsact"], Fit::Unknown),
        (|f| f.kernel.features.ring_buffer = Err(denied()), &["ring-buffer"], Fit::Unknown),
        (|f| f.networks = Err(denied()), &["bridges"], Fit::Unknown),
        (|f| f.docker.survey = Err(denied()), &["docker", "unenforceable"], Fit::Unknown),
        (|f| f.host.held = Err(denied()), &["capabilities"], Fit::Unknown),
        (|f| f.kernel.features.lpm_trie = Err(denied()), &["lpm-trie"], Fit::Yes),
        (|f| f.kernel.features.load_bytes = Err(denied()), &["xdp-helper"], Fit::Yes),
        (|f| f.kernel.jit = Err(denied()), &["jit"], Fit::Yes),
        (|f| f.kernel.strict = Err(denied()), &["nftables-bridge"], Fit::Yes),
        (|f| f.host.harden = Err(denied()), &["jit-hardening"], Fit::Yes),
        (|f| f.host.lockdown = Err(denied()), &["lockdown"], Fit::Yes),
        (|f| f.daemon = Daemon::Unseen(denied()), &["daemon"], Fit::Yes),
        (|f| f.leftovers.layouts = Err(denied()), &["leftovers"], Fit::Yes),
    ];
    for (change, names, fit) in cases {
        let report = with(change);
        for name in names {
            let found = of(&report, name);
            assert!(!found.is_empty(), "{name} is told: {report:#?}");
            for finding in found {
                assert!(!finding.looked && finding.level != Level::Ok, "{finding:?}");
                assert!(finding.what.contains("it takes more"), "{finding:?}");
                assert_eq!(finding.way_out.as_deref(), Some("run this as root"));
            }
        }
        let code = if fit == Fit::Yes { exit::OK } else { exit::NOT_PERMITTED };
        assert_eq!((report.verdict.fit, report.verdict.exit_code), (fit, code), "{names:?}");
    }
}

#[test]
fn a_failure_counts_more_than_what_could_not_be_looked_at() {
    let report = with(|facts| {
        facts.kernel.programs = Err(denied());
        survey(facts).rootless = true;
    });
    assert_eq!(report.verdict.exit_code, exit::UNFIT);
}

#[test]
fn what_others_attached_is_told_of_where_it_matters() {
    type Case = (Hook, usize, &'static str, Option<Level>);
    let cases: [Case; 4] = [
        (Hook::Xdp, 0, "foreign-xdp", Some(Level::Warning)),
        (Hook::Tcx, 0, "foreign-tcx", Some(Level::Note)),
        (Hook::Clsact, 0, "foreign-clsact", Some(Level::Note)),
        // LXC's bridge is none of Docker's.
        (Hook::Xdp, 1, "foreign-xdp", None),
    ];
    for (hook, position, name, level) in cases {
        let mut facts = healthy();
        attach(&mut facts, position, hook);
        let report = report(&facts);
        let found = of(&report, name);
        assert_eq!(found.first().map(|finding| finding.level), level, "{hook:?} at {position}");
        for finding in found {
            assert_eq!(finding.subjects, ["veth1"]);
            assert!(finding.what.contains("veth1: program 7 (theirs)"), "{finding:?}");
        }
        let silent = of(&report, "foreign-programs").is_empty();
        assert_eq!(silent, level.is_some(), "{hook:?} at {position}: nobody else is there");
    }
}

#[test]
fn a_large_mtu_is_told_with_what_native_xdp_takes() {
    let large: Change = |facts| facts.networks.as_mut().unwrap().ports[0].mtu = 9000;
    check(large, "mtu", Level::Note, &["3,500", "veth1", "generic"]);
    assert!(of(&with(|_| ()), "mtu").is_empty(), "1,500 is no matter");
}

#[test]
fn containers_without_a_veth_are_told_with_the_reason() {
    const LABEL: &str = "xdp.policy";
    const OTHER: &str = "com.example";
    let join = |other: &str| NetworkMode::Container(other.to_owned());
    let on = |mode: NetworkMode, networks: &[&str], label: &str| SurveyedContainer {
        mode,
        ..container("one", networks, label)
    };
    let network = |name: &str| NetworkMode::Network(name.to_owned());
    for (subject, level, word) in [
        (on(NetworkMode::Host, &["host"], LABEL), Some(Level::Warning), "--network host"),
        (on(NetworkMode::Host, &["host"], OTHER), Some(Level::Note), "--network host"),
        (on(network("outside"), &["outside"], LABEL), Some(Level::Warning), "macvlan"),
        (on(network("bridge"), &["bridge", "outside"], LABEL), Some(Level::Warning), "outside"),
        (on(network("mesh"), &["mesh"], OTHER), Some(Level::Note), "overlay"),
        (on(join("id-of-agent"), &[], LABEL), Some(Level::Warning), "--network host"),
        (on(join("id-of-web"), &[], LABEL), None, ""),
        (on(join("id-of-one"), &[], LABEL), None, ""),
        (on(NetworkMode::None, &["none"], LABEL), None, ""),
        (on(network("bridge"), &["bridge"], LABEL), None, ""),
    ] {
        let mut facts = healthy();
        let mut agent = container("agent", &["host"], OTHER);
        agent.mode = NetworkMode::Host;
        survey(&mut facts).containers.extend([agent, subject.clone()]);
        let report = report(&facts);
        let found = of(&report, "unenforceable");
        let found = found.iter().find(|finding| finding.subjects.iter().any(|one| one == "one"));
        assert_eq!(found.map(|finding| finding.level), level, "{subject:?}: {found:?}");
        assert!(found.is_none_or(|finding| finding.what.contains(word)), "{subject:?}: {found:?}");
    }
}

#[test]
fn with_a_policy_of_the_operator_every_container_without_a_veth_is_warned_of() {
    let change: Change = |facts| {
        running(facts).config.default = Some("TC, both: drop-icmp".into());
        survey(facts).containers.push(SurveyedContainer {
            mode: NetworkMode::Host,
            ..container("agent", &["host"], "com.example")
        });
    };
    check(change, "unenforceable", Level::Warning, &["agent"]);
}

#[test]
fn names_in_a_sentence_are_few() {
    assert_eq!(list(["a", "b"]), "a, b");
    assert_eq!(list(["a", "b", "c", "d", "e"]), "a, b, c, d, e");
    assert_eq!(list(["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
}

#[test]
fn field_names_and_words_of_the_json_are_those_that_are_documented() {
    let report = with(|facts| survey(facts).rootless = true);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"]["fit"], "no");
    assert_eq!(json["verdict"]["exit_code"], 78);
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let findings = json["findings"].as_array().unwrap();
    let rootless = findings.iter().find(|finding| finding["check"] == "rootless").unwrap();
    assert_eq!(rootless["area"], "docker");
    assert_eq!(rootless["level"], "failure");
    assert_eq!(rootless["looked"], true);
    assert!(rootless["what"].is_string() && rootless["way_out"].is_string(), "{rootless}");
    assert!(rootless["subjects"].is_array(), "{rootless}");
}

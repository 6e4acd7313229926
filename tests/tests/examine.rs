//! Packets through the daemon's programs by a second instance of them: what it says is what the
//! reference says, and leaves no trace in what is attached.

use std::{collections::BTreeMap, fs, path::PathBuf, process, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns::{Ifindex, Rtnl};
use ebpf_netns_plugin::{
    datapath::{self, Program},
    explain::{self, Candidate, Case, Explanation, Given, Question, Subject},
    kernel::{InterfaceRules, Kernel, Pins, Programs, examine::Examiner},
    labels::{self, Policies},
    listing::{self, Listing, Resolved, StandingRules},
    origin::Author,
    plan::{Attachment, Hook, Step},
    policy::{Layer, Rules, Source},
    rules::{self, Addresses, Direction, Resolver, Wanted},
    status::{HostSide, State},
};
use ebpf_netns_tests::privilege;
use plugin_common::{
    abi::{Endpoint, InterfacePolicy},
    frames::{Sample, corpus},
    presets::Presets,
};

/// Nobody has a name.
struct Nobody;

impl Resolver for Nobody {
    fn resolve(&self, _wanted: Wanted<'_>) -> Addresses {
        Addresses::default()
    }
}

/// The programs, loaded and pinned in a directory of their own, and a policy on the loopback
/// interface, to which nothing is attached.
struct Stage {
    kernel: Kernel,
    pins: PathBuf,
    loopback: Ifindex,
}

impl Stage {
    fn new(name: &str) -> Result<Self> {
        let pins = PathBuf::from(format!("/sys/fs/bpf/examine-{}-{name}", process::id()));
        let opened = Pins::open(&pins)?;
        let (kernel, _events) = Kernel::new(Programs::load(&opened)?, opened)?;
        Ok(Self { kernel, pins, loopback: Ifindex::try_from(1)? })
    }

    fn examiner(&self) -> Result<Examiner> {
        Ok(Examiner::load(&self.kernel.maps_directory())?)
    }

    /// Puts the policy of labels on the interface.
    fn apply(&mut self, pairs: &[(&str, &str)]) -> Result<Subject> {
        let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let policy = labels::parse(&owned.collect())?.context("there is a policy")?;
        let author = Author::Labels { container: "web".to_owned() };
        let source = Source { author: &author, policies: &Policies::default() };
        let rules = Rules::of(&policy, source);
        let (number, standing) = self.write(&rules)?;
        let entry = InterfacePolicy {
            xdp: rules.xdp.map_or(Presets::PASS, |xdp| xdp.presets),
            egress: rules.egress.unwrap_or_default(),
            ingress: rules.ingress.unwrap_or_default(),
            rules: number,
        };
        let ifindex = self.loopback;
        let link = Rtnl::open()?.link(ifindex)?.context("there is a loopback interface")?;
        self.kernel.apply(Step::SetPolicy { ifindex, policy: entry }, &link)?;
        let programs = Hook::ALL.map(|hook| Some((hook, self.kernel.program(hook)?.clone())));
        Ok(Subject {
            container: "web".to_owned(),
            interfaces: vec![Candidate {
                name: "eth0".to_owned(),
                network: None,
                host: HostSide { name: link.name, ifindex, bridge: None },
                state: State::Enforced,
                reason: None,
                endpoint: ENDPOINT,
                policy: entry,
                ways: vec![
                    (Hook::Xdp, Attachment::XdpGeneric),
                    (Hook::Egress, Attachment::Tcx),
                    (Hook::Ingress, Attachment::Tcx),
                ],
                own: Vec::new(),
                asked: rules.asked,
                rules: standing,
            }],
            programs: programs.into_iter().flatten().collect::<BTreeMap<_, _>>(),
            maps: self.kernel.maps_directory(),
        })
    }

    fn write(&mut self, demanded: &Rules) -> Result<(u32, Option<StandingRules>)> {
        if !demanded.needs_rules() {
            return Ok((0, None));
        }
        let direction = |direction, layers: &[Layer]| -> Result<_> {
            let lists = layers.iter().map(|layer| &*layer.rules);
            let expansion = rules::expand(direction, lists, &Nobody);
            let audited = datapath::of_presets(listing::of_audit(demanded, direction));
            let compiled: Vec<datapath::Layer<'_>> = expansion
                .layers
                .iter()
                .zip(layers)
                .map(|(rules, layer)| datapath::Layer { rules, audit: layer.audit })
                .chain(audited.as_deref().map(|rules| datapath::Layer { rules, audit: true }))
                .collect();
            Ok((datapath::compile(&compiled)?, Resolved { expansion, audited }))
        };
        let (egress, of_egress) = direction(Direction::Egress, &demanded.egress_rules)?;
        let (ingress, of_ingress) = direction(Direction::Ingress, &demanded.ingress_rules)?;
        let program = Program { egress, ingress };
        let listing = Arc::new(Listing::new(demanded, of_egress, of_ingress, &program));
        let rules = InterfaceRules { program, endpoint: ENDPOINT };
        let number = self.kernel.write_rules(self.loopback, &rules)?;
        let first_counter = self.kernel.first_counter(number).context("rules have counters")?;
        Ok((number, Some(StandingRules { ifindex: self.loopback, first_counter, listing })))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A panic here would hide why the test failed.
        fs::remove_dir_all(&self.pins).ok();
    }
}

const ENDPOINT: Endpoint = Endpoint {
    v4: [u32::from_ne_bytes([192, 0, 2, 1]), 0, 0, 0],
    v6: [plugin_common::frames::build::SOURCE_V6, [0; 16], [0; 16], [0; 16]],
    mac: [2, 0, 0, 0, 0, 1],
    checked: 1,
};

fn explained(examiner: &mut Examiner, case: Case) -> Result<Explanation> {
    let outcomes = examiner.examine(&case)?;
    let explanation = explain::conclude(case, outcomes);
    let wrong = &explanation.disagreements;
    ensure!(wrong.is_empty(), "{:?}: {wrong:?}", explanation.on);
    ensure!(explanation.hooks.iter().all(|hook| hook.run), "all are run: {explanation:?}");
    Ok(explanation)
}

fn ask(examiner: &mut Examiner, subject: &Subject, packet: &str) -> Result<Explanation> {
    let packet = Given::Described(packet.parse()?);
    let question =
        Question { container: "web".to_owned(), interface: None, direction: None, packet };
    let case = explain::case(&question, subject).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    explained(examiner, case)
}

#[test]
fn what_each_layer_says_is_told_and_the_one_that_decides() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut stage = Stage::new("layers")?;
    let subject = stage.apply(&[
        ("xdp.policy", "drop-udp"),
        ("tc.policy", "drop-icmp"),
        ("tc.egress", "allow tcp 443\ndeny log to lan; allow any"),
        ("tc.ingress", "allow tcp 80 from 192.0.2.0/24"),
    ])?;
    let mut examiner = stage.examiner()?;
    for (packet, reason, dropped_at, decided_by, line) in [
        ("tcp container > 1.1.1.1:443", "passed", None, None, Some(1)),
        ("tcp container > 10.0.0.1:80", "denied", Some(Hook::Egress), Some(2), Some(2)),
        ("tcp container > 1.1.1.1:80", "passed", None, None, Some(2)),
        ("udp container > 1.1.1.1:53", "drop-udp", Some(Hook::Xdp), Some(0), Some(2)),
        ("icmp container > 1.1.1.1", "drop-icmp", Some(Hook::Egress), Some(1), Some(2)),
        ("tcp 192.0.2.9 > container:80", "passed", None, None, Some(1)),
        ("tcp 192.0.3.9 > container:80", "no-rule", Some(Hook::Ingress), Some(1), None),
    ] {
        let said = ask(&mut examiner, &subject, packet)?;
        ensure!(said.reason == reason && said.dropped_at == dropped_at, "{packet}: {said:?}");
        ensure!(said.passes == (reason == "passed") && !said.connection, "{packet}: {said:?}");
        ensure!(said.decided_by == decided_by, "{packet}: {said:?}");
        let rule = said.layers.last().context("rules say something")?;
        ensure!(rule.line == line, "{packet}: {rule:?}");
    }
    Ok(())
}

#[test]
fn an_audit_tells_what_would_be_dropped() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut stage = Stage::new("audit")?;
    let labels = [("tc.policy", "drop-udp"), ("tc.egress", "allow tcp"), ("tc.audit", "true")];
    let subject = stage.apply(&labels)?;
    let said = ask(&mut stage.examiner()?, &subject, "udp container > 1.1.1.1:53")?;
    ensure!(said.passes && said.decided_by.is_none(), "{said:?}");
    let would: Vec<&str> = said
        .layers
        .iter()
        .filter(|layer| layer.verdict == explain::Says::WouldDeny)
        .map(|layer| layer.rule.as_str())
        .collect();
    ensure!(would == ["no rule matches", "drop-udp"], "{said:?}");
    Ok(())
}

#[test]
fn the_programs_and_the_reference_agree_on_every_frame() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut stage = Stage::new("frames")?;
    let policies: [&[(&str, &str)]; 3] = [
        &[("xdp.policy", "drop-tcp"), ("tc.policy", "drop-icmp")],
        &[("tc.egress", "deny tcp 443; allow any"), ("tc.ingress", "allow udp; allow icmp")],
        &[("tc.egress", "allow any"), ("tc.policy", "drop-udp"), ("tc.audit", "true")],
    ];
    let mut examiner = stage.examiner()?;
    for (turn, labels) in policies.into_iter().enumerate() {
        let subject = stage.apply(labels)?;
        let mut passed = 0;
        let all = corpus();
        for (number, Sample { name, bytes, .. }) in all.iter().enumerate() {
            if !takes(bytes) {
                continue;
            }
            let sent = number % 2 == turn % 2;
            let direction = if sent { Direction::Egress } else { Direction::Ingress };
            let question = Question {
                container: "web".to_owned(),
                interface: None,
                direction: Some(direction),
                packet: Given::Frame(bytes.clone()),
            };
            let case = explain::case(&question, &subject)
                .map_err(|refused| anyhow::anyhow!("{name}: {refused}"))?;
            passed +=
                usize::from(explained(&mut examiner, case).with_context(|| name.clone())?.passes);
        }
        ensure!(passed > 0 && passed < all.len(), "{labels:?}: {passed} of {}", all.len());
    }
    Ok(())
}

/// Whether the kernel makes a packet of a frame, and a command takes it.
fn takes(frame: &[u8]) -> bool {
    let whole = match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, packet @ ..] => packet.len() >= 20,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, packet @ ..] => packet.len() >= 40,
        _ => true,
    };
    whole && (explain::MIN_FRAME..=explain::MAX_FRAME).contains(&frame.len())
}

//! Tests of the view as a whole: two answers, keys, and what is then on the screen.

mod acting;
mod rates;
mod screens;

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;

use super::draw::draw;
use super::interval::Interval;
use super::keys::Action;
use super::model::Model;
use super::rates::Sample;
use crate::config::OnError;
use crate::kernel::{Count, Traffic};
use crate::status::{
    ConfigStatus, ContainerStatus, Counts, DockerStatus, HookStatus, HostSide, InterfaceStatus,
    QuarantineStatus, State, Status,
};

/// What a hook has counted: packets of 100 bytes that passed, and what was dropped.
fn hook(hook: &str, direction: &str, passed: u64, dropped: &[(&str, u64)]) -> HookStatus {
    let count = |packets| Count { packets, bytes: packets * 100 };
    // What never occurred is left out.
    let dropped = dropped.iter().filter(|(_, packets)| *packets > 0);
    let dropped = dropped.map(|(why, packets)| ((*why).to_owned(), count(*packets)));
    HookStatus {
        hook: hook.to_owned(),
        direction: direction.to_owned(),
        host_side: String::new(),
        mode: None,
        policy: "drop-udp".to_owned(),
        program: None,
        traffic: Traffic { passed: count(passed), dropped: dropped.collect(), log_suppressed: 0 },
    }
}

fn container(name: &str, state: State, host: u32, hooks: Vec<HookStatus>) -> ContainerStatus {
    let host = HostSide {
        name: format!("veth{host}"),
        ifindex: host.try_into().unwrap(),
        bridge: Some("docker0".to_owned()),
    };
    let reason = (state == State::Closed).then(|| "label tc.policy: column 1: what?".to_owned());
    ContainerStatus {
        id: format!("{name}-id"),
        name: name.to_owned(),
        state,
        reason: reason.clone(),
        interfaces: vec![InterfaceStatus {
            name: "eth0".to_owned(),
            ifindex: 2.try_into().unwrap(),
            network: Some("lan".to_owned()),
            host: Some(host),
            state,
            reason,
            notes: Vec::new(),
            hooks,
            rules: Vec::new(),
            programs: Vec::new(),
        }],
    }
}

fn status(containers: Vec<ContainerStatus>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        strict: Some(true),
        sandbox: None,
        docker: DockerStatus::Connected { api: "1.47".to_owned() },
        config: ConfigStatus {
            file: None,
            since: 0,
            default: None,
            on_error: OnError::default(),
            policies: Vec::new(),
            refused: Vec::new(),
        },
        containers,
        quarantined: vec![QuarantineStatus {
            ifindex: 9.try_into().unwrap(),
            name: "veth9".to_owned(),
            seconds: 1,
            reason: String::new(),
        }],
        counts: Counts::default(),
    }
}

/// Two answers, two seconds apart.
fn samples(was: Vec<ContainerStatus>, now: Vec<ContainerStatus>) -> (Sample, Sample) {
    let at = Instant::now();
    let earlier = Sample { at, status: status(was) };
    (earlier, Sample { at: at + Duration::from_secs(2), status: status(now) })
}

/// Containers of every kind.
fn shop(passed: u64, dropped: u64) -> Vec<ContainerStatus> {
    let both = |passed, dropped| {
        vec![
            hook("tcx", "egress", passed, &[("drop-udp", dropped)]),
            hook("tcx", "ingress", passed * 2, &[]),
        ]
    };
    let mut bad = vec![hook("tcx", "egress", 0, &[("closed", 7)])];
    bad[0].policy = "closed".to_owned();
    let mut idle = container("idle", State::Idle, 9, vec![]);
    idle.interfaces.clear();
    vec![
        container("api", State::Enforced, 6, both(passed * 1_000, 0)),
        container("bad", State::Closed, 7, bad),
        idle,
        container("web\u{1b}[2J", State::Enforced, 8, both(passed, dropped)),
    ]
}

fn model(columns: u16, lines: u16) -> Model {
    let mut model = Model::new(Interval::default(), false);
    let (was, now) = samples(shop(10, 5), shop(20, 11));
    model.resize(columns, lines);
    model.learn(was);
    model.learn(now);
    model
}

/// What is on the screen, without the spaces at the ends of lines.
fn screen(model: &Model) -> String {
    let (columns, lines) = model.size;
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let symbols: Vec<&str> = buffer.content().iter().map(Cell::symbol).collect();
    let lines = symbols.chunks(usize::from(columns));
    let lines: Vec<String> = lines.map(|line| line.concat().trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

fn after(model: &mut Model, actions: &[Action]) -> String {
    for action in actions {
        model.act(*action);
    }
    screen(model)
}

//! What the text says, and that what is written about it agrees.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use ebpf_netns::Ifindex;

use super::catalogue::{ALL, Metric};
use super::process::Process;
use super::render::{Outside, render};
use super::*;
use crate::gate::{Counted, Dropped};
use crate::kernel::{Count, CountedAt, Traffic};
use crate::plan::Hook;
use crate::status::{Counts, State};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../compose/grafana/dashboards/ebpf-netns.json");

fn sample(containers: Vec<ContainerSample>) -> Sample {
    Sample {
        docker_reachable: true,
        strict: true,
        config_taken: false,
        config_since: UNIX_EPOCH + Duration::from_millis(1_500),
        quarantined: 3,
        backlog: 2,
        counts: Counts { repairs: 7, refused_reloads: 1, ..Counts::default() },
        containers,
    }
}

fn outside() -> Outside {
    let counted = |packets| Counted { packets, bytes: packets * 100 };
    Outside {
        started: UNIX_EPOCH + Duration::from_secs(9),
        process: Process {
            cpu: Duration::from_millis(250),
            resident_bytes: Some(4096),
            open_files: Some(12),
        },
        gate: Some(Dropped { from: counted(5), to: counted(6) }),
        queue_length: 4,
        engine_took: Duration::from_micros(500),
        log_lines_lost: 8,
        reports_lost: 9,
        docker_stalls: 10,
        docker_looked: Some(Duration::from_secs(11)),
    }
}

fn container(name: &str, interfaces: &[&str]) -> ContainerSample {
    let at = |hook| CountedAt { ifindex: Ifindex::try_from(7).unwrap(), hook, passes: None };
    let interface = |name: &&str| InterfaceSample {
        name: (*name).to_owned(),
        counted: [Hook::Xdp, Hook::Egress, Hook::Ingress].map(at).into(),
    };
    ContainerSample {
        id: "0123456789abcdef".repeat(4),
        name: name.to_owned(),
        state: State::Enforced,
        interfaces: interfaces.iter().map(interface).collect(),
    }
}

/// At XDP two packets for one reason and three for another; at TC one passed.
fn traffic(at: CountedAt) -> Traffic {
    let count = |packets| Count { packets, bytes: packets * 60 };
    if at.hook != Hook::Xdp {
        return Traffic { passed: count(1), ..Traffic::default() };
    }
    let dropped = [("drop-tcp".to_owned(), count(2)), ("malformed".to_owned(), count(3))];
    Traffic { dropped: dropped.into(), log_suppressed: 6, ..Traffic::default() }
}

fn text(containers: Vec<ContainerSample>) -> String {
    render(sample(containers), &outside(), traffic).unwrap()
}

/// The names of the metrics that have a TYPE.
fn names(text: &str) -> BTreeSet<&str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line}\n\nin\n{text}");
}

#[test]
fn each_hook_tells_what_passed_and_what_was_dropped_and_why() {
    let text = text(vec![container("web", &["eth0"])]);
    let labels = |direction: &str, hook: &str| {
        format!(
            "container=\"web\",id=\"0123456789ab\",interface=\"eth0\",direction=\"{direction}\",hook=\"{hook}\""
        )
    };
    let (xdp, ingress) = (labels("egress", "xdp"), labels("ingress", "tc"));
    says(&text, &format!("ebpf_netns_dropped_packets_total{{{xdp}}} 5"));
    says(&text, &format!("ebpf_netns_dropped_bytes_total{{{xdp}}} 300"));
    says(&text, &format!("ebpf_netns_passed_packets_total{{{xdp}}} 0"));
    says(&text, &format!("ebpf_netns_log_suppressed_packets_total{{{xdp}}} 6"));
    let by_reason = "ebpf_netns_dropped_by_reason_packets_total";
    says(&text, &format!("{by_reason}{{{xdp},reason=\"drop-tcp\"}} 2"));
    says(&text, &format!("{by_reason}{{{xdp},reason=\"malformed\"}} 3"));
    says(&text, &format!("ebpf_netns_passed_packets_total{{{ingress}}} 1"));
    says(&text, &format!("ebpf_netns_passed_bytes_total{{{ingress}}} 60"));
    says(&text, &format!("ebpf_netns_dropped_packets_total{{{ingress}}} 0"));
}

#[test]
fn the_engine_and_what_is_around_it_are_told() {
    let text = text(vec![container("web", &[])]);
    for line in [
        "ebpf_netns_containers{state=\"enforced\"} 1",
        "ebpf_netns_containers{state=\"open\"} 0",
        "ebpf_netns_quarantined_interfaces 3",
        "ebpf_netns_repairs_total 7",
        "ebpf_netns_config_reloads_total{result=\"refused\"} 1",
        "ebpf_netns_config_last_reload_successful 0",
        "ebpf_netns_config_loaded_timestamp_seconds 1.5",
        "ebpf_netns_docker_reachable 1",
        "ebpf_netns_docker_last_look_timestamp_seconds 11",
        "ebpf_netns_strict_dropped_packets_total{end=\"from\"} 5",
        "ebpf_netns_strict_dropped_bytes_total{end=\"to\"} 600",
        "ebpf_netns_engine_answer_seconds 0.0005",
        "process_cpu_seconds_total 0.25",
        "process_open_fds 12",
        "process_start_time_seconds 9",
    ] {
        says(&text, line);
    }
}

#[test]
fn every_metric_of_the_catalogue_is_told_with_its_type_and_help_and_no_other() {
    let text = text(vec![container("web", &["eth0"])]);
    assert_eq!(names(&text), ALL.iter().map(|metric| metric.name).collect());
    for Metric { name, kind, help, .. } in ALL {
        says(&text, &format!("# HELP {name} {help}"));
        says(&text, &format!("# TYPE {name} {}", kind.name()));
        assert_eq!(name.ends_with("_total"), kind.name() == "counter", "{name}");
        let is_ours = name.starts_with("ebpf_netns_") || name.starts_with("process_");
        assert!(is_ours && !help.ends_with('.'), "{name}: {help}");
    }
}

#[test]
fn without_strict_mode_and_docker_their_numbers_are_missing_and_not_zero() {
    let outside = Outside { gate: None, docker_looked: None, ..outside() };
    let text = render(sample(Vec::new()), &outside, traffic).unwrap();
    for missing in ["ebpf_netns_strict_dropped", "ebpf_netns_docker_last_look"] {
        assert!(!text.contains(missing), "{missing} in {text}");
    }
}

#[test]
fn odd_names_are_escaped_and_bounded() {
    let long = "x".repeat(10_000);
    for (name, expected) in [
        ("plain", "plain"),
        ("quo\"te", "quo\\\"te"),
        ("back\\slash", "back\\\\slash"),
        ("line\nbreak", "line\\\\nbreak"),
        ("} 1\nfalse 1", "} 1\\\\nfalse 1"),
        ("k\u{e4}se", "k\u{e4}se"),
        ("\u{1b}[2J", "\\\\u{1b}[2J"),
        ("bidi\u{202e}", "bidi\\\\u{202e}"),
        // What bytes that are not UTF-8 have become where they were read.
        ("bad\u{fffd}", "bad\u{fffd}"),
        (&long, &format!("{}...", "x".repeat(64))),
    ] {
        let text = text(vec![container(name, &["eth0"])]);
        let label = format!("{{container=\"{expected}\",id=");
        assert!(text.contains(&label), "{label} in\n{text}");
        let longest = text.lines().map(str::len).max();
        assert!(longest < Some(400), "{longest:?}");
        let odd = text.lines().find(|line| !line.starts_with("# ") && line.split(' ').count() < 2);
        assert_eq!(odd, None, "each line is a series and its value");
    }
    let text = text(vec![container("web", &[&"\"\n".repeat(100)])]);
    assert!(text.contains("interface=\"\\\"\\\\n\\\"\\\\n"), "{text}");
}

#[test]
fn no_series_is_there_twice_even_where_names_and_ids_are_the_same() {
    let web = container("web", &["eth0", "eth0"]);
    let text = text(vec![web.clone(), web]);
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series} is there twice");
    }
    let passed = text.lines().find(|line| line.starts_with("ebpf_netns_passed_packets_total"));
    assert!(passed.unwrap().ends_with(" 4"), "what they counted is added up: {passed:?}");
}

#[test]
fn beyond_the_limits_containers_and_interfaces_are_counted_and_have_no_series() {
    let names: Vec<String> = (0..MOST_CONTAINERS + 3).map(|n| format!("c{n:04}")).collect();
    let mut containers: Vec<_> = names.iter().map(|name| container(name, &["eth0"])).collect();
    containers.reverse();
    let many = text(containers);
    says(&many, "ebpf_netns_omitted_containers 3");
    says(&many, "ebpf_netns_omitted_interfaces 3");
    says(&many, &format!("ebpf_netns_containers{{state=\"enforced\"}} {}", names.len()));
    assert!(many.contains("\"c0499\"") && !many.contains("\"c0500\""), "the first by name");

    let interfaces: Vec<String> = (0..MOST_INTERFACES + 2).map(|n| format!("eth{n}")).collect();
    let interfaces: Vec<&str> = interfaces.iter().map(String::as_str).collect();
    let text = text(vec![container("web", &interfaces)]);
    says(&text, "ebpf_netns_omitted_containers 0");
    says(&text, "ebpf_netns_omitted_interfaces 2");
    assert!(text.contains("\"eth15\"") && !text.contains("\"eth16\""));
}

#[test]
fn the_document_has_each_metric_as_it_is() {
    let rows: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = ALL
        .iter()
        .map(|Metric { name, kind, help, labels }| {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            format!("| `{name}` | {} | {labels} | {help} |", kind.name())
        })
        .collect();
    assert_eq!(rows, expected, "docs/metrics.md has:\n{}", expected.join("\n"));
    for (what, limit) in [("containers", MOST_CONTAINERS), ("interfaces", MOST_INTERFACES)] {
        assert!(DOCUMENT.contains(&format!("{limit} {what}")), "the limit of {what}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, &["expr", "query"], &mut queries);
    assert!(queries.len() > 10, "{queries:?}");
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    let mut asked = BTreeSet::new();
    for query in &queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        asked.extend(
            words.filter(|word| word.starts_with("ebpf_netns") || word.starts_with("process_")),
        );
    }
    assert!(asked.len() > 15, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}");
}

/// Every text that stands below one of these keys.
fn texts<'a>(value: &'a serde_json::Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    serde_json::Value::String(text) if keys.contains(&key.as_str()) => {
                        found.push(text);
                    }
                    _ => texts(value, keys, found),
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                texts(item, keys, found);
            }
        }
        _ => {}
    }
}

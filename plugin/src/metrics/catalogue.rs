//! Every metric there is: its name, what it tells, and the names of its labels. Data.
//!
//! No label has a text of a user's but for the names of a container and of its interfaces, which are
//! bounded and made printable; rules are no label.

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What becomes of its value.
    pub kind: Kind,
    /// What it tells, in one sentence without the full stop.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, but for when what it counts begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

const NONE: &[&str] = &[];
const HOOK: &[&str] = &["container", "id", "interface", "direction", "hook"];
const HOOK_AND_REASON: &[&str] = &["container", "id", "interface", "direction", "hook", "reason"];

macro_rules! catalogue {
    ($($constant:ident $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: $labels };)+

        /// All of them, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

catalogue! {
    PASSED_PACKETS Counter "ebpf_netns_passed_packets_total" HOOK,
        "Packets that passed a hook of a container's interface";
    PASSED_BYTES Counter "ebpf_netns_passed_bytes_total" HOOK,
        "Bytes of these packets, from the Ethernet header on";
    DROPPED_PACKETS Counter "ebpf_netns_dropped_packets_total" HOOK,
        "Packets that were dropped at a hook of a container's interface, for whatever reason";
    DROPPED_BYTES Counter "ebpf_netns_dropped_bytes_total" HOOK,
        "Bytes of these packets, from the Ethernet header on";
    DROPPED_FOR Counter "ebpf_netns_dropped_by_reason_packets_total" HOOK_AND_REASON,
        "The dropped packets by reason; a reason that never occurred is left out";
    LOG_SUPPRESSED Counter "ebpf_netns_log_suppressed_packets_total" HOOK,
        "Packets that were to be reported in the log and were not, over the rate of reports";
    CONTAINERS Gauge "ebpf_netns_containers" &["state"],
        "Containers that have a policy, by what it amounts to";
    OMITTED_CONTAINERS Gauge "ebpf_netns_omitted_containers" NONE,
        "Containers without series of their own, since there are too many";
    OMITTED_INTERFACES Gauge "ebpf_netns_omitted_interfaces" NONE,
        "Interfaces without series of their own, since there are too many";
    QUARANTINED Gauge "ebpf_netns_quarantined_interfaces" NONE,
        "Interfaces that are closed now until it is known whose they are";
    BACKLOG Gauge "ebpf_netns_backlog_interfaces" NONE,
        "Interfaces on which something that takes the kernel long is left to do";
    QUARANTINES Counter "ebpf_netns_quarantines_total" NONE,
        "New interfaces that were closed until it was known whose they are";
    REPAIRS Counter "ebpf_netns_repairs_total" NONE,
        "Attachments, policies and pins that somebody else removed and that were put back";
    RECONCILIATIONS Counter "ebpf_netns_reconciliations_total" NONE,
        "How often what is attached was compared with what should be";
    LINK_OVERRUNS Counter "ebpf_netns_link_overruns_total" NONE,
        "How often the kernel had more news of links than could be read";
    RECORD_FAILURES Counter "ebpf_netns_record_failures_total" NONE,
        "Records that could not be written, read or removed";
    REPORTS_LOST Counter "ebpf_netns_reports_lost_total" NONE,
        "Reports of packets that the engine had no time for";
    LOG_LINES_LOST Counter "ebpf_netns_log_lines_lost_total" NONE,
        "Lines of the log that nobody could be given";
    RELOADS Counter "ebpf_netns_config_reloads_total" &["result"],
        "Configurations that were loaded again, by what came of it";
    CONFIG_TAKEN Gauge "ebpf_netns_config_last_reload_successful" NONE,
        "Whether the configuration that was loaded last is the one that holds";
    CONFIG_SINCE Gauge "ebpf_netns_config_loaded_timestamp_seconds" NONE,
        "When the configuration that holds was loaded, since 1970";
    DOCKER_REACHABLE Gauge "ebpf_netns_docker_reachable" NONE,
        "Whether Docker answers";
    DOCKER_OUTAGES Counter "ebpf_netns_docker_outages_total" NONE,
        "How often Docker ceased to answer";
    DOCKER_STALLS Counter "ebpf_netns_docker_event_stalls_total" NONE,
        "How often Docker's events stalled and were subscribed to again";
    DOCKER_LOOKED Gauge "ebpf_netns_docker_last_look_timestamp_seconds" NONE,
        "When Docker was last asked for everything and answered, since 1970";
    QUEUE_LENGTH Gauge "ebpf_netns_engine_queue_length" NONE,
        "Events that wait for the engine";
    ENGINE_ANSWER Gauge "ebpf_netns_engine_answer_seconds" NONE,
        "How long the engine took to answer for these metrics";
    STRICT Gauge "ebpf_netns_strict" NONE,
        "Whether strict mode is on";
    GATE_PACKETS Counter "ebpf_netns_strict_dropped_packets_total" &["end"],
        "Frames that strict mode dropped, from or to a port that was not let through";
    GATE_BYTES Counter "ebpf_netns_strict_dropped_bytes_total" &["end"],
        "Bytes of these frames, without the Ethernet header";
    BUILD Gauge "ebpf_netns_build_info" &["version"],
        "The daemon's version; the value is 1";
    CPU Counter "process_cpu_seconds_total" NONE,
        "Processor time that the daemon took";
    RESIDENT Gauge "process_resident_memory_bytes" NONE,
        "Memory of the daemon that is resident";
    OPEN_FILES Gauge "process_open_fds" NONE,
        "Files that the daemon has open";
    STARTED Gauge "process_start_time_seconds" NONE,
        "When the daemon started, since 1970";
}

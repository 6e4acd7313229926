//! Where and under what load was measured: figures mean nothing without it.

use std::fs;

/// One line about the machine as it is now.
pub(crate) fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    format!(
        "Linux {}, {}, {cpus} CPUs, frequency governor {}, JIT {} (hardening {}), {}",
        read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        model().unwrap_or_else(|| "unknown processor".to_owned()),
        governor.unwrap_or_else(|| "not visible".to_owned()),
        read("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default(),
        read("/proc/sys/net/core/bpf_jit_harden").unwrap_or_default(),
        load(),
    )
}

/// How busy it is.
pub(crate) fn load() -> String {
    let load = read("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("load average {}", load.join(" "))
}

fn model() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

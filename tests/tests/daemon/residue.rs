//! What of eBPF the kernel holds, for tests that nothing of ours is left and everything of others.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use ebpf_netns_plugin::status::Status;
use ebpf_netns_tests::{Machine, command::output_of};
use serde_json::Value;

/// The ids of the programs that a status names.
pub(crate) fn programs(status: &Status) -> BTreeSet<u32> {
    let interfaces = status.containers.iter().flat_map(|container| &container.interfaces);
    let hooks = interfaces.flat_map(|interface| &interface.hooks);
    hooks.filter_map(|hook| Some(hook.program.as_ref()?.id)).collect()
}

/// The ids of the maps of some programs, by name: what `bpftool prog show` says.
pub(crate) fn maps(
    machine: &Machine,
    programs: &BTreeSet<u32>,
    name: &str,
) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let shown = show(machine, "prog", *program)?.context("the program is loaded")?;
        let ids = shown["map_ids"].as_array().context("the program has maps")?;
        for id in ids.iter().filter_map(Value::as_u64) {
            let id = u32::try_from(id)?;
            let map = show(machine, "map", id)?.context("its maps are there")?;
            if map["name"] == name {
                found.insert(id);
            }
        }
    }
    Ok(found)
}

/// How many entries a map has.
pub(crate) fn entries(machine: &Machine, map: u32) -> Result<usize> {
    let dump = machine.run("bpftool", ["-j", "map", "dump", "id", &map.to_string()])?;
    let dump: Value = serde_json::from_str(&dump)?;
    dump.as_array().map(Vec::len).context("bpftool prints a list")
}

/// Whether a program or map is loaded, by its id.
pub(crate) fn is_loaded(machine: &Machine, kind: &str, id: u32) -> Result<bool> {
    Ok(show(machine, kind, id)?.is_some())
}

/// The ids of the links of some programs.
pub(crate) fn links(machine: &Machine, programs: &BTreeSet<u32>) -> Result<BTreeSet<u64>> {
    let shown: Value = serde_json::from_str(&machine.run("bpftool", ["-j", "link", "show"])?)?;
    let all = shown.as_array().context("bpftool prints a list")?;
    let ours = |link: &&Value| {
        let id = link["prog_id"].as_u64().and_then(|id| u32::try_from(id).ok());
        id.is_some_and(|id| programs.contains(&id))
    };
    Ok(all.iter().filter(ours).filter_map(|link| link["id"].as_u64()).collect())
}

/// Everything that `bpftool net` and `tc` show in a machine: XDP, clsact filters, qdiscs. What no
/// tool of this distribution shows, TCX, is seen in [`links`].
pub(crate) fn attached(machine: &Machine) -> Result<String> {
    let net = machine.run("bpftool", ["-j", "net", "show"])?;
    let net: Value = serde_json::from_str(&net)?;
    let qdiscs = machine.run("tc", ["qdisc", "show"])?;
    let qdiscs: Vec<&str> = qdiscs.lines().filter(|line| !line.contains("noqueue")).collect();
    Ok(format!("xdp {} tc {} qdiscs {qdiscs:?}", net[0]["xdp"], net[0]["tc"]))
}

fn show(machine: &Machine, kind: &str, id: u32) -> Result<Option<Value>> {
    let mut bpftool = machine.command("bpftool");
    let output = output_of(bpftool.args(["-j", kind, "show", "id", &id.to_string()]))?;
    if !output.status.success() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

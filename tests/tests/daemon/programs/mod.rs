//! The operator's programs: compiled with clang and with aya's toolchain, named by labels, and attached
//! with the guarantees of ours.

mod closed;
mod listed;
mod lives;
mod works;

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use ebpf_netns_plugin::status::OwnStatus;
use ebpf_netns_tests::{Daemon, Machine, Programs, command::stdout_of};
use serde_json::Value;

use crate::scene::{Scene, container, only_interface};

/// A daemon that has these programs.
fn with_programs<'a>(
    scene: &'a Scene,
    programs: &Programs,
    arguments: &[&str],
) -> Result<Daemon<'a>> {
    scene.daemon_with(&[&[programs.argument().as_str()], arguments].concat())
}

/// The programs on a container's only interface.
fn own(daemon: &Daemon<'_>, name: &str) -> Result<Vec<OwnStatus>> {
    Ok(only_interface(&container(daemon, name)?)?.programs.clone())
}

/// A number in a map that is pinned in a directory, by its key, as `bpftool` shows it.
fn counted(machine: &Machine, maps: &Path, map: &str, key: u8) -> Result<u64> {
    let pin = maps.join(map).display().to_string();
    let shown = machine.run("bpftool", ["-j", "map", "dump", "pinned", &pin])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let entries = shown.as_array().context("bpftool shows a list")?;
    let key = format!("0x{key:02x}");
    let entry = entries.iter().find(|entry| entry["key"][0] == key.as_str());
    let bytes = entry.with_context(|| format!("no {key} in {shown}"))?["value"].as_array();
    let bytes = bytes.context("a value of bytes")?.iter().rev();
    bytes.filter_map(Value::as_str).try_fold(0, |number, byte| {
        let byte = u64::from_str_radix(byte.trim_start_matches("0x"), 16)?;
        Ok(number << 8 | byte)
    })
}

/// The address of the host that a container sends by.
fn gateway(scene: &Scene, name: &str) -> Result<IpAddr> {
    let inside = scene.engine().from_container(name)?;
    let route = stdout_of(inside.command("ip").args(["-4", "-j", "route", "show", "default"]))?;
    let route: Value = serde_json::from_str(&route)?;
    Ok(route[0]["gateway"].as_str().context("a gateway")?.parse()?)
}

//! Oracle 4: what is left when the daemon, its `clean` and the containers are gone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    arena::Arena,
    diff::{OURS, parse_list},
};
use crate::{
    command::output_of,
    machine::Machine,
    wait::{DEADLINE, wait_for},
};

/// Where the daemon keeps what outlives it.
const PLACES: [&str; 4] =
    ["/sys/fs/bpf/ebpf-netns", "/run/ebpf-netns", "/run/netns", "/run/docker/plugins"];
/// A lock stays: removing it while another waits for it would give two of them.
const LOCK: &str = "lock";

/// Everything in a machine that could be left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residue {
    files: BTreeSet<PathBuf>,
    qdiscs: BTreeSet<String>,
    links: BTreeSet<String>,
    attached: String,
    tables: String,
}

impl Residue {
    /// Looks.
    ///
    /// # Errors
    ///
    /// When a tool fails.
    pub fn of(machine: &Machine) -> Result<Self> {
        let mut files = BTreeSet::new();
        for place in PLACES {
            collect(&machine.outside(place), Path::new(place), &mut files);
        }
        let qdiscs = machine.run("tc", ["qdisc", "show"])?;
        let qdiscs = qdiscs.lines().filter(|line| !line.contains("noqueue")).map(str::to_owned);
        let links = parse_list(&machine.run("ip", ["-json", "link", "show"])?)?;
        let links = links.iter().filter_map(|link| link.get("ifname")?.as_str().map(str::to_owned));
        let net: Value = serde_json::from_str(&machine.run("bpftool", ["-j", "net", "show"])?)?;
        Ok(Self {
            files,
            qdiscs: qdiscs.collect(),
            links: links.collect(),
            attached: net.to_string(),
            tables: tables(machine)?,
        })
    }
}

/// The files below a directory; directories themselves do no harm. What vanishes meanwhile is gone.
fn collect(outside: &Path, inside: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(outside).into_iter().flatten().flatten() {
        let inside = inside.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &inside, files);
        } else if inside.extension().is_none_or(|extension| extension != LOCK) {
            files.insert(inside);
        }
    }
}

/// The tables of nftables, where its tool is installed; Docker's own are those of iptables.
fn tables(machine: &Machine) -> Result<String> {
    let list = "if command -v nft >/dev/null; then nft list tables bridge; fi";
    machine.run("sh", ["-c", list])
}

impl Arena<'_> {
    /// The ids of our programs that stand on an interface or are pinned now.
    pub(super) fn our_programs(&self) -> Result<BTreeSet<u64>> {
        let shown = self.machine().run("bpftool", ["-j", "-f", "prog", "show"])?;
        let mut ids = BTreeSet::new();
        for program in parse_list(&shown)? {
            let name = program.get("name").and_then(Value::as_str).unwrap_or_default();
            // Programs of other machines are shown too; those have no pin in this one.
            let pinned = program.get("pinned").and_then(Value::as_array);
            if name.starts_with(OURS) && pinned.is_some_and(|pins| !pins.is_empty()) {
                ids.extend(program.get("id").and_then(Value::as_u64));
            }
        }
        let net: Value =
            serde_json::from_str(&self.machine().run("bpftool", ["-j", "net", "show"])?)?;
        let ours = |key: &str| {
            let all = net.pointer(&format!("/0/{key}")).and_then(Value::as_array).cloned();
            all.into_iter().flatten().filter_map(|one| one.get("id").and_then(Value::as_u64))
        };
        ids.extend(ours("xdp").chain(ours("tc")));
        Ok(ids)
    }

    /// Removes every container, ends the daemon in order, cleans, and compares with `before`.
    ///
    /// # Errors
    ///
    /// When something is left, or the daemon did not end as it should.
    pub(super) fn leave_nothing(&mut self, before: &Residue) -> Result<()> {
        let programs = self.our_programs()?;
        self.beats.clear();
        let all = self.engine().docker(["ps", "--all", "--quiet"])?;
        if !all.is_empty() {
            self.remove(&all.lines().collect::<Vec<_>>())?;
        }
        self.take_daemon()?.stop()?;
        self.plugin(&["clean"]).context("clean")?;
        wait_for(DEADLINE, "nothing to be left", || {
            let after = Residue::of(self.machine())?;
            ensure!(after == *before, "before: {before:?}\nafter: {after:?}");
            for id in &programs {
                let id = id.to_string();
                let mut show = self.machine().command("bpftool");
                let shown = output_of(show.args(["prog", "show", "id", &id]))?;
                ensure!(!shown.status.success(), "program {id} is still loaded");
            }
            Ok(())
        })
    }
}

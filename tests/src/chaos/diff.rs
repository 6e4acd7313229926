//! Oracle 2: what should stand on each container's veths, by Docker's list and the labels, against
//! what does stand, by the kernel's tools and by the daemon's own account.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    arena::Arena,
    policy::{Demand, Policy},
};
use crate::wait::wait_for;

/// What the names of all our kernel programs begin with.
pub(super) const OURS: &str = "ebpf_netns";

/// A running container.
#[derive(Debug)]
struct Running {
    name: String,
    pid: u64,
}

impl Arena<'_> {
    /// Waits until desired and actual are the same, and returns how long that took.
    ///
    /// # Errors
    ///
    /// When they are not in time; the error names the first difference.
    pub fn converged(&self, within: Duration) -> Result<Duration> {
        let start = Instant::now();
        // One look takes some time itself, and the one that succeeds began before it ended.
        let mut began = start;
        wait_for(within, "desired and actual policies to agree", || {
            began = Instant::now();
            self.difference()
        })?;
        Ok(began - start)
    }

    /// The first difference between desired and actual, as an error.
    fn difference(&self) -> Result<()> {
        let veths = self.host_veths()?;
        let attached = self.attached(&veths)?;
        let status = self.daemon()?.status()?;
        for Running { name, pid } in self.running()? {
            let policy = self.senders().get(&name).map_or(Policy::None, |sender| sender.policy);
            for (interface, host) in self.peers(pid)? {
                ensure!(veths.contains_key(&host), "the peer {host} of {name}'s {interface}");
                let actual = attached.get(&host).copied().unwrap_or_default();
                let demand = policy.demand();
                let what = format!("on {name}'s {interface}, veth {host}, {policy:?}");
                if policy == Policy::None {
                    ensure!(actual == demand, "{what}: {actual:?} although there is no label");
                }
                ensure!(actual.egress || !demand.egress, "{what}: nothing judges what it sends");
                ensure!(actual.ingress || !demand.ingress, "{what}: nothing judges its ingress");
            }
            account(&status, &name, policy)?;
        }
        Ok(())
    }

    /// The running containers.
    fn running(&self) -> Result<Vec<Running>> {
        let ids = self.engine().docker(["ps", "--quiet", "--no-trunc"])?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let format = ["inspect", "--format", "{{.State.Pid}} {{.Name}}"];
        let shown = self.engine().docker(format.into_iter().chain(ids.lines()))?;
        let rows = shown.lines().map(|line| {
            let (pid, name) = line.split_once(" /").context("a pid and a name")?;
            Ok(Running { name: name.to_owned(), pid: pid.parse()? })
        });
        rows.collect()
    }

    /// The veths of the machine's own namespace: index and name.
    fn host_veths(&self) -> Result<BTreeMap<u64, String>> {
        let shown = self.machine().run("ip", ["-json", "link", "show", "type", "veth"])?;
        let links = parse_list(&shown)?;
        let veths = links.iter().filter_map(|link| {
            Some((link.get("ifindex")?.as_u64()?, link.get("ifname")?.as_str()?.to_owned()))
        });
        Ok(veths.collect())
    }

    /// The interfaces of a container, each with the index of its peer.
    fn peers(&self, pid: u64) -> Result<Vec<(String, u64)>> {
        let netns = format!("/proc/{pid}/ns/net");
        let mut ip = self.machine().command_in(netns, "ip");
        let shown = crate::command::stdout_of(ip.args(["-json", "link", "show", "type", "veth"]))?;
        let peers = parse_list(&shown)?.into_iter().filter_map(|link| {
            Some((link.get("ifname")?.as_str()?.to_owned(), link.get("link_index")?.as_u64()?))
        });
        Ok(peers.collect())
    }

    /// The first interface of a container, and the name of its host-side veth.
    pub(super) fn first_peer(&self, container: &str) -> Result<(String, String)> {
        let pid = self.engine().pid(container)?;
        let peers = self.peers(pid.into())?;
        let (interface, host) = peers.first().with_context(|| format!("{container} has one"))?;
        let name = self.host_veths()?.remove(host).context("its peer is on the host")?;
        Ok((interface.clone(), name))
    }

    /// In which directions a program of ours judges, by the index of the veth.
    fn attached(&self, veths: &BTreeMap<u64, String>) -> Result<BTreeMap<u64, Demand>> {
        let mut found: BTreeMap<u64, Demand> = BTreeMap::new();
        if veths.is_empty() {
            return Ok(found);
        }
        let indices: Vec<String> = veths.keys().map(u64::to_string).collect();
        let arguments = ["attached", "--format=json"].into_iter();
        let arguments: Vec<&str> = arguments.chain(indices.iter().map(String::as_str)).collect();
        for program in parse_list(&self.plugin(&arguments)?)? {
            let name = program.pointer("/program/name").and_then(Value::as_str);
            let index = program.get("ifindex").and_then(Value::as_u64);
            let hook = program.get("hook").and_then(Value::as_str);
            let (Some(name), Some(index), Some(hook)) = (name, index, hook) else {
                bail!("`attached` says {program}")
            };
            if name.starts_with(OURS) {
                let demand = found.entry(index).or_default();
                demand.egress |= hook == "xdp" || hook.ends_with("-ingress");
                demand.ingress |= hook.ends_with("-egress");
            }
        }
        let qdiscs = self.machine().run("tc", ["qdisc", "show"])?;
        for (index, name) in veths {
            if qdiscs.lines().any(|line| line.contains(&format!("clsact ffff: dev {name} "))) {
                let filters =
                    |side| self.machine().run("tc", ["filter", "show", "dev", name, side]);
                let demand = found.entry(*index).or_default();
                demand.egress |= filters("ingress")?.contains(OURS);
                demand.ingress |= filters("egress")?.contains(OURS);
            }
        }
        Ok(found)
    }
}

/// What the daemon itself says of a container agrees with its labels.
fn account(status: &Value, name: &str, policy: Policy) -> Result<()> {
    let all = status.get("containers").and_then(Value::as_array).into_iter().flatten();
    let its = all.clone().find(|one| one.get("name").is_some_and(|its| its == name));
    let state = its.and_then(|one| one.get("state")).and_then(Value::as_str);
    let expected: &[Option<&str>] = match policy {
        Policy::None => &[None],
        Policy::Invalid => &[Some("closed"), Some("blocked")],
        _ => &[Some("enforced")],
    };
    ensure!(expected.contains(&state), "status says {state:?} of {name}, {policy:?}: {its:?}");
    Ok(())
}

pub(super) fn parse_list(text: &str) -> Result<Vec<Value>> {
    // `ip -json` says nothing at all where there is nothing.
    let text = if text.is_empty() { "[]" } else { text };
    serde_json::from_str(text).with_context(|| format!("a list, not {text:?}"))
}

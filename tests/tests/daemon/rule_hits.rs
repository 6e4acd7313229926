//! What each rule decided over, as `status --rules` tells it of real packets.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, LayerStatus, State, Status};
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon,
    command::stdout_of,
    privilege,
    traffic::{Http, Vantage},
    wait_for,
};

use crate::{
    config::configured,
    scene::{Scene, ping_works, udp_works, wait_state},
};

/// `status --rules`, of one container.
pub(crate) fn with_rules(daemon: &Daemon<'_>, name: &str) -> Result<ContainerStatus> {
    let text = stdout_of(daemon.plugin()?.args(["status", "--rules", "--format", "json"]))?;
    let status: Status = serde_json::from_str(&text)?;
    let found = status.containers.into_iter().find(|container| container.name == name);
    found.with_context(|| format!("status tells of {name}"))
}

/// The lists of rules of a container's only interface.
fn lists(daemon: &Daemon<'_>, name: &str) -> Result<Vec<LayerStatus>> {
    let mut container = with_rules(daemon, name)?;
    Ok(container.interfaces.pop().context("it has an interface")?.rules)
}

/// Line and packets of each rule of a list.
fn hits(list: &LayerStatus) -> Vec<(Option<u32>, u64)> {
    list.rules.iter().map(|rule| (rule.line, rule.hits.packets)).collect()
}

fn http(from: &Vantage<'_>, to: IpAddr) -> Result<()> {
    let http = from.http(to)?;
    ensure!(http == Http::Answered(200), "HTTP to {to}: {http:?}");
    Ok(())
}

#[test]
fn status_tells_what_each_rule_decided_over() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let text = "[default]\ntc.egress = \"deny tcp 81\\nallow any\"\n";
    let configuration = Configuration::new(scene.machine(), text)?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("db", &[("tc.ingress", "allow tcp 80; allow icmp echo-request\ndeny udp")])?;
    let labels =
        [("tc.egress", "allow tcp to container:db\nallow icmp echo-request"), ("tc.audit", "true")];
    scene.run("web", &labels)?;
    for name in ["db", "web"] {
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    // The name of the container is known a moment after it is.
    wait_for(DEADLINE, "the name to be known", || {
        let notes = with_rules(&daemon, "web")?.interfaces;
        ensure!(notes.iter().all(|one| one.notes.is_empty()), "{notes:?}");
        Ok(())
    })?;
    let from = scene.engine().from_container("web")?;
    let to = scene.addresses("db")?;
    for address in to {
        http(&from, address)?;
        ensure!(ping_works(&from, address)?, "ping of {address}");
        ensure!(!udp_works(&from, (address, 5000).into())?, "db takes no UDP");
    }
    let refused = from.http_at((to[0], 81).into())?;
    ensure!(refused == Http::TimedOut, "the operator's rule: {refused:?}");

    let web = lists(&daemon, "web")?;
    let [default, labels] = web.as_slice() else { anyhow::bail!("two lists: {web:?}") };
    let file = configuration.file().display().to_string();
    let origin = default.origins.first().context("it was written somewhere")?;
    let origin = origin.seen_by("web").to_string();
    ensure!(origin == format!("[default] tc.egress ({file})"), "{origin}");
    let denied = hits(default).first().copied().context("a rule")?;
    ensure!(denied.0 == Some(1) && denied.1 > 0, "{default:?}");
    ensure!(labels.audit && labels.direction == "egress", "{labels:?}");
    // A connection each, however many packets it had; and what would be dropped.
    let [tcp, icmp, rest] = hits(labels).try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    ensure!((tcp, icmp) == ((Some(1), 2), (Some(2), 2)), "{labels:?}");
    ensure!(rest.0.is_none() && rest.1 >= 2, "{labels:?}");

    let db = lists(&daemon, "db")?;
    let ingress = db.iter().find(|list| list.direction == "ingress").context("its label")?;
    let [tcp, icmp, udp, rest] =
        hits(ingress).try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    // The rest is what others multicast.
    ensure!((tcp, icmp, rest.0) == ((Some(1), 2), (Some(1), 2), None), "{ingress:?}");
    ensure!(udp.0 == Some(2) && udp.1 >= 2, "{ingress:?}");

    let table = stdout_of(daemon.plugin()?.args(["status", "--rules"]))?;
    for words in [
        format!("web eth0 egress, [default] tc.egress ({file})\n"),
        "web eth0 egress, label tc.egress, audit: what it would drop passes\n".to_owned(),
        "db eth0 ingress, label tc.ingress\n".to_owned(),
        "1     allow tcp to container:db  2".to_owned(),
    ] {
        ensure!(table.contains(&words), "{words:?}: {table}");
    }
    let plain = stdout_of(daemon.plugin()?.args(["status", "--format=json"]))?;
    ensure!(!plain.contains("\"rules\""), "only where they are asked for: {plain}");
    scene.end(daemon)
}

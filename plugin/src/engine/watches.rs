//! Who watches which interfaces: what is wanted of each is written with its policy, by the same step,
//! and taken off with it when nobody wants it any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebpf_netns::Ifindex;
use ebpf_netns::veth::VethPair;
use plugin_common::presets::Presets;
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::Engine;
use super::explain::may_be_called;
use super::world::{Watched as Container, World};
use crate::explain::Refused;
use crate::facts::ContainerFacts;
use crate::plan::{Step, Target};
use crate::watch::{Watch, WatchAsked, Watched, WatchedInterface};

/// Watchers that there can be at once.
const MOST: usize = 64;

/// Who watches.
#[derive(Default)]
pub(super) struct Watches {
    watchers: Vec<Watcher>,
    /// What all of them want of each interface.
    wanted: BTreeMap<Ifindex, Presets>,
}

/// Somebody who watches.
struct Watcher {
    /// Names of containers; none are all.
    containers: Vec<String>,
    watches: Presets,
    table: watch::Sender<Arc<Watched>>,
    /// Who waits for the watch to stand.
    waits: Option<(Watch, oneshot::Sender<Result<Watch, Refused>>)>,
}

impl Watcher {
    fn wants(&self, facts: &ContainerFacts) -> bool {
        self.containers.is_empty() || self.containers.iter().any(|name| may_be_called(facts, name))
    }
}

impl Watches {
    /// Finds out what is wanted of each interface now, and who is gone.
    pub(super) fn look(&mut self, world: &World) {
        self.watchers.retain(|watcher| !watcher.table.is_closed());
        self.wanted.clear();
        for watcher in &self.watchers {
            for container in world.containers.values().filter(|one| watcher.wants(&one.facts)) {
                for pair in container.pairs() {
                    let wanted = self.wanted.entry(pair.host.index).or_default();
                    *wanted = *wanted | watcher.watches;
                }
            }
        }
    }

    /// A target, with what is wanted of the interface.
    pub(super) fn add_to(&self, ifindex: Ifindex, target: &Target) -> Target {
        let watches = self.wanted.get(&ifindex).copied().unwrap_or_default();
        Target { policy: target.policy.watched(watches), ..target.clone() }
    }
}

impl Engine {
    /// Takes in somebody who wants to watch, who hears of it when the watch stands.
    pub(super) fn watch(&mut self, asked: WatchAsked) {
        let WatchAsked { containers, watches, reply } = asked;
        let refused = if self.watches.watchers.len() >= MOST {
            Some(Refused::changing(format!("{MOST} watch already: try again when one is done")))
        } else {
            containers.iter().find_map(|name| self.policed(name).err())
        };
        if let Some(refused) = refused {
            // Whoever asked may have gone.
            reply.send(Err(refused)).ok();
            return;
        }
        let (watch, table) = Watch::new(self.own.clone());
        let waits = Some((watch, reply));
        self.watches.watchers.push(Watcher { containers, watches, table, waits });
    }

    /// Tells those who watch what they watch.
    pub(super) fn tell_watchers(&mut self) {
        let mut watchers = std::mem::take(&mut self.watches.watchers);
        for watcher in &mut watchers {
            let watched = self.watched_by(watcher);
            watcher.table.send_if_modified(|table| {
                let is_new = **table != watched;
                if is_new {
                    *table = Arc::new(watched);
                }
                is_new
            });
            if let Some((watch, reply)) = watcher.waits.take() {
                // Whoever asked may have gone, and the watch is with that.
                reply.send(Ok(watch)).ok();
            }
        }
        self.watches.watchers = watchers;
    }

    fn watched_by(&self, watcher: &Watcher) -> Watched {
        let containers = self.world.containers.values();
        let containers = containers.filter(|container| watcher.wants(&container.facts));
        let pairs = containers.flat_map(|one| one.pairs().map(move |pair| (one, pair)));
        pairs.map(|(one, pair)| (pair.host.index, self.watched_interface(one, pair))).collect()
    }

    fn watched_interface(&self, container: &Container, pair: &VethPair) -> WatchedInterface {
        WatchedInterface {
            container: container.facts.name.clone(),
            id: container.facts.id.clone(),
            interface: pair.container.name.clone(),
            host: pair.host.name.clone(),
            rules: self.standing_rules(pair.host.index),
        }
    }

    /// Takes off what somebody wanted of interfaces: of a daemon before this one, or at the end.
    pub(super) fn take_watches_off(&mut self) {
        let known = self.world.enforced.iter();
        let watched: Vec<_> = known
            .filter_map(|(ifindex, known)| {
                let policy = known.current.policy?;
                let plain = policy.watched(Presets::PASS);
                (plain != policy).then_some((*ifindex, plain))
            })
            .collect();
        for (ifindex, policy) in watched {
            let Some(link) = self.world.veths.get(&ifindex).cloned() else { continue };
            if self.step(ifindex, Step::SetPolicy { ifindex, policy }, &link).is_err() {
                warn!(%ifindex, "is still watched, by nobody: the next daemon ends that");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ebpf_netns::docker::NetworkMode;
    use ebpf_netns::veth::Interface;
    use ebpf_netns::{Link, LinkKind, Nsid};

    use super::super::world::Claim;
    use super::*;
    use crate::facts::{Life, Snapshot};

    fn link(own: u32, peer: u32) -> Link {
        Link {
            index: own.try_into().unwrap(),
            name: format!("veth{own}"),
            kind: LinkKind::Veth,
            mac: None,
            peer_index: Some(peer.try_into().unwrap()),
            peer_nsid: Nsid::new(1),
            master: None,
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: None,
        }
    }

    /// A world of two containers, `web` on interface 10 and `db` on 20.
    fn world() -> World {
        let facts = |name: &str| ContainerFacts {
            id: format!("{name}0123"),
            name: name.to_owned(),
            labels: [("tc.policy".to_owned(), "drop-tcp".to_owned())].into(),
            network: NetworkMode::Network("bridge".to_owned()),
            life: Life::Unplaced,
            endpoints: Vec::new(),
            service: None,
            nameservers: None,
        };
        let containers = vec![facts("web"), facts("db")];
        let mut world = World::default();
        world.set_seen(Snapshot { containers, ..Snapshot::default() });
        for (id, own) in [("web0123", 10), ("db0123", 20)] {
            let nsid = Nsid::new(1).unwrap();
            let pair = VethPair { host: link(own, 2), container: link(2, own), nsid };
            let interfaces = vec![Interface::Veth(Box::new(pair))];
            world.containers.get_mut(id).unwrap().claim = Claim::Interfaces { nsid, interfaces };
        }
        world
    }

    /// What each of these watchers wants, and for how long.
    fn watch(watches: &mut Watches, name: &[&str], bits: Presets) -> watch::Receiver<Arc<Watched>> {
        let (table, lasts) = watch::channel(Arc::default());
        let containers = name.iter().map(|name| (*name).to_owned()).collect();
        watches.watchers.push(Watcher { containers, watches: bits, table, waits: None });
        lasts
    }

    #[track_caller]
    fn check(watches: &mut Watches, web: Presets, db: Presets) {
        watches.look(&world());
        let target = Target::default();
        for (ifindex, expected) in [(10, web), (20, db)] {
            let policy = watches.add_to(Ifindex::try_from(ifindex).unwrap(), &target).policy;
            let all = [policy.xdp, policy.egress, policy.ingress];
            assert_eq!(all, [expected; 3], "interface {ifindex}");
        }
    }

    #[test]
    fn an_interface_has_what_all_who_watch_it_want_and_for_no_longer() {
        let mut watches = Watches::default();
        check(&mut watches, Presets::PASS, Presets::PASS);
        let web = watch(&mut watches, &["web"], Presets::WATCH_DROPS);
        check(&mut watches, Presets::WATCH_DROPS, Presets::PASS);
        let by_id = watch(&mut watches, &["web0"], Presets::WATCH_PASSES);
        let both = Presets::WATCH_DROPS | Presets::WATCH_PASSES;
        check(&mut watches, both, Presets::PASS);
        let all = watch(&mut watches, &[], Presets::CAPTURE);
        check(&mut watches, both | Presets::CAPTURE, Presets::CAPTURE);
        drop(web);
        check(&mut watches, Presets::WATCH_PASSES | Presets::CAPTURE, Presets::CAPTURE);
        drop((by_id, all));
        check(&mut watches, Presets::PASS, Presets::PASS);
        assert!(watches.watchers.is_empty());
    }
}

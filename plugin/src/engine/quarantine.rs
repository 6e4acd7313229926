//! Closing veths of which it is not known yet whose they are, and letting go of those that need no
//! policy.

use std::time::Instant;

use ebpf_netns::monitor::Moved;
use ebpf_netns::veth::VethPair;
use ebpf_netns::{Ifindex, Link, Namespace, Nsid, text};
use plugin_common::abi::InterfacePolicy;
use tracing::{debug, error, info, warn};

use super::Engine;
use super::claims::peer;
use super::endpoints::WhoseEndpoint;
use super::enforce::{ATTEMPTS, Budget, Stopped};
use super::newcomers::{Held, OF_BYSTANDER, Peer, Whose};
use crate::error::chain;
use crate::event::Event;
use crate::kernel::Done;
use crate::plan::{Outcome, Step, quarantine, steps};
use crate::records::{Owner, Progress, Record};

/// Of how many veths the kernel is asked at a time where nothing waits for the answer.
const ASKED_AT_ONCE: usize = 16;

/// What a veth is told of that nothing is known of yet.
const NEW: &str = "Docker has not answered yet";

impl Engine {
    /// Takes over what an earlier daemon left: it stays as it is until it is known whose it is.
    pub(super) fn inherit(&mut self) {
        let records = self.records.inherited();
        let veths: Vec<&Link> = self.world.veths.values().collect();
        let found = match self.kernel.inherit(&veths) {
            Ok(found) => found,
            Err(error) => {
                error!(error = chain(&error), "what an earlier daemon left cannot be listed");
                return;
            }
        };
        for ifindex in records.keys().filter(|ifindex| !found.contains_key(ifindex)) {
            self.records.remove(*ifindex);
        }
        let since = self.look.ask();
        for (ifindex, standing) in found {
            let heir_of = records.get(&ifindex).and_then(|record| record.container.as_ref());
            let heir_of = heir_of.map(|owner| owner.id.clone());
            info!(%ifindex, ways = standing.ways.len(), "taken over from an earlier daemon");
            self.world.enforced.entry(ifindex).or_default().current = standing;
            let held = Held { since, at: Instant::now(), heir_of, reason: NEW };
            self.world.newcomers.hold(ifindex, held);
        }
        // Who watched by the daemon before is gone.
        self.take_watches_off();
    }

    /// Closes a veth that is new, before anything is asked.
    pub(super) fn quarantine(&mut self, link: &Link) {
        self.begin_to_close(link);
        // It went meanwhile: nobody would take off the list what is put there now.
        if !self.world.enforced.contains_key(&link.index) {
            return;
        }
        let since = self.look.ask();
        let held = Held { since, at: Instant::now(), heir_of: None, reason: NEW };
        self.world.newcomers.hold(link.index, held);
        self.record(link.index, Progress::Pending, None);
        self.counts.quarantined += 1;
    }

    /// Has a veth closed by whatever closes it quickest, without waiting for that: who it belongs to may
    /// be heard of meanwhile.
    fn begin_to_close(&mut self, link: &Link) {
        let ifindex = link.index;
        let known = self.world.enforced.entry(ifindex).or_default();
        let target = quarantine(NEW.to_owned(), &known.refusals).target;
        let guard = [Step::Guard { ifindex }];
        if steps(ifindex, &known.current, &target, &known.refusals) != guard {
            return self.close(link);
        }
        known.let_go = false;
        // One that was begun before and not wanted any more will do.
        if self.closing.insert(ifindex, true).is_some() {
            return;
        }
        let reply = self.reply(Event::Guarded);
        self.kernel.begin_guard(link, reply);
    }

    /// Takes in that a veth is closed, or why it could not be.
    pub(super) fn guarded(&mut self, done: Done) {
        let ifindex = done.ifindex();
        let wanted = self.closing.remove(&ifindex).unwrap_or_default();
        let taken = self.kernel.take(done);
        let Some(link) = self.world.veths.get(&ifindex).cloned() else {
            // What hung on it went with it.
            return self.kernel.release_gone(ifindex);
        };
        match taken {
            Ok(_) => self.account(ifindex, Step::Guard { ifindex }),
            Err(refusal) => debug!(%ifindex, %refusal, "not closed in one step"),
        }
        let known = self.world.enforced.entry(ifindex).or_default();
        if !wanted || known.current.ways.is_empty() && known.let_go {
            self.release(ifindex);
        } else if known.current.ways.is_empty() {
            self.close(&link);
        }
    }

    /// Closes a veth by whatever closes it quickest.
    pub(super) fn close(&mut self, link: &Link) {
        for _ in 0..ATTEMPTS {
            let known = self.world.enforced.entry(link.index).or_default();
            known.let_go = false;
            let choice = quarantine(NEW.to_owned(), &known.refusals);
            if let Outcome::Open(reason) = &choice.outcome {
                let interface = text::printable(&link.name);
                error!(%interface, reason, "OPEN: a new interface could not be closed");
            }
            match self.approach(link.index, &choice.target, Some(link), &mut Budget::Anything) {
                Ok(_) => {
                    debug!(interface = %text::printable(&link.name), "closed until it is known whose it is");
                    return;
                }
                Err(Stopped::Gone) => return self.forget(link.index),
                Err(stopped) => {
                    if !self.note_stop(link, stopped) {
                        return;
                    }
                }
            }
        }
    }

    /// The other end of a newcomer has gone to a container, which the kernel tells nobody at this end of
    /// before that is up, and then frames follow at once.
    pub(super) fn follow_newcomer(&mut self, moved: Moved) {
        let Some(ifindex) = self.world.newcomer_opposite(moved.index) else { return };
        let Some(link) = self.world.veths.get(&ifindex) else { return };
        let (peer_index, peer_nsid) = (Some(moved.new_index), Some(moved.nsid));
        self.link_changed(&Link { peer_index, peer_nsid, ..link.clone() });
    }

    /// A network that a container without a policy is connected to is open at once: nothing has to be
    /// asked for that, and it is not to wait for anybody else's.
    pub(super) fn let_bystander_go(&mut self, link: &Link) {
        if self.world.newcomers.is_held(link.index) {
            self.let_go(link, OF_BYSTANDER);
        } else if self.world.is_newcomer(link) {
            self.world.newcomers.clear_because(link, OF_BYSTANDER);
            self.admit(link.index);
        } else {
            self.world.newcomers.stays_clear(link);
        }
    }

    /// Finds out whose the newcomers are.
    pub(super) fn look_at_newcomers(&mut self) {
        let now = Instant::now();
        let held: Vec<(Ifindex, Held)> =
            self.world.newcomers.held().map(|(ifindex, held)| (ifindex, held.clone())).collect();
        let closely = self.world.has_patience_ended(now);
        self.describe_everyone(closely);
        for (ifindex, held) in held {
            self.hear_of_links();
            if !self.world.newcomers.is_held(ifindex) {
                continue;
            }
            let Some(link) = self.world.veths.get(&ifindex).cloned() else { continue };
            match self.world.whose_endpoint(ifindex) {
                None => {}
                Some(WhoseEndpoint::Nobodys) => {
                    self.let_go(&link, OF_BYSTANDER);
                    continue;
                }
                Some(WhoseEndpoint::Unknown(reason)) => {
                    if let Some(held) = self.world.newcomers.get_mut(ifindex) {
                        held.reason = reason;
                    }
                    continue;
                }
            }
            let other_end = match peer(&self.rtnl, &link) {
                Ok(other_end) => other_end,
                Err(reason) => {
                    warn!(%ifindex, reason, "the other end could not be looked up");
                    continue;
                }
            };
            let facts = Peer {
                mac: other_end.as_ref().and_then(|link| link.mac),
                among_bystanders: closely && self.is_among_bystanders(link.peer_nsid),
            };
            match self.world.whose(&link, &held, facts, now) {
                Whose::Nobodys(reason) => self.let_go(&link, reason),
                Whose::Astray(id) => self.keep_astray(&id, link, other_end),
                Whose::Unknown(reason) => {
                    if let Some(held) = self.world.newcomers.get_mut(ifindex) {
                        held.reason = reason;
                    }
                }
            }
        }
    }

    /// Finds out who of those that were let be is of a container that has no policy: what such a one
    /// is connected to later is let go without asking Docker.
    pub(super) fn recognise_bystanders(&mut self) {
        let unasked: Vec<Ifindex> = self.world.newcomers.unasked().take(ASKED_AT_ONCE).collect();
        for ifindex in unasked {
            self.hear_of_links();
            let Some(link) = self.world.veths.get(&ifindex).cloned() else { continue };
            let mac = peer(&self.rtnl, &link).ok().flatten().and_then(|link| link.mac);
            let of_bystander = self.world.is_of_bystander(&link, mac);
            self.world.newcomers.asked(&link, of_bystander);
        }
    }

    /// Docker may know by now what it did not when a newcomer came.
    pub(super) fn ask_for_newcomers(&self) {
        if self.world.newcomers.held().next().is_some() {
            self.look.ask();
        }
    }

    fn is_among_bystanders(&self, nsid: Option<Nsid>) -> bool {
        nsid.is_some()
            && self.world.bystanders.places().any(|place| {
                Namespace::of_container(place.sandbox_key.as_deref(), None)
                    .ok()
                    .and_then(|namespace| self.rtnl.nsid(&namespace).ok())
                    == nsid
            })
    }

    fn let_go(&mut self, link: &Link, reason: &'static str) {
        let interface = text::printable(&link.name);
        debug!(%interface, reason, "let go");
        self.world.newcomers.clear_because(link, reason);
        self.open(link);
        self.admit(link.index);
    }

    /// Lets all of an interface's traffic pass, in one write to a map. Taking off what is attached has
    /// to wait for a lock of the kernel's, which others may hold for long; nobody waits for that.
    fn open(&mut self, link: &Link) {
        let ifindex = link.index;
        let policy = InterfacePolicy::default();
        if self.step(ifindex, Step::SetPolicy { ifindex, policy }, link).is_err() {
            return self.release(ifindex);
        }
        self.world.enforced.entry(ifindex).or_default().let_go = true;
        self.enforce(ifindex, None);
    }

    /// Its container moved it away while no daemon ran, or before: it keeps its policy.
    fn keep_astray(&mut self, id: &str, host: Link, container: Option<Link>) {
        let Some(nsid) = host.peer_nsid else { return };
        let ifindex = host.index;
        let Some(watched) = self.world.containers.get_mut(id) else { return };
        let container = container.unwrap_or_else(|| host.clone());
        watched.astray.push(VethPair { host, container, nsid });
        self.world.newcomers.claimed(ifindex);
    }

    /// Has it written down how far an interface is.
    pub(super) fn record(&mut self, ifindex: Ifindex, state: Progress, owner: Option<Owner>) {
        let name = self.world.veths.get(&ifindex).map_or("", |link| link.name.as_str());
        self.records.put(Record::new(ifindex, name, state, owner));
    }
}

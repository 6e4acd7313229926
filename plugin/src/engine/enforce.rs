//! Carrying out what was decided for one interface, and deciding again when the kernel refuses.

use ebpf_netns::veth::{self, VethPair};
use ebpf_netns::{ErrorClass, Ifindex, Link, text};
use tracing::{debug, error, info, warn};

use super::Engine;
use super::world::Wanted;
use crate::kernel::Refusal;
use crate::plan::{Attachment, Choice, Hook, Outcome, Step, Target, TcFlavour, choose, steps};

/// More often than this nothing can be refused for one interface: each way is tried once.
const ATTEMPTS: usize = 10;

/// How carrying out steps ended early.
enum Stopped {
    /// The kernel refuses this attachment.
    Refused(Hook, Attachment, Refusal),
    /// The kernel refuses something that has no alternative.
    Failed(Refusal),
    /// The interface is gone.
    Gone,
}

impl Engine {
    /// Brings an interface to where it should be; `None` releases it.
    pub(super) fn enforce(&mut self, ifindex: Ifindex, wanted: Option<Wanted>) {
        match wanted {
            None => self.release(ifindex),
            Some(wanted) => {
                for _ in 0..ATTEMPTS {
                    if self.converge(ifindex, &wanted) {
                        return;
                    }
                }
                error!(%ifindex, "no way to attach was left untried: a bug");
            }
        }
    }

    /// One attempt; `false` when the kernel refused and another way is to be tried.
    fn converge(&mut self, ifindex: Ifindex, wanted: &Wanted) -> bool {
        let known = self.world.enforced.entry(ifindex).or_default();
        let choice = choose(&wanted.demand, self.tc, &known.refusals);
        let plan = steps(ifindex, &known.current, &choice.target);
        if plan.is_empty() && known.choice.as_ref() == Some(&choice) {
            return true;
        }
        let changed = !plan.is_empty();
        match self.carry_out(ifindex, &plan) {
            Ok(()) => {}
            Err(Stopped::Gone) => {
                debug!(%ifindex, "gone while it was worked on");
                self.release(ifindex);
                return true;
            }
            Err(Stopped::Failed(refusal)) => {
                self.settle(
                    wanted,
                    Choice {
                        target: choice.target,
                        outcome: Outcome::Open(refusal.to_string()),
                        notes: Vec::new(),
                    },
                );
                return true;
            }
            Err(Stopped::Refused(hook, attachment, refusal)) => {
                self.note_refusal(wanted, (hook, attachment), &refusal);
                return false;
            }
        }
        let astray = self.world.is_astray(ifindex);
        if changed && !astray && self.belongs_elsewhere(&wanted.pair) {
            self.release(ifindex);
            return true;
        }
        self.settle(wanted, choice);
        true
    }

    /// Keeps what became of an interface, and tells it if that is new. What failed is not what was
    /// chosen, and so is tried again.
    fn settle(&mut self, wanted: &Wanted, choice: Choice) {
        let known = self.world.enforced.entry(wanted.pair.host.index).or_default();
        if known.choice.as_ref() != Some(&choice) {
            announce(wanted, &choice);
            known.choice = Some(choice);
        }
    }

    /// Keeps a refusal, so that the next way is tried, and tells it once.
    fn note_refusal(&mut self, wanted: &Wanted, way: (Hook, Attachment), refusal: &Refusal) {
        let interface = text::printable(&wanted.pair.host.name);
        if refusal.is_of_the_kernel() && self.tc == TcFlavour::Auto {
            info!(%refusal, "using clsact from now on");
            self.tc = TcFlavour::Clsact;
        }
        let known = self.world.enforced.entry(wanted.pair.host.index).or_default();
        let sentence = refusal.to_string();
        if known.told.get(&way) != Some(&sentence) {
            warn!(%interface, %refusal, "refused: trying the next way");
            known.told.insert(way, sentence.clone());
        }
        known.refusals.insert(way, sentence);
    }

    /// Carries out steps in order, keeping account of each; stops at the first that fails.
    fn carry_out(&mut self, ifindex: Ifindex, plan: &[Step]) -> Result<(), Stopped> {
        if plan.is_empty() {
            return Ok(());
        }
        let link = match self.rtnl.link(ifindex) {
            Ok(Some(link)) => link,
            Ok(None) => return Err(Stopped::Gone),
            Err(error) => return Err(Stopped::Failed(Refusal::new(crate::error::chain(&error)))),
        };
        for step in plan {
            self.step(ifindex, *step, &link)?;
        }
        Ok(())
    }

    fn step(&mut self, ifindex: Ifindex, step: Step, link: &Link) -> Result<(), Stopped> {
        debug!(?step, "step");
        let done = self.kernel.apply(step, link);
        match (done, step) {
            (Ok(()), step) => {
                let current = &mut self.world.enforced.entry(ifindex).or_default().current;
                match step {
                    Step::SetPolicy { policy, .. } => current.policy = policy,
                    Step::Attach { hook, attachment, .. } => {
                        current.hooks.insert(hook, attachment);
                    }
                    Step::Detach { hook, attachment, .. } => {
                        if current.hooks.get(&hook) == Some(&attachment) {
                            current.hooks.remove(&hook);
                        }
                    }
                    Step::Forget { .. } => *current = Target::default(),
                }
                Ok(())
            }
            (Err(refusal), _) if refusal.is_gone() => Err(Stopped::Gone),
            (Err(refusal), Step::Attach { hook, attachment, .. }) => {
                Err(Stopped::Refused(hook, attachment, refusal))
            }
            (Err(refusal), _) => Err(Stopped::Failed(refusal)),
        }
    }

    /// An index may have come to name another interface between looking and attaching. When that
    /// cannot be found out, what was attached stays.
    fn belongs_elsewhere(&self, pair: &VethPair) -> bool {
        let Err(error) = veth::verify(&self.rtnl, pair) else { return false };
        let interface = text::printable(&pair.host.name);
        if error.class() == ErrorClass::Gone {
            debug!(%interface, %error, "changed while it was attached to: undone");
            return true;
        }
        warn!(%interface, %error, "could not be verified after attaching: kept");
        false
    }

    /// Takes everything of ours off an interface.
    fn release(&mut self, ifindex: Ifindex) {
        let Some(known) = self.world.enforced.remove(&ifindex) else { return };
        let name = self.world.veths.get(&ifindex).map_or("", |link| link.name.as_str());
        let interface = text::printable(name).to_string();
        for step in steps(ifindex, &known.current, &Target::default()) {
            if let Err(refusal) = self.kernel.release(step) {
                warn!(%ifindex, interface, %refusal, "could not be released");
            }
        }
        info!(%ifindex, interface, "released");
    }

    /// At the end: nothing of ours stays.
    pub(super) fn release_everything(&mut self) {
        let all: Vec<Ifindex> = self.world.enforced.keys().copied().collect();
        for ifindex in all {
            self.release(ifindex);
        }
    }
}

/// Tells once what became of an interface, and why it is as it is.
fn announce(wanted: &Wanted, choice: &Choice) {
    let container = text::printable(&wanted.container);
    let interface = text::printable(&wanted.pair.host.name);
    let ifindex = wanted.pair.host.index;
    let attached = choice.target.hooks.iter().map(|(hook, attachment)| {
        let mode = attachment.xdp_mode().map_or(String::new(), |mode| format!(" {mode}"));
        format!("{}{mode} {}", attachment.mechanism(), hook.direction())
    });
    let attached = attached.collect::<Vec<_>>().join(", ");
    let why = choice.notes.join("; ");
    match &choice.outcome {
        Outcome::Enforced => info!(%container, %interface, %ifindex, attached, why, "enforced"),
        Outcome::Closed(reason) => {
            error!(%container, %interface, %ifindex, attached, reason, "closed: nothing passes");
        }
        Outcome::Open(reason) => {
            error!(%container, %interface, %ifindex, attached, reason, "OPEN: could not be closed");
        }
    }
}

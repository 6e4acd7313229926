//! Carrying out what was decided for one interface, and deciding again when the kernel refuses.

use std::collections::BTreeMap;

use ebpf_netns::{Ifindex, Link, text};
use tracing::{debug, error, info, warn};

use super::Engine;
use super::own::{Readiness, refusals_of};
use super::world::Wanted;
use crate::error::chain;
use crate::kernel::Refusal;
use crate::plan::{
    Choice, GUARD, Outcome, OwnPrograms, Standing, Step, Target, TcFlavour, Way, choose, steps,
};
use crate::policy::Demand;
use crate::records::Progress;

/// More often than this nothing can be refused for one interface: each way is tried once.
pub(super) const ATTEMPTS: usize = 10;

/// How many steps that take the kernel long may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// None.
    Quick,
    /// One, which is begun.
    OneLong,
    /// All, which are waited for.
    Anything,
}

/// How far the steps were carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// To the end; whether anything had to be done.
    End { changed: bool },
    /// To a step that takes long.
    SlowStep,
}

/// How carrying out steps ended early.
pub(super) enum Stopped {
    /// The kernel refuses this attachment.
    Refused(Way, Refusal),
    /// The kernel refuses to attach a program of the operator's in this way.
    RefusedOwn(Way, Refusal),
    /// What was attached in this way is not any more.
    Severed(Way),
    /// A program of the operator's that was attached in this way is not any more.
    SeveredOwn(Way),
    /// The kernel refuses something that has no alternative.
    Failed(Refusal),
    /// The interface is gone.
    Gone,
}

impl Stopped {
    pub(super) fn of(step: Step, refusal: Refusal) -> Self {
        match step {
            _ if refusal.is_gone() => Self::Gone,
            Step::Attach { hook, attachment, .. } if refusal.is_severed() => {
                Self::Severed((hook, attachment))
            }
            Step::Attach { hook, attachment, .. } => Self::Refused((hook, attachment), refusal),
            Step::AttachOwn { way, .. } if refusal.is_severed() => Self::SeveredOwn(way),
            Step::AttachOwn { way, .. } => Self::RefusedOwn(way, refusal),
            Step::Guard { .. } => {
                let [egress, _] = GUARD;
                Self::Refused(egress, refusal)
            }
            _ => Self::Failed(refusal),
        }
    }
}

impl Engine {
    /// Brings an interface to where it should be, but for what takes long, which is put off; `None`
    /// releases it.
    pub(super) fn enforce(&mut self, ifindex: Ifindex, wanted: Option<Wanted>) {
        match wanted {
            None => self.take_off(ifindex, Budget::Quick),
            Some(wanted) => self.bring(ifindex, wanted, Budget::Quick),
        }
    }

    pub(super) fn bring(&mut self, ifindex: Ifindex, wanted: Wanted, mut budget: Budget) {
        // When that is done everything is looked at again.
        if self.closing.contains_key(&ifindex) {
            return;
        }
        for _ in 0..ATTEMPTS {
            match self.converge(ifindex, &wanted, &mut budget) {
                Some(Reached::End { .. }) => return,
                Some(Reached::SlowStep) => {
                    self.backlog.insert(ifindex, Some(wanted));
                    return;
                }
                None => {}
            }
        }
        error!(%ifindex, "no way to attach was left untried: a bug");
    }

    /// One attempt; `None` when the kernel refused and another way is to be tried.
    fn converge(
        &mut self,
        ifindex: Ifindex,
        wanted: &Wanted,
        budget: &mut Budget,
    ) -> Option<Reached> {
        const DONE: Option<Reached> = Some(Reached::End { changed: false });
        let failed;
        let (demand, loaded) = match self.own_programs.readiness(&wanted.demand) {
            Readiness::Ready(loaded) => (&wanted.demand, loaded),
            Readiness::Failed(reason) => {
                failed = Demand::Close(reason);
                (&failed, BTreeMap::new())
            }
            Readiness::Waiting => {
                self.await_programs(ifindex, wanted);
                return DONE;
            }
        };
        let own = OwnPrograms { loaded, refusals: refusals_of(&self.world, ifindex) };
        let compiled = self.compile_rules(ifindex, wanted);
        let known = self.world.enforced.entry(ifindex).or_default();
        known.let_go = false;
        let mut choice = choose(demand, &own, self.tc, &known.refusals);
        // Rules that cannot be had are the reason why nothing passes.
        if let Err(reason) = compiled.and_then(|()| self.name_rules(ifindex, &mut choice)) {
            let known = self.world.enforced.entry(ifindex).or_default();
            choice = choose(&Demand::Close(reason), &own, self.tc, &known.refusals);
        }
        let known = self.world.enforced.entry(ifindex).or_default();
        let settled = known.choice.as_ref() == Some(&choice);
        if !settled {
            let owner = Some(wanted.owner.clone());
            self.record(ifindex, Progress::Pending, owner);
        }
        let target = self.watches.add_to(ifindex, &choice.target);
        let reached = self.approach(ifindex, &target, None, budget);
        self.give_up_rules(ifindex);
        if reached.is_ok() {
            let known = self.world.enforced.entry(ifindex).or_default();
            known.aim = Some(choice.outcome.clone());
        }
        match reached {
            Ok(Reached::End { changed }) => {
                let known = self.world.enforced.entry(ifindex).or_default();
                known.unverified |= changed;
                if changed || !settled {
                    self.settle(wanted, choice);
                }
                return Some(self.verify(ifindex, wanted, *budget));
            }
            Ok(Reached::SlowStep) => {
                // The policy stands already, by the guard.
                self.admit(ifindex);
                self.world.newcomers.claimed(ifindex);
                return Some(Reached::SlowStep);
            }
            Err(Stopped::Gone) => {
                debug!(%ifindex, "gone while it was worked on");
                self.forget(ifindex);
            }
            Err(Stopped::Failed(refusal)) => {
                let outcome = Outcome::Open(refusal.to_string());
                let known = self.world.enforced.entry(ifindex).or_default();
                known.aim = Some(outcome.clone());
                self.settle(wanted, Choice { target: choice.target, outcome, notes: Vec::new() });
            }
            Err(stopped) => {
                self.note_stop(&wanted.pair.host, stopped);
                return None;
            }
        }
        DONE
    }

    /// Keeps what became of an interface, and tells it if that is new. What failed is not what was
    /// chosen, and so is tried again.
    fn settle(&mut self, wanted: &Wanted, choice: Choice) {
        let ifindex = wanted.pair.host.index;
        if !matches!(choice.outcome, Outcome::Open(_)) {
            self.admit(ifindex);
        }
        self.world.newcomers.claimed(ifindex);
        self.record(ifindex, Progress::Active, Some(wanted.owner.clone()));
        let known = self.world.enforced.entry(ifindex).or_default();
        if known.choice.as_ref() != Some(&choice) {
            announce(wanted, &choice);
            known.choice = Some(choice);
        }
    }

    /// Keeps why steps stopped, so that the next way is tried; whether there is one.
    pub(super) fn note_stop(&mut self, interface: &Link, stopped: Stopped) -> bool {
        let known = self.world.enforced.entry(interface.index).or_default();
        match stopped {
            Stopped::Refused(way, refusal) => {
                let sentence = refusal.to_string();
                if known.told.get(&way) != Some(&sentence) {
                    let interface = text::printable(&interface.name);
                    warn!(%interface, %refusal, "refused: trying the next way");
                    known.told.insert(way, sentence.clone());
                }
                known.refusals.insert(way, sentence);
                if refusal.is_of_the_kernel() && self.tc == TcFlavour::Auto {
                    info!(%refusal, "using clsact from now on");
                    self.tc = TcFlavour::Clsact;
                }
                true
            }
            Stopped::RefusedOwn(way, refusal) => {
                let interface = text::printable(&interface.name);
                warn!(%interface, %refusal, "the program is refused: trying the next way");
                known.own_refusals.insert(way, refusal.to_string());
                true
            }
            Stopped::SeveredOwn(way) => {
                known.current.own.remove(&way);
                true
            }
            Stopped::Severed(way) => {
                known.current.ways.remove(&way);
                known.current.inherited.remove(&way);
                true
            }
            Stopped::Failed(refusal) => {
                let interface = text::printable(&interface.name);
                error!(%interface, %refusal, "OPEN: a new interface could not be closed");
                false
            }
            Stopped::Gone => false,
        }
    }

    /// Carries out the steps towards a target as far as the budget goes, keeping account of each;
    /// stops at the first that fails. `link` is the interface, if it is known how it is now.
    pub(super) fn approach(
        &mut self,
        ifindex: Ifindex,
        target: &Target,
        link: Option<&Link>,
        budget: &mut Budget,
    ) -> Result<Reached, Stopped> {
        let known = self.world.enforced.entry(ifindex).or_default();
        let plan = steps(ifindex, &known.current, target, &known.refusals);
        let Some(first) = plan.first() else { return Ok(Reached::End { changed: false }) };
        if first.can_wait() && *budget == Budget::Quick {
            return Ok(Reached::SlowStep);
        }
        // As it was last heard of: asking the kernel may have to wait for its lock. An interface that is
        // gone refuses, and one that is called something else is found out when it is attached to.
        let link = match link.or_else(|| self.world.veths.get(&ifindex)) {
            Some(link) => link.clone(),
            None => self.link(ifindex)?,
        };
        for step in plan {
            if !step.can_wait() || *budget == Budget::Anything {
                self.step(ifindex, step, &link)?;
            } else if std::mem::replace(budget, Budget::Quick) == Budget::Quick
                || self.begin(ifindex, step, Some(&link))?
            {
                return Ok(Reached::SlowStep);
            }
        }
        Ok(Reached::End { changed: true })
    }

    fn link(&self, ifindex: Ifindex) -> Result<Link, Stopped> {
        match self.rtnl.link(ifindex) {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(Stopped::Gone),
            Err(error) => Err(Stopped::Failed(Refusal::new(chain(&error)))),
        }
    }

    pub(super) fn step(
        &mut self,
        ifindex: Ifindex,
        step: Step,
        link: &Link,
    ) -> Result<(), Stopped> {
        debug!(?step, "step");
        self.kernel.apply(step, link).map_err(|refusal| Stopped::of(step, refusal))?;
        self.account(ifindex, step);
        Ok(())
    }

    /// Keeps account of a step that was done.
    pub(super) fn account(&mut self, ifindex: Ifindex, step: Step) {
        let current = &mut self.world.enforced.entry(ifindex).or_default().current;
        match step {
            Step::SetPolicy { policy, .. } => current.policy = Some(policy),
            Step::Attach { hook, attachment, .. } => {
                current.ways.insert((hook, attachment));
                current.inherited.remove(&(hook, attachment));
            }
            Step::Guard { .. } => current.ways.extend(GUARD),
            Step::AttachOwn { way, program, .. } => {
                current.own.insert(way, program);
            }
            Step::DetachOwn { way, .. } => {
                current.own.remove(&way);
            }
            Step::Detach { hook, attachment, .. } => {
                current.ways.remove(&(hook, attachment));
                current.inherited.remove(&(hook, attachment));
            }
            Step::Forget { .. } => *current = Standing::default(),
        }
    }

    /// Takes everything of ours off an interface.
    pub(super) fn release(&mut self, ifindex: Ifindex) {
        let Some(known) = self.world.enforced.remove(&ifindex) else { return };
        self.give_up(ifindex);
        if let Some(wanted) = self.closing.get_mut(&ifindex) {
            *wanted = false;
        }
        let name = self.world.veths.get(&ifindex).map_or("", |link| link.name.as_str());
        let interface = text::printable(name).to_string();
        for step in steps(ifindex, &known.current, &Target::default(), &known.refusals) {
            if let Err(refusal) = self.kernel.release(step) {
                warn!(%ifindex, interface, %refusal, "could not be released");
            }
        }
        known.rules.written().for_each(|number| self.kernel.give_up_rules(number));
        self.backlog.remove(&ifindex);
        self.records.remove(ifindex);
        if known.choice.is_some() {
            info!(%ifindex, interface, "released");
        }
    }

    /// Forgets an interface that is gone, and all that hung on it.
    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.world.newcomers.link_removed(ifindex);
        self.expel(ifindex);
        // What hangs on it went with it, but for what is pinned.
        self.kernel.release_gone(ifindex);
        self.release(ifindex);
    }
}

/// Tells once what became of an interface, and why it is as it is.
fn announce(wanted: &Wanted, choice: &Choice) {
    let container = text::printable(&wanted.owner.name);
    let interface = text::printable(&wanted.pair.host.name);
    let ifindex = wanted.pair.host.index;
    let attached = choice.target.hooks.iter().map(|(hook, attachment)| {
        let mode = attachment.xdp_mode().map_or(String::new(), |mode| format!(" {mode}"));
        format!("{}{mode} {}", attachment.mechanism(), hook.direction())
    });
    let own = choice.target.own.iter().map(|(hook, (attachment, program))| {
        let mode = attachment.xdp_mode().map_or(String::new(), |mode| format!(" {mode}"));
        format!("{}{mode} {} program {program}", attachment.mechanism(), hook.direction())
    });
    let attached = attached.chain(own).collect::<Vec<_>>().join(", ");
    let why = choice.notes.join("; ");
    match &choice.outcome {
        Outcome::Enforced if wanted.demand.is_nothing() => {
            debug!(%container, %interface, %ifindex, why, "has no policy here");
        }
        Outcome::Enforced if attached.is_empty() => {
            warn!(%container, %interface, %ifindex, why, "there is nothing to enforce");
        }
        Outcome::Enforced => info!(%container, %interface, %ifindex, attached, why, "enforced"),
        Outcome::Closed(reason) => {
            error!(%container, %interface, %ifindex, attached, reason, "closed: nothing passes");
        }
        Outcome::Open(reason) => {
            error!(%container, %interface, %ifindex, attached, reason, "OPEN: could not be closed");
        }
    }
}

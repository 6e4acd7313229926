//! What takes the kernel long: begun one at a time, in quiet, and taken into account when it is done.
//! The engine goes on meanwhile, and nothing relies on what is not done yet.

use std::time::Instant;

use ebpf_netns::veth::VethError;
use ebpf_netns::{ErrorClass, Ifindex, Link, text};
use tracing::{debug, warn};

use super::Engine;
use super::enforce::{Budget, Reached, Stopped};
use super::pace::Scene;
use super::world::Wanted;
use crate::event::Event;
use crate::kernel::{Done, Refusal, Reply};
use crate::plan::{Step, Target, steps};

/// What the kernel is busy with.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    ifindex: Ifindex,
    task: Task,
    /// Whether the interface was released meanwhile.
    given_up: bool,
}

/// What of it.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// A step.
    Step(Step),
    /// A look whether the interface is where it was when it was attached to.
    Look,
}

impl Engine {
    /// How long to wait for an event; for as long as it takes, where nothing else is to be done.
    pub(super) fn patience(&self) -> Option<std::time::Duration> {
        let idle = self.backlog.is_empty() || self.under_way.is_some();
        let scene = Scene {
            newcomers: self.world.newcomers.held().next().is_some(),
            asked: self.start_gate.is_asked() || self.is_joined(),
        };
        (!idle).then(|| self.pace.pause(scene, Instant::now()))
    }

    /// Does one of the things that take long, or begins it.
    pub(super) fn work_off(&mut self) {
        match self.backlog.pop_first() {
            Some((ifindex, Some(wanted))) => self.bring(ifindex, wanted, Budget::OneLong),
            Some((ifindex, None)) => self.take_off(ifindex, Budget::OneLong),
            None => {}
        }
    }

    /// Releases an interface that is there: one after the other, with its policy standing.
    pub(super) fn take_off(&mut self, ifindex: Ifindex, budget: Budget) {
        if self.is_under_way(ifindex) {
            self.backlog.insert(ifindex, None);
            return;
        }
        // When that is done everything is looked at again.
        if self.closing.contains_key(&ifindex) {
            return;
        }
        let Some(known) = self.world.enforced.get(&ifindex) else { return };
        let plan = steps(ifindex, &known.current, &Target::default(), &known.refusals);
        match plan.first() {
            Some(step) if step.can_wait() => {
                let going_on = budget == Budget::Quick || self.begin(ifindex, *step, None).is_ok();
                if going_on {
                    self.backlog.insert(ifindex, None);
                } else {
                    self.release(ifindex);
                }
            }
            _ => self.release(ifindex),
        }
    }

    /// Begins a step that takes long; whether it is under way, and not done already. `link` is its
    /// interface, for attaching to it.
    pub(super) fn begin(
        &mut self,
        ifindex: Ifindex,
        step: Step,
        link: Option<&Link>,
    ) -> Result<bool, Stopped> {
        debug!(?step, "step");
        let reply = self.reply(Event::Done);
        let begun = match (step, link) {
            (Step::Attach { hook, attachment, .. }, Some(link)) => {
                self.kernel.begin_attach((hook, attachment), link, reply)
            }
            (Step::Detach { hook, attachment, .. }, _) => {
                self.kernel.begin_detach(ifindex, (hook, attachment), reply)
            }
            (Step::AttachOwn { way, program, .. }, Some(link)) => {
                self.kernel.begin_attach_own(way, program, link, reply)
            }
            (Step::DetachOwn { way, .. }, _) => self.kernel.begin_detach_own(ifindex, way, reply),
            // It takes no time, or there is nothing to attach to: a bug.
            _ => Err(Refusal::new(format!("{step:?} cannot be begun"))),
        };
        let under_way = begun.map_err(|refusal| Stopped::of(step, refusal))?;
        // What is attached counts when it is; what is being detached does not count any more.
        if !under_way || matches!(step, Step::Detach { .. } | Step::DetachOwn { .. }) {
            self.account(ifindex, step);
        }
        if under_way {
            self.under_way = Some(UnderWay { ifindex, task: Task::Step(step), given_up: false });
        }
        Ok(under_way)
    }

    /// Has somebody look whether an interface is where it was, if something was changed there since
    /// the last look; what is left to do.
    pub(super) fn verify(&mut self, ifindex: Ifindex, wanted: &Wanted, budget: Budget) -> Reached {
        // The other end of an endpoint of ours may be anywhere: it is known by what we made.
        let astray = self.world.is_astray(ifindex) || self.world.endpoints.get(ifindex).is_some();
        let Some(known) = self.world.enforced.get_mut(&ifindex) else {
            return Reached::End { changed: false };
        };
        if astray || !known.unverified {
            known.unverified = false;
            return Reached::End { changed: false };
        }
        if budget != Budget::Quick {
            known.unverified = false;
            let reply = self.reply(Event::Done);
            self.kernel.begin_look(&wanted.pair, reply);
            self.under_way = Some(UnderWay { ifindex, task: Task::Look, given_up: false });
        }
        Reached::SlowStep
    }

    /// Takes in what became of what was begun.
    pub(super) fn done(&mut self, done: Done) {
        let Some(UnderWay { ifindex, task, given_up }) = self.under_way.take() else { return };
        debug!(?task, given_up, "done");
        if given_up {
            self.kernel.discard(done);
            return;
        }
        match (task, self.kernel.take(done)) {
            (Task::Look, Ok(Some(Err(error)))) => self.looked(ifindex, &error),
            (Task::Step(step @ (Step::Attach { .. } | Step::AttachOwn { .. })), Ok(_)) => {
                self.account(ifindex, step);
                self.world.enforced.entry(ifindex).or_default().unverified = true;
            }
            (_, Ok(_)) => {}
            (Task::Look, Err(refusal)) => warn!(%ifindex, %refusal, "could not be looked at"),
            (Task::Step(step), Err(refusal)) => self.refused(ifindex, step, refusal),
        }
    }

    /// An index may have come to name another interface between looking and attaching. When that
    /// cannot be found out, what was attached stays.
    fn looked(&mut self, ifindex: Ifindex, error: &VethError) {
        let name = self.world.veths.get(&ifindex).map_or("", |link| link.name.as_str());
        let interface = text::printable(name);
        if error.class() != ErrorClass::Gone {
            warn!(%interface, %error, "could not be verified after attaching: kept");
        } else if !self.world.is_astray(ifindex) {
            debug!(%interface, %error, "changed while it was attached to: undone");
            self.release(ifindex);
        }
    }

    fn refused(&mut self, ifindex: Ifindex, step: Step, refusal: Refusal) {
        match (self.world.veths.get(&ifindex).cloned(), Stopped::of(step, refusal)) {
            (Some(link), stopped @ (Stopped::Refused(..) | Stopped::RefusedOwn(..))) => {
                self.note_stop(&link, stopped);
            }
            (Some(link), stopped @ (Stopped::Severed(_) | Stopped::SeveredOwn(_))) => {
                self.note_stop(&link, stopped);
                // It has another name, of which news are on the way.
                self.pace.stir(Instant::now());
            }
            (_, Stopped::Failed(refusal)) => {
                warn!(%ifindex, %refusal, ?step, "not done: trying again");
                if let Step::Detach { hook, attachment, .. } = step
                    && let Some(known) = self.world.enforced.get_mut(&ifindex)
                {
                    known.current.ways.insert((hook, attachment));
                }
                if let Step::DetachOwn { way, program, .. } = step
                    && let Some(known) = self.world.enforced.get_mut(&ifindex)
                {
                    known.current.own.insert(way, program);
                }
                self.pace.stir(Instant::now());
            }
            _ => {
                debug!(%ifindex, "gone while it was worked on");
                self.forget(ifindex);
            }
        }
    }

    /// What was begun on this interface is not wanted any more.
    pub(super) fn give_up(&mut self, ifindex: Ifindex) {
        if let Some(under_way) = &mut self.under_way {
            under_way.given_up |= under_way.ifindex == ifindex;
        }
    }

    fn is_under_way(&self, ifindex: Ifindex) -> bool {
        self.under_way.is_some_and(|one| one.ifindex == ifindex && !one.given_up)
    }

    /// Has what was begun told as an event.
    pub(super) fn reply(&self, event: fn(Done) -> Event) -> Reply {
        let own = self.own.clone();
        Box::new(move |done| {
            if let Some(own) = own.upgrade() {
                // An engine that has ended needs no answer.
                own.blocking_send(event(done)).ok();
            }
        })
    }
}

//! The operator's programs: which are loaded for whom, and which have to be.
//!
//! They are loaded by a thread of the kernel's side, for a container as soon as it is known, and again
//! when the configuration is. Until the first is there its interfaces are closed; one that is loaded
//! again takes the place of the one before, which holds until then.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_netns::{Ifindex, text};
use tracing::{error, info, warn};

use super::Engine;
use super::world::{Wanted, World};
use crate::event::Event;
use crate::kernel::{Instance, InstanceKey, Loaded, Order, ProgramIdentity};
use crate::plan::{Attachment, Hook, Outcome, ProgramId, Refusals};
use crate::policy::{Demand, OwnProgram};
use crate::programs::Kind;
use crate::records::Progress;
use crate::status::OwnStatus;

/// What is loaded, and what is being loaded.
#[derive(Default)]
pub(super) struct Instances {
    known: BTreeMap<InstanceKey, Known>,
    /// Whether what an earlier daemon left for others was cleared away.
    cleared: bool,
}

/// What of a file a container needs.
struct Known {
    functions: BTreeSet<(Kind, Option<String>)>,
    /// What there is, or why there is nothing; none before the first answer.
    loaded: Option<Result<Instance, String>>,
    is_ordered: bool,
    /// Whether the file may have changed.
    is_stale: bool,
}

/// Whether the programs that are demanded are there.
pub(super) enum Readiness {
    /// They are loaded.
    Ready(BTreeMap<Hook, ProgramId>),
    /// They are being loaded for the first time.
    Waiting,
    /// One cannot be loaded, for this reason.
    Failed(String),
}

/// What an interface is told of that waits for a program.
pub(super) const LOADING: &str = "its program is being loaded: nothing passes until it stands";

impl Instances {
    /// Every file may have changed.
    pub(super) fn doubt(&mut self) {
        for known in self.known.values_mut() {
            known.is_stale = true;
        }
    }

    /// How many are being loaded.
    pub(super) fn ordered(&self) -> usize {
        self.known.values().filter(|known| known.is_ordered || known.is_stale).count()
    }

    pub(super) fn readiness(&self, demand: &Demand) -> Readiness {
        let Demand::Enforce(rules) = demand else { return Readiness::Ready(BTreeMap::new()) };
        let mut ready = BTreeMap::new();
        for (hook, own) in &rules.programs {
            match self.known.get(&key(own)).and_then(|known| known.loaded.as_ref()) {
                None => return Readiness::Waiting,
                Some(Err(why)) => {
                    return Readiness::Failed(format!("{}: {why}", kind(*hook).label()));
                }
                Some(Ok(instance)) => match instance.programs.get(&how(*hook, own)) {
                    Some(identity) => ready.insert(*hook, identity.id),
                    None => return Readiness::Waiting,
                },
            };
        }
        Readiness::Ready(ready)
    }

    /// The program of a hook, and where its maps are.
    fn find(&self, hook: Hook, own: &OwnProgram) -> Option<(&ProgramIdentity, &Instance)> {
        let instance = self.known.get(&key(own))?.loaded.as_ref()?.as_ref().ok()?;
        Some((instance.programs.get(&how(hook, own))?, instance))
    }
}

impl World {
    /// What of which files has to be loaded for whom.
    fn wanted_programs(&self) -> BTreeMap<InstanceKey, BTreeSet<(Kind, Option<String>)>> {
        let mut wanted: BTreeMap<InstanceKey, BTreeSet<(Kind, Option<String>)>> = BTreeMap::new();
        for container in self.containers.values() {
            let Demand::Enforce(rules) = &container.judged.demand else { continue };
            for (hook, own) in &rules.programs {
                wanted.entry(key(own)).or_default().insert(how(*hook, own));
            }
        }
        wanted
    }
}

impl Engine {
    /// Has loaded what has to be, and gives up what nobody needs any more.
    pub(super) fn order_programs(&mut self) {
        let wanted = self.world.wanted_programs();
        let gone: Vec<InstanceKey> = self
            .own_programs
            .known
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .cloned()
            .collect();
        for key in &gone {
            if let Some(Known { loaded: Some(Ok(instance)), .. }) =
                self.own_programs.known.remove(key)
            {
                self.kernel.give_up(&instance);
            }
        }
        // Before Docker has told who there is, nothing is known to be nobody's.
        let told = matches!(self.world.docker, Some(Ok(_))) && self.world.bystanders.as_of > 0;
        if !gone.is_empty() || told && !self.own_programs.cleared {
            self.own_programs.cleared |= told;
            let kept: Vec<&InstanceKey> = wanted.keys().collect();
            if let Err(refusal) = self.kernel.unload_all_but(&kept) {
                warn!(%refusal, "maps of programs that nobody needs could not be removed");
            }
        }
        for (key, functions) in wanted {
            self.order_program(key, functions);
        }
    }

    fn order_program(&mut self, key: InstanceKey, functions: BTreeSet<(Kind, Option<String>)>) {
        let known = self.own_programs.known.entry(key.clone()).or_insert_with(|| Known {
            functions: BTreeSet::new(),
            loaded: None,
            is_ordered: false,
            is_stale: true,
        });
        if known.is_ordered || !known.is_stale && known.functions == functions {
            return;
        }
        known.functions.clone_from(&functions);
        known.is_ordered = true;
        known.is_stale = false;
        let own = self.own.clone();
        let reply = Box::new(move |loaded| {
            if let Some(own) = own.upgrade() {
                // An engine that has ended needs no answer.
                own.blocking_send(Event::Loaded(Box::new(loaded))).ok();
            }
        });
        self.kernel.order(Order { key, functions }, reply);
    }

    /// Takes in what was loaded, or why it could not be; reconciling attaches it.
    pub(super) fn program_loaded(&mut self, loaded: Loaded) {
        let Loaded { order: Order { key, functions }, result } = loaded;
        let container = self.world.containers.get(&key.container);
        let name = container.map_or(key.container.as_str(), |one| one.facts.name.as_str());
        let container = text::printable(name).to_string();
        let Some(known) = self.own_programs.known.get_mut(&key) else {
            // Nobody needs it any more: what was just pinned goes with the next round.
            self.own_programs.cleared = false;
            return;
        };
        known.is_ordered = false;
        known.is_stale |= known.functions != functions;
        let file = &key.file;
        let result = result.map(|mut instance| {
            self.kernel.keep(&mut instance);
            instance
        });
        match &result {
            Ok(instance) => {
                let (inherited, maps) = (instance.is_inherited, instance.maps.display());
                info!(container, file, inherited, %maps, "program loaded");
            }
            Err(why) => error!(container, file, why, "the program cannot be loaded: kept closed"),
        }
        let before = known.loaded.replace(result);
        let still = known.loaded.as_ref().and_then(|loaded| loaded.as_ref().ok());
        if let Some(Ok(before)) = before
            && still.is_none_or(|still| still.programs != before.programs)
        {
            self.kernel.give_up(&before);
        }
        for enforced in self.world.enforced.values_mut() {
            enforced.own_refusals.clear();
        }
    }

    /// An interface of which a program is being loaded for the first time: it is closed, unless an
    /// earlier policy stands on it, which then holds for as long.
    pub(super) fn await_programs(&mut self, ifindex: Ifindex, wanted: &Wanted) {
        let known = self.world.enforced.entry(ifindex).or_default();
        let enforced = known.choice.as_ref().map(|choice| choice.outcome == Outcome::Enforced);
        let current = &known.current;
        let holds = enforced == Some(true) && !known.let_go
            || !current.inherited.is_empty()
            || !current.own.is_empty();
        known.let_go = false;
        if !holds {
            let link = self.world.veths.get(&ifindex).unwrap_or(&wanted.pair.host).clone();
            self.close(&link);
            self.record(ifindex, Progress::Pending, Some(wanted.owner.clone()));
        }
        self.world.newcomers.claimed(ifindex);
    }

    /// Whether an interface waits for a program.
    pub(super) fn waits_for_program(&self, ifindex: Ifindex) -> bool {
        let demand = self.world.wanted_on(ifindex);
        demand.is_some_and(|demand| {
            matches!(self.own_programs.readiness(&demand), Readiness::Waiting)
        })
    }

    /// The operator's programs on an interface.
    pub(super) fn own_status(&self, ifindex: Ifindex) -> Vec<OwnStatus> {
        let Some(enforced) = self.world.enforced.get(&ifindex) else { return Vec::new() };
        let Some(Demand::Enforce(rules)) = self.world.wanted_on(ifindex) else { return Vec::new() };
        let status = |((hook, attachment), id): (&(Hook, Attachment), &ProgramId)| {
            let own = rules.programs.get(hook);
            let found = own.and_then(|own| self.own_programs.find(*hook, own));
            OwnStatus {
                hook: attachment.mechanism().to_owned(),
                direction: hook.direction().to_owned(),
                host_side: hook.host_side().to_owned(),
                mode: attachment.xdp_mode().map(str::to_owned),
                name: own.map(|own| own.name.to_string()),
                id: *id,
                program: found.map(|(identity, _)| identity.clone()).filter(|one| one.id == *id),
                maps: found.map(|(_, instance)| instance.maps.clone()),
            }
        };
        enforced.current.own.iter().map(status).collect()
    }
}

/// As [`crate::plan::OwnPrograms`] has them.
pub(super) fn refusals_of(world: &World, ifindex: Ifindex) -> Refusals {
    world.enforced.get(&ifindex).map(|known| known.own_refusals.clone()).unwrap_or_default()
}

fn key(own: &OwnProgram) -> InstanceKey {
    InstanceKey { container: own.container.id.clone(), file: own.name.file.clone() }
}

fn how(hook: Hook, own: &OwnProgram) -> (Kind, Option<String>) {
    (kind(hook), own.name.function.clone())
}

const fn kind(hook: Hook) -> Kind {
    match hook {
        Hook::Xdp => Kind::Xdp,
        Hook::Egress | Hook::Ingress => Kind::Tc,
    }
}

//! Putting back what somebody else took off: other tools remove filters, detach links and delete
//! pins, by accident or not.

use ebpf_netns::{Ifindex, Link, text};
use tracing::warn;

use super::Engine;
use crate::plan::Hook;

impl Engine {
    /// Looks at every interface: of some removals nothing is told.
    pub(super) fn repair_all(&mut self) {
        self.damaged.extend(self.world.enforced.keys().copied());
        let mut audited = self.kernel.audit_pins();
        if self.own_programs.ordered() == 0 {
            let of_own = self.kernel.audit_own_pins();
            audited = audited.and_then(|missing| Ok(missing + of_own?));
        }
        match audited {
            Ok(0) => {}
            Ok(missing) => {
                warn!(missing, "pins were removed by somebody else: made again");
                self.counts.repairs += u64::try_from(missing).unwrap_or(u64::MAX);
            }
            Err(refusal) => warn!(%refusal, "pins could not be made again"),
        }
    }

    /// Looks at the interfaces that somebody else may have changed; reconciling repairs them.
    pub(super) fn repair_damaged(&mut self) {
        for ifindex in std::mem::take(&mut self.damaged) {
            self.hear_of_links();
            self.look_for_damage(ifindex);
        }
    }

    fn look_for_damage(&mut self, ifindex: Ifindex) {
        let Some(enforced) = self.world.enforced.get_mut(&ifindex) else { return };
        let damage = match self.kernel.audit(ifindex, &enforced.current) {
            Ok(damage) => damage,
            Err(refusal) => {
                warn!(%ifindex, %refusal, "could not be looked at");
                return;
            }
        };
        // Of an interface that is gone the kernel lists no filters: news of that are on the way.
        if damage.count() == 0 || matches!(self.rtnl.link(ifindex), Ok(None)) {
            return;
        }
        for way in &damage.gone {
            enforced.current.ways.remove(way);
        }
        for way in &damage.own {
            enforced.current.own.remove(way);
        }
        if damage.policy {
            enforced.current.policy = None;
        }
        enforced.choice = None;
        enforced.forget_refusals();
        self.counts.repairs += u64::try_from(damage.count()).unwrap_or(u64::MAX);
        let link = self.world.veths.get(&ifindex).cloned();
        let interface = link.as_ref().map_or("", |link| link.name.as_str());
        let interface = text::printable(interface).to_string();
        warn!(%ifindex, interface, ?damage, "changed by somebody else: repaired");
        // Nobody claims a newcomer, so that reconciling would not close it again.
        if let Some(link) = link.filter(|_| self.world.newcomers.is_held(ifindex)) {
            self.close(&link);
        }
    }

    /// Whether an interface should have our XDP program and has not.
    pub(super) fn lost_xdp(&self, link: &Link) -> bool {
        let Some(enforced) = self.world.enforced.get(&link.index) else { return false };
        let held = link.xdp.map(|xdp| xdp.program_id);
        let mut own = enforced.current.own.iter();
        if own.any(|((hook, _), program)| *hook == Hook::Xdp && held != Some(*program)) {
            return true;
        }
        let inherited = &enforced.current.inherited;
        let mut ways = enforced.current.ways.difference(inherited);
        let ours = self.kernel.program(Hook::Xdp).map(|program| program.id);
        ways.any(|(hook, _)| *hook == Hook::Xdp) && held != ours
    }
}

//! Rules of one interface: names in them become addresses as they are right now, and the result is
//! compiled, written, and named by the interface's policy.

use std::net::IpAddr;
use std::sync::Arc;

use ebpf_netns::veth::VethPair;
use ebpf_netns::{Ifindex, MacAddress, RtnlError};
use plugin_common::abi;
use tracing::warn;

use super::Engine;
use super::world::{Wanted, World};
use crate::datapath::{self, Program};
use crate::error::chain;
use crate::facts::{ContainerFacts, Endpoint, Snapshot};
use crate::kernel::InterfaceRules;
use crate::listing::{self, Listing, Resolved, StandingRules};
use crate::names::{Directory, HostAddresses};
use crate::plan::Choice;
use crate::policy::{Demand, Layer, Rules};
use crate::rules::{self, Direction};

/// The rules of one interface, as they stand.
#[derive(Default)]
pub(super) struct Standing {
    /// What they were made from: the demand, and the state of the names.
    made_from: Option<(Rules, u64)>,
    compiled: Option<Compiled>,
    /// Every number under which rules of this interface are in the maps.
    written: Vec<u32>,
}

impl Standing {
    /// Every number under which rules of this interface are in the maps.
    pub(super) fn written(&self) -> impl Iterator<Item = u32> {
        self.written.iter().copied()
    }
}

/// Rules, compiled.
#[derive(Clone)]
pub(super) struct Compiled {
    pub rules: InterfaceRules,
    /// The number under which they are in the maps.
    pub number: Option<u32>,
    /// Rules with a name of which not everything is known yet, by what they say.
    pub waiting: Vec<String>,
    /// The rules as they were written.
    pub listing: Arc<Listing>,
}

/// Who is called what right now; a number that is another whenever that changes.
#[derive(Default)]
pub(super) struct Names {
    pub directory: Directory,
    pub generation: u64,
}

impl World {
    /// Whether anybody may have rules: the operator, or labels that are not read yet.
    fn may_have_rules(&self, snapshot: &Snapshot) -> bool {
        let by_labels =
            |facts: &ContainerFacts| facts.labels.keys().any(|key| key.starts_with("tc."));
        self.config.default.is_some()
            || !self.endpoints.policed().is_empty()
            || snapshot.containers.iter().any(by_labels)
    }
}

impl Engine {
    /// Takes what Docker and the kernel call whom, where there may be rules.
    pub(super) fn learn_names(&mut self, snapshot: &Snapshot) {
        if !self.world.may_have_rules(snapshot) {
            return;
        }
        let host = match self.host_addresses() {
            Ok(host) => host,
            Err(error) => {
                warn!(error = chain(&error), "the host's addresses cannot be listed");
                return;
            }
        };
        let directory = Directory::new(snapshot, &host);
        if directory != self.world.names.directory {
            self.world.names.directory = directory;
            self.world.names.generation += 1;
        }
    }

    /// The addresses of the bridges. Links are not listed for it: that would wait for a lock of the
    /// kernel's that whoever plugs an interface in needs too.
    fn host_addresses(&self) -> Result<HostAddresses, RtnlError> {
        let mut host = HostAddresses::new();
        for (index, address, _prefix) in self.rtnl.addresses()? {
            if let Some(name) = self.world.newcomers.bridge(index) {
                host.entry(name.to_owned()).or_default().push(address);
            }
        }
        Ok(host)
    }

    /// Compiles the rules that are demanded of an interface, unless they and the names in them are
    /// what they were; or says why they cannot be.
    pub(super) fn compile_rules(
        &mut self,
        ifindex: Ifindex,
        wanted: &Wanted,
    ) -> Result<(), String> {
        let Demand::Enforce(demanded) = &wanted.demand else { return Ok(()) };
        let generation = self.world.names.generation;
        let known = self.world.enforced.entry(ifindex).or_default();
        if !demanded.needs_rules() {
            known.rules.made_from = None;
            known.rules.compiled = None;
            return Ok(());
        }
        let is_it = |(rules, names): &(Rules, u64)| rules == demanded && *names == generation;
        if known.rules.made_from.as_ref().is_some_and(is_it) {
            return Ok(());
        }
        let compiled = self.compile(demanded, wanted)?;
        let known = self.world.enforced.entry(ifindex).or_default();
        known.rules.made_from = Some((demanded.clone(), generation));
        // The same rules stay where they are.
        let number = known
            .rules
            .compiled
            .as_ref()
            .filter(|before| before.rules == compiled.rules)
            .and_then(|before| before.number);
        known.rules.compiled = Some(Compiled { number, ..compiled });
        Ok(())
    }

    fn compile(&self, demanded: &Rules, wanted: &Wanted) -> Result<Compiled, String> {
        let viewpoint = self.world.names.directory.as_seen_by(&wanted.owner.id);
        let mut waiting = Vec::new();
        let mut direction = |direction, layers: &[Layer]| -> Result<_, String> {
            let lists = layers.iter().map(|layer| &*layer.rules);
            let expansion = rules::expand(direction, lists, &viewpoint);
            for id in &expansion.waiting {
                let rule = layers.get(id.layer).and_then(|layer| layer.rules.get(id.rule));
                waiting.extend(rule.map(|rule| rule.show(direction).to_string()));
            }
            let audited = datapath::of_presets(listing::of_audit(demanded, direction));
            let compiled: Vec<datapath::Layer<'_>> = expansion
                .layers
                .iter()
                .zip(layers)
                .map(|(rules, layer)| datapath::Layer { rules, audit: layer.audit })
                .chain(audited.as_deref().map(|rules| datapath::Layer { rules, audit: true }))
                .collect();
            let compiled = datapath::compile(&compiled).map_err(|error| error.to_string())?;
            Ok((compiled, Resolved { expansion, audited }))
        };
        let (egress, of_egress) = direction(Direction::Egress, &demanded.egress_rules)?;
        let (ingress, of_ingress) = direction(Direction::Ingress, &demanded.ingress_rules)?;
        rules::check_entries([&of_egress.expansion, &of_ingress.expansion])
            .map_err(|error| error.to_string())?;
        let program = Program { egress, ingress };
        let listing = Arc::new(Listing::new(demanded, of_egress, of_ingress, &program));
        let rules = InterfaceRules { program, endpoint: self.endpoint(&wanted.pair) };
        Ok(Compiled { rules, number: None, waiting, listing })
    }

    /// What Docker gave the interface: nothing else is the container's own.
    pub(super) fn endpoint(&self, pair: &VethPair) -> abi::Endpoint {
        if let Some(endpoint) = self.world.endpoints.get(pair.host.index) {
            let (mac, addresses) = endpoint.addresses();
            return own(mac, addresses);
        }
        let seen = pair.container.mac;
        let facts = self.world.containers.values().map(|container| &container.facts);
        let everyone = facts.chain(&self.world.bystanders.containers);
        let mut endpoints = everyone.flat_map(|facts| &facts.endpoints);
        // By what Docker says, and not by what the container made of it.
        let given = endpoints.find(|endpoint| endpoint.mac.is_some() && endpoint.mac == seen);
        match given {
            Some(Endpoint { mac: Some(mac), addresses, .. }) => own(*mac, addresses),
            _ => seen.map_or_else(abi::Endpoint::default, |mac| own(mac, &[])),
        }
    }

    /// The rules that the policy of an interface names, and where their first counter is; `None`
    /// where it names none, or those of an earlier daemon.
    pub(super) fn standing_rules(&self, ifindex: Ifindex) -> Option<StandingRules> {
        let known = self.world.enforced.get(&ifindex)?;
        let named = known.current.policy.map_or(0, |policy| policy.rules);
        let compiled = known.rules.compiled.as_ref()?;
        let number = compiled.number.filter(|number| *number == named)?;
        let first_counter = self.kernel.first_counter(number)?;
        let listing = Arc::clone(&compiled.listing);
        Some(StandingRules { ifindex, first_counter, listing })
    }

    /// The rules of every interface that has some.
    pub(super) fn all_standing_rules(&self) -> Vec<StandingRules> {
        self.world.enforced.keys().filter_map(|ifindex| self.standing_rules(*ifindex)).collect()
    }

    /// Has the policy of a choice name the rules, which are written where they are not.
    pub(super) fn name_rules(
        &mut self,
        ifindex: Ifindex,
        choice: &mut Choice,
    ) -> Result<(), String> {
        let known = self.world.enforced.entry(ifindex).or_default();
        let closed = !matches!(choice.outcome, crate::plan::Outcome::Enforced);
        let Some(compiled) = known.rules.compiled.as_mut().filter(|_| !closed) else {
            return Ok(());
        };
        let number = if let Some(number) = compiled.number {
            number
        } else {
            let written = self.kernel.write_rules(ifindex, &compiled.rules);
            let number = written.map_err(|refusal| refusal.to_string())?;
            compiled.number = Some(number);
            known.rules.written.push(number);
            number
        };
        choice.target.policy.rules = number;
        choice.notes.extend(
            compiled
                .waiting
                .iter()
                .map(|rule| format!("a name is not known yet, and matches nobody: {rule}")),
        );
        Ok(())
    }

    /// Gives back the rules of an interface that its policy does not name.
    pub(super) fn give_up_rules(&mut self, ifindex: Ifindex) {
        let Some(known) = self.world.enforced.get_mut(&ifindex) else { return };
        let named = known.current.policy.map_or(0, |policy| policy.rules);
        let next = known.rules.compiled.as_ref().and_then(|compiled| compiled.number);
        let kernel = &mut self.kernel;
        known.rules.written.retain(|number| {
            let used = *number == named || Some(*number) == next;
            if !used {
                kernel.give_up_rules(*number);
            }
            used
        });
    }
}

/// What a container has: the addresses that it was given, and the one on the link that its kernel
/// makes of its MAC address (RFC 4291, appendix A).
fn own(mac: MacAddress, addresses: &[IpAddr]) -> abi::Endpoint {
    let MacAddress(octets) = mac;
    let [first, second, third, rest @ ..] = octets;
    let [fourth, fifth, sixth] = rest;
    let (upper, lower) = ([first ^ 2, second, third, 0xff], [0xfe, fourth, fifth, sixth]);
    let mut link_local = [0; 16];
    let parts = [0xfe, 0x80, 0, 0, 0, 0, 0, 0].into_iter().chain(upper).chain(lower);
    link_local.iter_mut().zip(parts).for_each(|(place, part)| *place = part);
    let mut endpoint = abi::Endpoint { mac: octets, checked: 1, ..abi::Endpoint::default() };
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(address.octets()),
        IpAddr::V4(_) => None,
    });
    endpoint.v4.iter_mut().zip(v4).for_each(|(place, address)| *place = address);
    // The first one is the one that is looked at first.
    let v6 = v6.take(endpoint.v6.len() - 1).chain(std::iter::once(link_local));
    endpoint.v6.iter_mut().zip(v6).for_each(|(place, address)| *place = address);
    endpoint
}

//! Rules, judged in two ways: by the reference, and by the tables that the kernel programs search.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::datapath::{self, Placed, Places as Put, Program};
use ebpf_netns_plugin::rules::{
    AddressRange, Addresses, Expansion, Probe, ResolvedRule, Resolver, Service, Wanted, judge,
};
use plugin_common::abi::RuleTable;
use plugin_common::frames::memory::Places;
use plugin_common::rules::{Question, Ruling, decide, service};

/// What names stand for here; any other stands for nobody.
pub(super) struct Names;

impl Resolver for Names {
    fn resolve(&self, wanted: Wanted<'_>) -> Addresses {
        let known: &[&str] = match wanted {
            Wanted::Host => &["10.0.0.254", "fe80::fe"],
            Wanted::Resolvers => &["9.9.9.9", "2620:fe::fe"],
            Wanted::Container(name) if name.as_str() == "db" => &["10.0.0.9", "fd00::9"],
            Wanted::Service(name) if name.as_str() == "db" => &["10.0.0.9", "10.0.0.10"],
            Wanted::Network(name) if name.as_str() == "back" => &["10.1.0.0"],
            Wanted::Container(_) | Wanted::Service(_) | Wanted::Network(_) => &[],
        };
        let addresses = known.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        addresses.map(AddressRange::from).collect()
    }
}

/// Rules as the kernel programs search them.
pub(super) struct Tables {
    places: Places,
    table: RuleTable,
}

/// The tables of rules for what the container sends; `None` if they are too many.
pub(super) fn compiled(expansion: &Expansion) -> Option<Tables> {
    let layers = expansion.layers.iter().map(|rules| datapath::Layer { rules, audit: false });
    let egress = datapath::compile(&layers.collect::<Vec<_>>()).ok()?;
    let Placed { blocks, leaves, egress: table, .. } =
        Program { egress, ..Program::default() }.place(Put::default());
    Some(Tables { places: Places { blocks, leaves }, table })
}

/// Reference and tables agree on a packet.
pub(super) fn agree(expansion: &Expansion, tables: &Tables, probe: &Probe) -> Result<()> {
    let ruling = ask(&tables.places, &tables.table, probe);
    ensure!(!ruling.is_broken(), "the tables are broken for {probe:?}");
    let layers: Vec<&[ResolvedRule]> = expansion.layers.iter().map(Vec::as_slice).collect();
    let expected = judge(&layers, probe).allowed;
    ensure!(ruling.allowed() == expected, "the reference says {expected} of {probe:?}");
    Ok(())
}

fn ask(places: &Places, table: &RuleTable, probe: &Probe) -> Ruling {
    let Probe { remote, protocol, number } = *probe;
    let (ip_version, remote) = match remote {
        IpAddr::V4(address) => (4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => {
            let mut words = [0; 4];
            let octets = address.octets();
            let (chunks, _) = octets.as_chunks::<4>();
            words.iter_mut().zip(chunks).for_each(|(word, it)| *word = u32::from_ne_bytes(*it));
            (6, words)
        }
    };
    let service = service(ip_version, protocol, number);
    decide(places, table, &Question { remote, service, ip_version: ip_version.into() })
}

/// Packets at the edges of what rules are about.
pub(super) fn edges(expansion: &Expansion) -> impl Iterator<Item = Probe> {
    let rules = || expansion.layers.iter().flatten();
    let ranges = rules().flat_map(|rule| rule.remote.iter().flatten());
    let ends = ranges.flat_map(|range| [range.first(), range.last()]);
    let mut remotes: Vec<IpAddr> = ends.flat_map(|address| near(address).into_iter()).collect();
    let beyond = ["8.8.8.8", "2001:4860:4860::8888"];
    remotes.extend(beyond.iter().filter_map(|text| text.parse::<IpAddr>().ok()));
    remotes.sort_unstable();
    remotes.dedup();
    let services = rules().flat_map(|rule| &rule.traffic);
    let numbers = services.flat_map(|Service { protocol, first, last, .. }| {
        let protocol = protocol.unwrap_or(99);
        [first.saturating_sub(1), *first, *last, last.saturating_add(1)]
            .map(|number| (protocol, number))
    });
    let mut numbers: Vec<(u8, u16)> = numbers.chain([(6, 443), (58, 128)]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    // Of many, some: the runs are to be many as well.
    let (few_remotes, few_numbers) = (remotes.len() / 12 + 1, numbers.len() / 12 + 1);
    remotes.into_iter().step_by(few_remotes).flat_map(move |remote| {
        let numbers: Vec<_> = numbers.iter().copied().step_by(few_numbers).collect();
        numbers.into_iter().map(move |(protocol, number)| Probe { remote, protocol, number })
    })
}

/// An address and its neighbours.
fn near(address: IpAddr) -> [IpAddr; 3] {
    match address {
        IpAddr::V4(address) => {
            let number = u32::from(address);
            [number.wrapping_sub(1), number, number.wrapping_add(1)]
                .map(|number| IpAddr::V4(number.into()))
        }
        IpAddr::V6(address) => {
            let number = u128::from(address);
            [number.wrapping_sub(1), number, number.wrapping_add(1)]
                .map(|number| IpAddr::V6(number.into()))
        }
    }
}

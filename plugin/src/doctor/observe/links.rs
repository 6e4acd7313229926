//! Bridges and their veths, and what others attached to these.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ebpf_netns::rtnl::{BpfFilter, Direction};
use ebpf_netns::{ErrorClass, Ifindex, Link, LinkKind, Rtnl, RtnlError};

use crate::doctor::{Foreign, Hook, Networks, Port, Seen, Unseen};
use crate::error::chain;
use crate::kernel::query;

/// The names of programs by their ids; without, XDP and TCX programs cannot be told from ours.
type Names = BTreeMap<u32, String>;

/// `pins` is where the daemon pins what it attaches.
pub(super) fn look(pins: &Path) -> Seen<Networks> {
    let failed = |error: RtnlError| Unseen::failed(chain(&error));
    let rtnl = Rtnl::open().map_err(failed)?;
    let links = rtnl.links().map_err(failed)?;
    let bridges: BTreeMap<Ifindex, &str> = links
        .iter()
        .filter(|link| link.kind == LinkKind::Bridge)
        .map(|link| (link.index, link.name.as_str()))
        .collect();
    let mut networks = Networks {
        bridges: bridges.values().map(|name| (*name).to_owned()).collect(),
        ..Networks::default()
    };
    let names = query::names().map_err(|error| unseen("names of programs", &error));
    let operators = query::operators(pins);
    for link in links.iter().filter(|link| link.kind == LinkKind::Veth) {
        let Some(bridge) = link.master.and_then(|master| bridges.get(&master)) else { continue };
        let mut foreign = Vec::new();
        for found in [by_bpf(link, &names, &operators), filters(&rtnl, link)] {
            match found {
                Ok(found) => foreign.extend(found),
                Err(unseen) => networks.unseen = Some(unseen),
            }
        }
        let (name, bridge) = (link.name.clone(), (*bridge).to_owned());
        networks.ports.push(Port { name, bridge, mtu: link.mtu, foreign });
    }
    Ok(networks)
}

/// XDP and TCX programs that are neither ours nor the operator's.
fn by_bpf(link: &Link, names: &Seen<Names>, operators: &BTreeSet<u32>) -> Seen<Vec<Foreign>> {
    let mut held: Vec<(Hook, String, u32)> = Vec::new();
    if let Some(xdp) = link.xdp {
        held.push((Hook::Xdp, format!("{} XDP", xdp.mode), xdp.program_id));
    }
    match query::tcx(&link.name) {
        Ok(programs) => {
            held.extend(programs.into_iter().map(|(side, id)| (Hook::Tcx, side.to_owned(), id)));
        }
        // It is gone.
        Err(error) if ErrorClass::of_io(&error) == ErrorClass::Gone => return Ok(Vec::new()),
        Err(error) => return Err(unseen("TCX programs", &error)),
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let names = names.as_ref().map_err(Clone::clone)?;
    let foreign = held.into_iter().filter_map(|(hook, place, id)| {
        let name = names.get(&id).map_or("", String::as_str);
        let what = format!("{place} program {id} ({name})");
        let is_ours = query::is_ours(name) || operators.contains(&id);
        (!is_ours).then_some(Foreign { hook, what })
    });
    Ok(foreign.collect())
}

/// clsact filters that are not ours.
fn filters(rtnl: &Rtnl, link: &Link) -> Seen<Vec<Foreign>> {
    let mut found = BTreeSet::new();
    for (direction, side) in [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")] {
        let looked = rtnl
            .bpf_filters(link.index, direction)
            .and_then(|programs| Ok((programs, rtnl.other_filters(link.index, direction)?)));
        let (programs, others) = match looked {
            Ok(looked) => looked,
            Err(error) if error.class() == ErrorClass::Gone => return Ok(Vec::new()),
            Err(error) => return Err(Unseen::failed(chain(&error))),
        };
        for BpfFilter { program_id, name, .. } in programs {
            if !query::is_ours(&name) {
                found.insert(format!("clsact-{side} program {program_id} ({name})"));
            }
        }
        found.extend(others.into_iter().map(|kind| format!("clsact-{side} filter ({kind})")));
    }
    Ok(found.into_iter().map(|what| Foreign { hook: Hook::Clsact, what }).collect())
}

fn unseen(what: &str, error: &io::Error) -> Unseen {
    match ErrorClass::of_io(error) {
        ErrorClass::Permission => {
            Unseen::denied(format!("the {what} take CAP_NET_ADMIN and CAP_SYS_ADMIN"))
        }
        _ => Unseen::failed(format!("the {what}: {error}")),
    }
}

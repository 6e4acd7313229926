//! From a packet and what is known of its container to the interface, the direction and the frame.
//! Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ebpf_netns::text::printable;
use plugin_common::abi::{Endpoint, InterfacePolicy};
use plugin_common::packet::{Bytes, parse};

use super::frame::{Plain, Words, build};
use super::{Case, Described, End, Given, MAX_FRAME, MIN_FRAME, Question, Refused, Whereabouts};
use super::{Point, reference};
use crate::kernel::ProgramIdentity;
use crate::listing::{StandingRules, of_hook};
use crate::plan::{Attachment, Hook};
use crate::policy::Asked;
use crate::rules::Direction;
use crate::status::{HostSide, OwnStatus, State};

/// The other side's MAC address in a frame that is made up: nobody's.
const ELSEWHERE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What is known of a container that has a policy.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub container: String,
    /// Its interfaces that have a host-side veth: one at least.
    pub interfaces: Vec<Candidate>,
    /// The daemon's programs.
    pub programs: BTreeMap<Hook, ProgramIdentity>,
    /// Where the maps are pinned.
    pub maps: PathBuf,
}

/// An interface that a packet may be on.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name in the container.
    pub name: String,
    /// The Docker network that it is on.
    pub network: Option<String>,
    /// The host-side veth.
    pub host: HostSide,
    /// What stands on it.
    pub state: State,
    /// Why it is not `enforced`.
    pub reason: Option<String>,
    /// What is the container's own there.
    pub endpoint: Endpoint,
    /// Its entry of the policy map.
    pub policy: InterfacePolicy,
    /// What is attached.
    pub ways: Vec<(Hook, Attachment)>,
    /// Programs of the operator's, which are not run here.
    pub own: Vec<OwnStatus>,
    /// Presets as they were asked for.
    pub asked: Vec<Asked>,
    /// The rules that the policy names.
    pub rules: Option<StandingRules>,
}

/// Makes a case of a question.
///
/// # Errors
///
/// When the packet is none of the container's, or it cannot be told where it is.
pub fn case(question: &Question, subject: &Subject) -> Result<Case, Refused> {
    let Subject { container, interfaces, programs, maps } = subject;
    let meant = |candidate: &&Candidate| {
        question.interface.as_ref().is_none_or(|name| *name == candidate.name)
    };
    let candidates: Vec<&Candidate> = interfaces.iter().filter(meant).collect();
    if candidates.is_empty() {
        return Err(Refused::not_found(format!(
            "{} has no such interface: it has {}",
            printable(container),
            names(interfaces.iter())
        )));
    }
    let wanted = question.direction;
    let fits = |candidate: &&Candidate| directions(&question.packet, candidate, wanted);
    let found: Vec<(&Candidate, Direction)> = candidates
        .iter()
        .flat_map(|candidate| fits(candidate).into_iter().map(|direction| (*candidate, direction)))
        .collect();
    let (candidate, direction) = match (found.as_slice(), candidates.as_slice(), wanted) {
        ([one], _, _) => *one,
        // A packet that claims to be another's is one too.
        ([], [candidate], Some(direction)) => (*candidate, direction),
        ([], _, _) => return Err(nobodys(&question.packet, container, &candidates)),
        ([(one, _), .., (other, _)], _, _) if one.name == other.name => {
            return Err(Refused::unclear(
                "both addresses are the container's own: say --direction egress or ingress",
            ));
        }
        (several, ..) => {
            let names = names(several.iter().map(|(candidate, _)| *candidate));
            return Err(Refused::unclear(format!(
                "it may be on several interfaces of {}: say --interface, one of {names}",
                printable(container)
            )));
        }
    };
    let frame = frame(&question.packet, candidate, direction)?;
    let packet = parse(&Bytes(&frame));
    let policy = candidate.policy;
    if policy.rules != 0 && candidate.rules.is_none() {
        return Err(Refused::changing("its rules are changing right now: ask again"));
    }
    let judged = reference::judge(candidate, &frame, direction);
    let ways = candidate.ways.iter().filter(|(hook, _)| of_hook(*hook) == direction);
    let points = ways.filter_map(|(hook, attachment)| {
        let program = programs.get(hook)?;
        let mode = attachment.xdp_mode().map_or(String::new(), |mode| format!(" {mode}"));
        Some(Point {
            hook: *hook,
            attached: format!("{}{mode}", attachment.mechanism()),
            program: program.name.clone(),
            tag: program.tag.clone(),
            expected: judged.expect(*hook),
        })
    });
    Ok(Case {
        on: Whereabouts {
            container: container.clone(),
            interface: candidate.name.clone(),
            network: candidate.network.clone(),
            host: candidate.host.clone(),
            state: candidate.state,
            reason: candidate.reason.clone(),
            direction,
            programs: not_run(candidate, direction),
            packet: format!("{}, {} bytes", Words(&packet), frame.len()),
        },
        points: points.collect(),
        layers: judged.layers,
        counters: judged.counters,
        policy: policy.into(),
        frame,
        maps: maps.clone(),
    })
}

/// What is to be known of the operator's programs in a direction, which nobody but the kernel runs.
fn not_run(candidate: &Candidate, direction: Direction) -> Vec<String> {
    let in_direction = |own: &&OwnStatus| own.direction == direction.to_string();
    let tell = |own: &OwnStatus| {
        let name = own.name.as_deref().unwrap_or("another program");
        let when = if own.hook == "xdp" { "sees it first" } else { "sees it if it passes" };
        format!("{name} ({} id {}) {when}, and is not run here", own.hook, own.id)
    };
    candidate.own.iter().filter(in_direction).map(tell).collect()
}

/// The directions in which a packet may cross an interface.
fn directions(packet: &Given, candidate: &Candidate, wanted: Option<Direction>) -> Vec<Direction> {
    let endpoint = &candidate.endpoint;
    let (sent, received) = match packet {
        Given::Described(Described { source, destination, .. }) => {
            let is_own = |end: &End, other: &End| match (end.address, other.address) {
                (Some(address), _) => has(endpoint, address),
                (None, Some(other)) => own_address(endpoint, other).is_some(),
                (None, None) => false,
            };
            (is_own(source, destination), is_own(destination, source))
        }
        Given::Frame(frame) => {
            let mac = |start: usize| frame.get(start..start + 6);
            let is_own = |start| mac(start) == Some(endpoint.mac.as_slice());
            (is_own(6), is_own(0))
        }
    };
    [(sent, Direction::Egress), (received, Direction::Ingress)]
        .into_iter()
        .filter(|(fits, direction)| *fits && wanted.is_none_or(|wanted| wanted == *direction))
        .map(|(_, direction)| direction)
        .collect()
}

fn nobodys(packet: &Given, container: &str, candidates: &[&Candidate]) -> Refused {
    let container = printable(container);
    let has = candidates.iter().map(|candidate| {
        let mut own: Vec<String> =
            addresses(&candidate.endpoint).map(|address| address.to_string()).collect();
        if let Given::Frame(_) = packet {
            let mac = candidate.endpoint.mac.map(|byte| format!("{byte:02x}"));
            own = vec![mac.join(":")];
        }
        format!("{} {}", printable(&candidate.name), own.join(" "))
    });
    let has = has.collect::<Vec<_>>().join(", ");
    let what = match packet {
        Given::Described(_) => "neither address is",
        Given::Frame(_) => "neither MAC address is",
    };
    Refused::unclear(format!(
        "{what} {container}'s, which has {has}: for a packet that is to be another's, say --interface \
         and --direction"
    ))
}

fn names<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> String {
    let names = candidates.map(|candidate| printable(&candidate.name).to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// The frame that was given, or one for the packet that was described.
fn frame(packet: &Given, candidate: &Candidate, direction: Direction) -> Result<Vec<u8>, Refused> {
    let Described { protocol, source, destination, icmp_type } = match packet {
        Given::Frame(frame) if (MIN_FRAME..=MAX_FRAME).contains(&frame.len()) => {
            return Ok(frame.clone());
        }
        Given::Frame(frame) => {
            let length = frame.len();
            return Err(Refused::unclear(format!(
                "a frame of {length} bytes, expected {MIN_FRAME} to {MAX_FRAME}"
            )));
        }
        Given::Described(described) => *described,
    };
    let endpoint = &candidate.endpoint;
    let end = |end: End, other: End| {
        let own = || other.address.and_then(|other| own_address(endpoint, other));
        end.address.or_else(own).map(|address| SocketAddr::new(address, end.port))
    };
    let ends = end(source, destination).zip(end(destination, source));
    let (from, to) = match direction {
        Direction::Egress => (endpoint.mac, ELSEWHERE),
        Direction::Ingress => (ELSEWHERE, endpoint.mac),
    };
    let built = ends.and_then(|(source, destination)| {
        build(&Plain { protocol, source, destination, icmp_type }, from, to)
    });
    built.ok_or_else(|| {
        Refused::unclear("the container has no address of that version of IP: say one in its place")
    })
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    let v4 = endpoint.v4.iter().filter(|address| **address != 0);
    let v6 = endpoint.v6.iter().filter(|address| **address != [0; 16]);
    let v4 = v4.map(|address| IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())));
    v4.chain(v6.map(|address| IpAddr::V6(Ipv6Addr::from(*address))))
}

fn has(endpoint: &Endpoint, address: IpAddr) -> bool {
    addresses(endpoint).any(|own| own == address)
}

/// The container's address for talking with another: on the link if that is on the link.
fn own_address(endpoint: &Endpoint, other: IpAddr) -> Option<IpAddr> {
    let on_link = |address: &IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let same = |own: &IpAddr| own.is_ipv4() == other.is_ipv4() && on_link(own) == on_link(&other);
    addresses(endpoint).find(same)
}

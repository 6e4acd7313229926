//! What is told, as people read it: a line each. Pure.

use std::fmt;

use ebpf_netns::text::printable;

use super::clock::Clock;
use super::event::{End, Event, Lost, PacketEvent, Place, RuleEvent, Unreported};
use crate::plan::Hook;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { interfaces } => listening(f, interfaces),
            Self::Packet(packet) => packet.fmt(f),
            Self::Unreported(unreported) => unreported.fmt(f),
            Self::Lost(Lost { events }) => write!(
                f,
                "lost {events} events: they come faster than they are taken; --filter and --drops \
                 leave fewer"
            ),
        }
    }
}

fn listening(f: &mut fmt::Formatter<'_>, interfaces: &[Place]) -> fmt::Result {
    f.write_str("listening on ")?;
    if interfaces.is_empty() {
        return f.write_str("no interface yet: no container with a policy runs");
    }
    for (position, place) in interfaces.iter().enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        write!(f, "{comma}{place} ({})", printable(&place.host))?;
    }
    Ok(())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", printable(&self.container), printable(&self.interface))
    }
}

impl fmt::Display for PacketEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, place, hook, direction, passed, reason, protocol, length, .. } = self;
        write!(f, "{} {place} {direction} {} ", Clock(*time), at(*hook))?;
        if *passed {
            f.write_str("pass")?;
        } else {
            write!(f, "DROP {reason}")?;
        }
        write!(f, " {protocol}")?;
        if let (Some(source), Some(destination)) = (&self.source, &self.destination) {
            write!(f, " {source} > {destination}")?;
        }
        if let Some([kind, code]) = self.icmp {
            write!(f, " type {kind} code {code}")?;
        }
        if !self.tcp_flags.is_empty() {
            write!(f, " {}", self.tcp_flags.join("+"))?;
        }
        write!(f, ", {length} bytes")?;
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => std::net::SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl fmt::Display for RuleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origins.join(" and "))?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", printable(&self.rule))
    }
}

impl fmt::Display for Unreported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, hook, reason, packets } = self;
        let (direction, at) = (hook.direction(), at(*hook));
        write!(f, "{place} {direction} {at}: {packets} more of {reason} are not shown: too many")
    }
}

/// `xdp` or `tc`.
const fn at(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "xdp",
        Hook::Egress | Hook::Ingress => "tc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Direction;

    fn packet() -> PacketEvent {
        let end = |address: &str, port| End { address: address.parse().unwrap(), port };
        PacketEvent {
            time: 45_296.000_25,
            place: Place {
                container: "web".to_owned(),
                id: "0123".to_owned(),
                interface: "eth0".to_owned(),
                host: "veth6".to_owned(),
            },
            hook: Hook::Egress,
            direction: Direction::Egress,
            passed: false,
            reason: "denied".to_owned(),
            rule: Some(RuleEvent {
                origins: vec!["label tc.egress".to_owned()],
                line: Some(3),
                rule: "deny log to lan".to_owned(),
            }),
            protocol: "tcp".to_owned(),
            ethertype: 0x800,
            source: Some(end("172.17.0.2", Some(49_152))),
            destination: Some(end("10.0.0.9", Some(5432))),
            icmp: None,
            tcp_flags: vec!["SYN".to_owned()],
            length: 74,
        }
    }

    #[test]
    fn a_packet_is_a_line() {
        let expected = "12:34:56.000250Z web eth0 egress tc DROP denied tcp 172.17.0.2:49152 > \
                        10.0.0.9:5432 SYN, 74 bytes (label tc.egress, line 3: deny log to lan)";
        assert_eq!(packet().to_string(), expected);
        let ping = PacketEvent {
            hook: Hook::Xdp,
            passed: true,
            rule: None,
            protocol: "icmp6".to_owned(),
            source: Some(End { address: "fd00::2".parse().unwrap(), port: None }),
            destination: Some(End { address: "fd00::1".parse().unwrap(), port: None }),
            icmp: Some([128, 0]),
            tcp_flags: Vec::new(),
            ..packet()
        };
        let expected = "12:34:56.000250Z web eth0 egress xdp pass icmp6 fd00::2 > fd00::1 type 128 \
                        code 0, 74 bytes";
        assert_eq!(ping.to_string(), expected);
    }

    #[test]
    fn names_cannot_forge_a_line() {
        let place = Place { container: "a\nb\u{1b}".to_owned(), ..packet().place };
        let text = PacketEvent { place, ..packet() }.to_string();
        assert!(!text.contains(['\n', '\u{1b}']), "{text}");
    }

    #[test]
    fn what_was_written_as_json_reads_back() {
        let place = packet().place;
        let unreported = Unreported {
            place: place.clone(),
            hook: Hook::Ingress,
            reason: "no-rule".to_owned(),
            packets: 7,
        };
        for event in [
            Event::Packet(Box::new(packet())),
            Event::Listening { interfaces: vec![place] },
            Event::Unreported(unreported),
            Event::Lost(Lost { events: 9 }),
        ] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }
}

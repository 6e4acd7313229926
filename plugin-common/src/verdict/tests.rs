//! The verdict over whole frames, by what they are said to be: the parser is on trial here too.

use std::vec::Vec;

use super::*;
use crate::frames::{Kind, Mutator, corpus};
use crate::packet::{Bytes, parse};

/// The presets that look into a frame, in every combination.
fn selective() -> Vec<Presets> {
    let each = [Presets::DROP_TCP, Presets::DROP_UDP, Presets::DROP_ICMP];
    (1..8_u32)
        .map(|set| {
            let chosen = each.iter().enumerate().filter(|(index, _)| set & 1 << index != 0);
            chosen.fold(Presets::PASS, |all, (_, preset)| all | *preset)
        })
        .collect()
}

fn judge(presets: Presets, frame: &[u8]) -> Reason {
    verdict(presets, &parse(&Bytes(frame)))
}

fn check(name: &str, frame: &[u8], presets: Presets, expected: Reason) {
    let found = judge(presets, frame);
    assert_eq!(found, expected, "{name} under {presets:?}: {frame:02x?}");
}

/// What becomes of a frame of this kind, by the manual's table.
fn by_the_manual(kind: Kind, presets: Presets) -> Reason {
    let (preset, reason) = match kind {
        Kind::Tcp => (Presets::DROP_TCP, Reason::Tcp),
        Kind::Udp => (Presets::DROP_UDP, Reason::Udp),
        Kind::Icmp => (Presets::DROP_ICMP, Reason::Icmp),
        Kind::Other => return Reason::Passed,
        Kind::Unreadable(unreadable) => return unreadable.into(),
    };
    if presets.contains(preset) { reason } else { Reason::Passed }
}

#[test]
fn each_preset_drops_its_protocol_and_what_cannot_be_told() {
    for sample in corpus() {
        for presets in selective() {
            let expected = by_the_manual(sample.kind, presets);
            check(&sample.name, &sample.bytes, presets, expected);
            check(&sample.name, &sample.bytes, presets | Presets::LOG, expected);
        }
    }
}

#[test]
fn pass_and_log_drop_nothing() {
    for sample in corpus() {
        for presets in [Presets::PASS, Presets::LOG] {
            check(&sample.name, &sample.bytes, presets, Reason::Passed);
        }
    }
}

#[test]
fn drop_all_and_no_usable_policy_drop_everything() {
    let everything = Presets::from_bits(u32::MAX);
    let cases = [
        (Presets::DROP_ALL, Reason::All),
        (Presets::DROP_ALL | Presets::DROP_TCP | Presets::LOG, Reason::All),
        (Presets::CLOSED, Reason::Closed),
        (Presets::CLOSED | Presets::DROP_ALL, Reason::Closed),
        (Presets::UNASSIGNED, Reason::NoPolicy),
        (Presets::UNASSIGNED | Presets::CLOSED | Presets::DROP_ALL, Reason::NoPolicy),
        (Presets::from_bits(1 << 10), Reason::Closed),
        (Presets::from_bits(1 << 31) | Presets::LOG, Reason::Closed),
        (everything, Reason::NoPolicy),
        (everything.without(Presets::UNASSIGNED), Reason::Closed),
    ];
    for sample in corpus() {
        for (presets, expected) in cases {
            check(&sample.name, &sample.bytes, presets, expected);
        }
    }
}

/// A packet passes when each of the presets lets it pass, on samples and on mutations of them.
#[test]
fn presets_add_up() {
    let samples = corpus();
    let mut mutator = Mutator::new(7);
    let mutated = (0..20_000).map(|_| mutator.mutated(&samples));
    let frames: Vec<_> = samples.iter().map(|sample| sample.bytes.clone()).chain(mutated).collect();
    let parts = [Presets::DROP_TCP, Presets::DROP_UDP, Presets::DROP_ICMP];
    for frame in frames {
        for presets in selective() {
            let each = parts.iter().filter(|part| presets.contains(**part));
            let passes = each.clone().all(|part| judge(*part, &frame).passes());
            let found = judge(presets, &frame);
            assert_eq!(found.passes(), passes, "{presets:?}: {found:?} for {frame:02x?}");
        }
    }
}

/// However a frame is cut, what is left of it does not get through where the whole would not:
/// neither a sender nor a hook that sees less can turn a drop into a pass.
#[test]
fn a_prefix_of_a_dropped_frame_is_never_passed() {
    let mut prefixes = 0;
    for sample in corpus() {
        for presets in selective() {
            if judge(presets, &sample.bytes).passes() {
                continue;
            }
            for length in 0..sample.bytes.len() {
                let found = judge(presets, &sample.bytes[..length]);
                assert!(
                    !found.passes(),
                    "{length} bytes of {} under {presets:?}: {:02x?}",
                    sample.name,
                    sample.bytes
                );
                prefixes += 1;
            }
        }
    }
    assert!(prefixes > 100_000, "only {prefixes} prefixes");
}

#[test]
fn the_reasons_are_numbered_as_the_counters_are() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{reason:?}");
        assert_eq!(reason.passes(), reason == Reason::Passed, "{reason:?}");
        assert!(
            Reason::ALL.iter().filter(|other| other.name() == reason.name()).count() == 1,
            "the name {} stands for one reason",
            reason.name()
        );
    }
}

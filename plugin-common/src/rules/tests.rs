//! Searches at their edges, and what the layers make of what is found. Whether tables say what
//! rules say is tested where they are made.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::frames::memory::Places;

const END: u64 = 1 << 63;

/// A question that any search answers with its only leaf.
const ANY: Question = Question { remote: [0; 4], service: 0, ip_version: 4 };

/// Layers of one word: which rules match, which of them deny, and whether that is an audit.
fn layers(layers: &[(u64, u64, bool)]) -> Ruling {
    let (mut matching, mut deny, mut audited) = ([0; 8], [0; 8], 0);
    for (number, (matches, denies, audit)) in layers.iter().enumerate() {
        matching[number] = matches | END;
        deny[number] = denies | END;
        audited |= u32::from(*audit) << number;
    }
    let blocks = vec![Block(matching), Block(deny), Block([2; 8])];
    let tables = Places { blocks, leaves: vec![0] };
    let words = u32::try_from(layers.len()).unwrap();
    let table = RuleTable {
        words,
        layer_ends: (1 << words) - 1,
        audited,
        counters: 1000,
        deny: 1,
        log: 2,
        ..RuleTable::default()
    };
    let ruling = decide(&tables, &table, &ANY);
    assert_eq!(Ruling::from_number(ruling.number()), ruling);
    ruling
}

#[test]
fn each_layer_has_to_allow_by_its_first_rule() {
    for (name, case, allowed, rule, last, audited, log) in [
        ("no layer", &[][..], true, None, false, None, false),
        ("the end", &[(0, 0, false)], false, Some(1063), true, None, false),
        ("the first", &[(0b110, 0b100, false)], true, Some(1001), false, None, true),
        ("a denial", &[(0b100, 0b100, false)], false, Some(1002), false, None, false),
        ("two", &[(1, 0, false), (4, 0, false)], true, Some(1066), false, None, false),
        ("not the second", &[(1, 0, false), (0, 0, false)], false, Some(1127), true, None, false),
        ("not the first", &[(1, 1, false), (2, 0, false)], false, Some(1000), false, None, false),
        ("an audit", &[(1, 1, true)], true, Some(1000), false, Some(1000), false),
        (
            "an audited end",
            &[(0, 0, true), (2, 0, false)],
            true,
            Some(1065),
            false,
            Some(1063),
            true,
        ),
        (
            "the first audit",
            &[(0, 0, true), (0, 0, true)],
            true,
            Some(1127),
            false,
            Some(1063),
            false,
        ),
        ("after a denial", &[(1, 1, false), (0, 0, true)], false, Some(1000), false, None, false),
        ("eight", &[(1, 0, false); 8], true, Some(1448), false, None, false),
        ("the last bit", &[(END, 0, false); 8], false, Some(1063), true, None, false),
    ] {
        let ruling = layers(case);
        assert!(!ruling.is_broken(), "{name}");
        let found = (ruling.allowed(), ruling.rule(), ruling.is_last(), ruling.audited());
        assert_eq!(found, (allowed, rule, last, audited), "{name}");
        assert_eq!(ruling.log(), log, "{name}");
    }
}

#[test]
fn a_layer_takes_several_words() {
    let table =
        |layer_ends| RuleTable { words: 3, layer_ends, deny: 1, log: 2, ..RuleTable::default() };
    let tables = |matching: [u64; 3]| {
        let [a, b, c] = matching;
        let deny = Block([0, 0, END, 0, 0, 0, 0, 0]);
        Places {
            blocks: vec![Block([a, b, c, 0, 0, 0, 0, 0]), deny, Block([0; 8])],
            leaves: vec![0],
        }
    };
    let decided = |matching| decide(&tables(matching), &table(0b100), &ANY);
    assert_eq!(decided([END, 0, END]).rule(), Some(63), "the last of a word that is no end");
    assert!(decided([END, 0, END]).allowed());
    assert_eq!(decided([0, 2, END]).rule(), Some(65));
    assert!(decided([0, 0, END]).is_last());
    assert!(decided([0, 0, 0]).is_broken(), "a layer without an end");
    assert!(decide(&tables([1, 1, 1]), &table(0b010), &ANY).is_broken(), "after the last layer");
}

/// A tree of one level, or of two, over these starts, with the leaf of each interval its number.
fn narrow_places(starts: &[u32], depth: u32) -> Places {
    let node = |boundaries: &[u32]| {
        let mut words = [u64::MAX; 8];
        for (place, start) in boundaries.iter().enumerate() {
            let shift = 32 * (place % 2);
            words[place / 2] &= !(0xffff_ffff << shift);
            words[place / 2] |= u64::from(start - 1) << shift;
        }
        Block(words)
    };
    let mut blocks = Vec::new();
    if depth == 2 {
        let upper: Vec<u32> = starts.iter().copied().skip(16).step_by(17).collect();
        blocks.push(node(&upper));
        blocks.extend(starts.chunks(17).map(|chunk| node(&chunk[..chunk.len().min(16)])));
        if starts.len().is_multiple_of(17) {
            // For the last interval, alone.
            blocks.push(node(&[]));
        }
    } else {
        blocks.push(node(starts));
    }
    let first = u32::try_from(blocks.len()).unwrap();
    let leaves: Vec<u32> =
        (0..=u32::try_from(starts.len()).unwrap()).map(|it| first + it).collect();
    blocks.extend((0..leaves.len()).map(|number| Block([number as u64; 8])));
    Places { blocks, leaves }
}

#[test]
fn a_search_finds_the_interval_at_its_edges() {
    for (count, depth) in [(1, 1), (2, 1), (16, 1), (17, 2), (40, 2), (288, 2)] {
        for scale in [2, 1000, u32::MAX / 300] {
            let starts: Vec<u32> = (1..=count).map(|number| number * scale).collect();
            let tables = narrow_places(&starts, depth);
            let search = Search { root: 0, depth, leaves: 0 };
            let number = |key| narrow(&tables, &search, key).map(|Block([first, ..])| *first);
            assert_eq!(number(0), Some(0));
            assert_eq!(number(u32::MAX), Some(u64::from(count)));
            for (place, start) in (1..).zip(&starts) {
                assert_eq!(number(start - 1), Some(place - 1), "before {start} of {count}");
                assert_eq!(number(*start), Some(place), "at {start} of {count}");
            }
        }
    }
}

#[test]
fn halves_are_compared_as_one_number() {
    let numbers = [0, 1, 2, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    let pairs: Vec<_> = numbers.iter().flat_map(|high| numbers.map(|low| (*high, low))).collect();
    for one in &pairs {
        for other in &pairs {
            assert_eq!(is_below(*one, *other), u64::from(one < other), "{one:x?} < {other:x?}");
        }
    }
}

#[test]
fn bits_are_counted_and_found() {
    for shift in 0..64 {
        assert_eq!(ones((1_u64 << shift) - 1), shift);
        assert_eq!(is_set(1 << shift), 1);
    }
    assert_eq!((ones(u64::MAX), is_set(u64::MAX), is_set(0)), (64, 1, 0));
}

#[test]
fn places_that_are_not_there_decide_nothing() {
    let tables = Places::default();
    let table = RuleTable { words: 1, layer_ends: 1, ..RuleTable::default() };
    for ip_version in [4, 6] {
        let ruling = decide(&tables, &table, &Question { ip_version, ..ANY });
        assert!(ruling.is_broken() && !ruling.allowed());
    }
}

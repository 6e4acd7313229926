//! The tables against the reference: for any rules and any packet they say the same.

use std::net::IpAddr;

use plugin_common::abi::{Block, RuleTable};
use plugin_common::rules::{Question, Ruling, Tables, decide, service};
use proptest::prelude::*;

use super::{Layer, Placed, Places, Program, compile};
use crate::rules::tests::{layers, probe};
use crate::rules::{Probe, ResolvedRule, judge};

const PLACES: Places = Places { blocks: 1000, leaves: 2000, counters: 3000 };

impl Tables for Placed {
    fn block(&self, number: u32) -> Option<&Block> {
        self.blocks.get(number.checked_sub(PLACES.blocks)? as usize)
    }

    fn leaf(&self, number: u32) -> Option<u32> {
        self.leaves.get(number.checked_sub(PLACES.leaves)? as usize).copied()
    }
}

fn ask(placed: &Placed, table: &RuleTable, probe: &Probe) -> Ruling {
    let (ip_version, remote) = match probe.remote {
        IpAddr::V4(address) => (4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(address.octets().chunks_exact(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap());
            }
            (6, words)
        }
    };
    let service = service(ip_version, probe.protocol, probe.number);
    decide(placed, table, &Question { remote, service, ip_version: ip_version.into() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_tables_decide_as_the_reference_does(
        layers in layers(),
        probes in prop::collection::vec(probe(), 1..20),
    ) {
        let compiled: Vec<Layer<'_>> =
            layers.iter().map(|rules| Layer { rules, audit: false }).collect();
        // Ports of every protocol are more intervals than fit; nobody can write such a rule.
        let Ok(egress) = compile(&compiled) else { return Ok(()) };
        let counters = egress.counters.clone();
        let placed = Program { egress, ..Program::default() }.place(PLACES);
        let layers: Vec<&[ResolvedRule]> = layers.iter().map(Vec::as_slice).collect();
        for probe in &probes {
            let expected = judge(&layers, probe);
            let ruling = ask(&placed, &placed.egress, probe);
            prop_assert!(!ruling.is_broken(), "{probe:?}");
            prop_assert_eq!(ruling.allowed(), expected.allowed, "{:?}", probe);
            let Some(rule) = ruling.rule() else {
                prop_assert!(layers.is_empty());
                continue;
            };
            let (layer, position) = counters[&(rule - PLACES.counters)];
            prop_assert_eq!(expected.deciding[layer], position, "{:?}", probe);
            prop_assert_eq!(ruling.is_last(), !expected.allowed && position.is_none());
        }
    }
}

//! Every fault that is tried, by number. One file a family.

mod changing;
mod counterexample;
mod docker;
mod gate;
mod host;
mod killing;
mod load;
mod metrics;
mod socket;
mod starting;
mod state;
mod tampering;

use super::fault::Fault;

/// All faults, in order.
#[must_use]
pub fn all() -> Vec<Fault> {
    let mut all = [
        starting::FAULTS,
        changing::FAULTS,
        killing::FAULTS,
        docker::FAULTS,
        tampering::FAULTS,
        host::FAULTS,
        socket::FAULTS,
        load::FAULTS,
        metrics::FAULTS,
        state::FAULTS,
        gate::FAULTS,
    ]
    .concat();
    all.sort_by_key(|fault| number(fault.id));
    all
}

/// The number in an id: F5 comes before F13, and what is no F comes last.
fn number(id: &str) -> u32 {
    id.trim_start_matches('F').parse().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = all().iter().map(|fault| fault.id).collect();
        assert_eq!(ids.len(), all().len());
    }
}

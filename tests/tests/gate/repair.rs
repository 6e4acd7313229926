//! What is done to the table by others, and what becomes of it.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::gate::{CAPACITY, Condition, Difference, Gate, GateError, Hook, Installed};
use ebpf_netns_tests::{isolated, privilege};

use crate::scene::{Bridge, Container, Scene, all_answered, all_lost, index, nft, none};

const ONE: Container = Container(Bridge(1), 2);
const TWO: Container = Container(Bridge(1), 3);

/// Does something to the table, and checks that it is seen, and put right with the ports kept.
fn check(edit: &[&str], expected: &[Difference]) -> Result<()> {
    let scene = Scene::new(&[ONE, TWO])?;
    scene.gate.install(&none())?;
    scene.admit(ONE)?;
    let ports = scene.gate.ports()?;
    assert_eq!(scene.gate.inspect()?, Condition::Intact);
    for line in edit {
        nft(line)?;
    }
    assert_eq!(scene.gate.inspect()?, Condition::Changed(expected.to_vec()), "{edit:?}");
    let installed = scene.gate.install(&none())?;
    assert_eq!(installed, Installed::Repaired(expected.to_vec()), "{edit:?}");
    assert_eq!(scene.gate.inspect()?, Condition::Intact, "after {edit:?}");
    assert_eq!(scene.gate.ports()?, ports, "the ports are kept after {edit:?}");
    all_answered(&scene.pings_with_host(ONE)?, "the admitted port after the repair")?;
    all_lost(&scene.pings_with_host(TWO)?, "the unknown port after the repair")
}

#[test]
fn a_removed_rule_is_noticed_and_repaired() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_removed_rule_is_noticed_and_repaired", || {
        check(&["flush chain bridge ebpf-netns output"], &[Difference::Rules(Hook::Output)])
    })
}

#[test]
fn a_rule_that_lets_all_through_is_noticed_and_repaired() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_rule_that_lets_all_through_is_noticed_and_repaired", || {
        check(
            &[
                "insert rule bridge ebpf-netns prerouting accept",
                "insert rule bridge ebpf-netns output oifname \"port*\" accept",
            ],
            &[Difference::Rules(Hook::Prerouting), Difference::Rules(Hook::Output)],
        )
    })
}

#[test]
fn a_table_that_is_switched_off_is_noticed_and_repaired() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_table_that_is_switched_off_is_noticed_and_repaired", || {
        check(&["table bridge ebpf-netns { flags dormant; }"], &[Difference::Flags])
    })
}

#[test]
fn a_removed_chain_is_noticed_and_repaired() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_removed_chain_is_noticed_and_repaired", || {
        check(
            &[
                "flush chain bridge ebpf-netns forward",
                "delete chain bridge ebpf-netns forward",
                "chain bridge ebpf-netns input { policy drop; }",
            ],
            &[Difference::Chain(Hook::Input), Difference::Chain(Hook::Forward)],
        )
    })
}

#[test]
fn what_is_added_to_the_table_is_noticed_and_removed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::what_is_added_to_the_table_is_noticed_and_removed", || {
        check(&["add chain bridge ebpf-netns mine"], &[Difference::More])
    })
}

#[test]
fn a_flushed_ruleset_is_noticed_and_the_gate_made_again() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_flushed_ruleset_is_noticed_and_the_gate_made_again", || {
        let scene = Scene::new(&[ONE])?;
        scene.gate.install(&none())?;
        nft("flush ruleset")?;
        assert_eq!(scene.gate.inspect()?, Condition::Missing);
        assert_eq!(scene.gate.ports()?, none());
        assert_eq!(scene.gate.dropped()?, None);
        let refused = scene.admit(ONE).unwrap_err().to_string();
        ensure!(refused.contains("is gone"), "admitting tells: {refused}");
        scene.gate.expel(index(ONE)?)?;
        assert_eq!(scene.gate.install(&none())?, Installed::Made);
        all_lost(&scene.pings_with_host(ONE)?, "closed again")
    })
}

#[test]
fn a_table_of_someone_else_is_left_alone() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::a_table_of_someone_else_is_left_alone", || {
        nft("table bridge ebpf-netns { comment \"mine\"; set admitted { type iface_index; }; }")?;
        let theirs = nft("list ruleset")?;
        let gate = Gate::open()?;
        let refusals = [
            gate.install(&none()).err(),
            gate.inspect().err(),
            gate.dropped().err(),
            gate.remove().err(),
        ];
        for refusal in refusals {
            let refusal = refusal.context("it is refused")?;
            assert!(matches!(refusal, GateError::NotOurs), "{refusal}");
        }
        assert_eq!(nft("list ruleset")?, theirs);
        Ok(())
    })
}

#[test]
fn removing_leaves_nothing_and_opens() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::removing_leaves_nothing_and_opens", || {
        let scene = Scene::new(&[ONE])?;
        assert!(!scene.gate.remove()?, "there is nothing to remove");
        nft("add table bridge theirs")?;
        scene.gate.install(&none())?;
        assert!(scene.gate.remove()?);
        assert_eq!(nft("list ruleset")?, "table bridge theirs {\n}");
        assert!(!scene.gate.remove()?, "a second time there is nothing");
        all_answered(&scene.pings_with_host(ONE)?, "open again")
    })
}

#[test]
fn as_many_ports_as_fit_are_taken_and_one_more_is_refused() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::as_many_ports_as_fit_are_taken_and_one_more_is_refused", || {
        let gate = Gate::open()?;
        let mut ports = none();
        ports.admitted = (1..=CAPACITY).map(TryInto::try_into).collect::<Result<_, _>>()?;
        gate.install(&ports)?;
        assert_eq!(gate.ports()?, ports, "all are there");
        nft("add chain bridge ebpf-netns mine")?;
        assert_eq!(gate.install(&none())?, Installed::Repaired(vec![Difference::More]));
        assert_eq!(gate.ports()?, ports, "a repair keeps all");
        let refused = gate.admit((CAPACITY + 1).try_into()?).unwrap_err().to_string();
        ensure!(refused.contains("16384 ports"), "{refused}");
        Ok(())
    })
}

#[test]
fn many_who_install_at_once_make_one_gate() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("repair::many_who_install_at_once_make_one_gate", || {
        for round in 0..20 {
            let outcomes = thread::scope(|scope| {
                let install = || Gate::open()?.install(&none());
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(install)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
            let made = outcomes.iter().filter(|outcome| **outcome == Installed::Made).count();
            assert_eq!(made, 1, "one made it: {outcomes:?}");
            let gate = Gate::open()?;
            assert_eq!(gate.inspect()?, Condition::Intact, "round {round}");
            gate.remove()?;
        }
        Ok(())
    })
}

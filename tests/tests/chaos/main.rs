//! The quick form of the chaos: the same faults and oracles as `cargo xtask chaos`, a few times
//! each.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use ebpf_netns_tests::{
    chaos::{Outcome, Size, faults},
    privilege,
};

/// One at a time: the kernel's lock on interfaces is one for all network namespaces, and a daemon
/// that is late because another machine's attaches would be seen to leak.
static ALONE: Mutex<()> = Mutex::new(());

/// Tries one fault; it has to pass here.
fn check(id: &str) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fault = faults::all().into_iter().find(|fault| fault.id == id);
    let row = fault.with_context(|| format!("there is no fault {id}"))?.attempt(Size::Quick);
    match row.result.with_context(|| format!("{id}: {}", row.fault.name))? {
        Outcome::Passed(_) => Ok(()),
        Outcome::NotHere(why) => bail!("{id} was not tried: {why}"),
    }
}

#[test]
fn a_tool_that_acts_on_the_start_event_is_seen_to_leak() -> Result<()> {
    check("F0")
}

#[test]
fn nothing_leaks_from_the_first_instruction_on() -> Result<()> {
    check("F1")
}

#[test]
fn unlabelled_containers_that_start_lose_nothing() -> Result<()> {
    check("F3")
}

#[test]
fn killed_at_system_calls_the_daemon_leaves_nothing_open() -> Result<()> {
    check("F5")
}

#[test]
fn killed_under_a_flood_the_daemon_leaves_nothing_open() -> Result<()> {
    check("F9")
}

#[test]
fn networks_that_are_connected_later_do_not_leak() -> Result<()> {
    check("F13")
}

#[test]
fn metrics_that_are_asked_for_without_end_open_nothing() -> Result<()> {
    check("F53")
}

//! Running a test's body inside a machine: for code that is called and not started.
//!
//! A thread cannot enter a process namespace, so the test program starts itself again in there,
//! with this one test.

use std::{env, panic::Location};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, machine::Machine};

const INSIDE: &str = "EBPF_NETNS_TEST_INSIDE";

/// Runs `body` as root of a new private machine.
///
/// `test` is the test's path as the test program prints it, for example `attach::busy_hook`.
///
/// # Errors
///
/// When the body fails, or no test is named so.
#[track_caller]
pub fn isolated(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let at = Location::caller();
    let machine = Machine::start()?;
    let program = env::current_exe().context("find the test program")?;
    let mut inside = machine.command(program);
    inside.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = command::output_of(&mut inside)?;
    let (said, warned) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{test} failed in its machine:\n{said}{warned}");
    }
    ensure!(said.contains("1 passed"), "{at}: there is no test {test:?}:\n{said}");
    Ok(())
}

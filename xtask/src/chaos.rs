//! `cargo xtask chaos`: faults of every kind, and what must hold in spite of each.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use ebpf_netns_tests::chaos::{
    Fault, Outcome, Row, Size, faults,
    report::{self, Section},
};

use crate::{setup, ui};

/// Inject faults, watch for leaks, lost policies and residue, and print a table of it all (root).
///
/// Each fault has a Docker engine, a daemon and containers of its own, in a machine without a way
/// out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these faults, for example F5 F13.
    #[arg(value_name = "FAULT")]
    faults: Vec<String>,
    /// As much as the documentation speaks of: 1,000 starts, every system call. Takes hours.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// As little as shows anything: what `cargo xtask test` does.
    #[arg(long)]
    quick: bool,
    /// List the faults and try none.
    #[arg(long)]
    list: bool,
    /// Put the table into this document, for example docs/reliability.md.
    #[arg(long, value_name = "DOCUMENT")]
    write: Option<PathBuf>,
}

/// Tries the faults.
pub(crate) fn run(args: &Args) -> Result<()> {
    let faults = selected(&args.faults)?;
    if args.list {
        for Fault { id, name, expected, .. } in faults {
            ui::line(format_args!("{id:<7} {name}: {expected}"));
        }
        return Ok(());
    }
    ensure!(setup::is_root(), "faults take root: sudo -E cargo xtask chaos");
    let find = |document: &PathBuf| Section::find(document, &crate::root(), "chaos");
    let section = args.write.as_ref().map(find).transpose()?;
    setup::run()?;
    let size = match (args.quick, args.full) {
        (true, _) => Size::Quick,
        (_, true) => Size::Full,
        _ => Size::Short,
    };
    let rows: Vec<Row> = faults.iter().map(|fault| attempt(fault, size)).collect();
    let table = report::table(&rows, size);
    ui::heading("Measured");
    ui::line(&table);
    if let Some(section) = section {
        section.write(&table)?;
    }
    let failed: Vec<&str> =
        rows.iter().filter(|row| row.result.is_err()).map(|row| row.fault.id).collect();
    if !failed.is_empty() {
        bail!("these faults were not survived: {}", failed.join(" "));
    }
    Ok(())
}

/// The faults that were asked for, all of them when none was.
fn selected(wanted: &[String]) -> Result<Vec<Fault>> {
    let all = faults::all();
    for id in wanted {
        let known = all.iter().any(|fault| fault.id.eq_ignore_ascii_case(id));
        ensure!(known, "there is no fault {id}: `cargo xtask chaos --list` shows them");
    }
    let is_wanted = |fault: &Fault| {
        wanted.is_empty() || wanted.iter().any(|id| fault.id.eq_ignore_ascii_case(id))
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn attempt(fault: &Fault, size: Size) -> Row {
    ui::heading(format_args!("{} {}", fault.id, fault.name));
    let row = fault.attempt(size);
    let said = match &row.result {
        Ok(Outcome::Passed(figures)) => format!("held: {figures}"),
        Ok(Outcome::NotHere(why)) => format!("not tried here: {why}"),
        Err(error) => format!("FAILED: {error:#}"),
    };
    ui::line(format_args!("{said} ({:.1} s)", row.took.as_secs_f64()));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_there_is_none_of_is_named() {
        let error = selected(&["F1".to_owned(), "F99".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("F99"), "{error}");
        let ids: Vec<_> =
            selected(&["f1".to_owned()]).unwrap().iter().map(|fault| fault.id).collect();
        assert_eq!(ids, ["F1"]);
    }
}

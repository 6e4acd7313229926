//! The operator's programs, for people.

use std::fmt::Write as _;

use comfy_table::Table;
use ebpf_netns::text::printable;

use super::{new_table, render};
use crate::cli::programs::{FunctionReport, Inventory, ObjectReport};
use crate::programs::Kind;
use crate::status::{ContainerStatus, OwnStatus};

/// The table of `programs`, with why something does not load below it.
pub(in crate::cli) fn programs(inventory: &Inventory) -> String {
    let Inventory { directory, objects } = inventory;
    if objects.is_empty() {
        let directory = directory.to_string_lossy();
        return format!("{} has no object (*.o)\n", printable(&directory));
    }
    let mut table = new_table(&["FILE", "FUNCTION", "TYPE", "SECTION", "LOADS"]);
    let mut below = String::new();
    for ObjectReport { file, problem, functions } in objects {
        if let Some(problem) = problem {
            table.add_row([file.as_str(), "-", "-", "-", "no"]);
            // Writing to a string cannot fail.
            writeln!(below, "{file}: {}", printable(problem)).ok();
        }
        for function in functions {
            add(&mut table, &mut below, file, function);
        }
    }
    format!("{}{below}", render(&mut table))
}

fn add(table: &mut Table, below: &mut String, file: &str, function: &FunctionReport) {
    let FunctionReport { name, section, kind, loads, reason } = function;
    let loads = match loads {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    let kind = kind.map_or("-", Kind::word);
    let (name, section) = (printable(name).to_string(), printable(section).to_string());
    table.add_row([file, &name, kind, &section, loads]);
    if let Some(reason) = reason {
        // Writing to a string cannot fail.
        writeln!(below, "{file}#{name}: {}", printable(reason)).ok();
    }
}

/// The operator's programs on a container's interfaces, a line each.
pub(super) fn own(text: &mut String, container: &ContainerStatus) {
    for interface in &container.interfaces {
        for OwnStatus { hook, direction, mode, name, id, maps, .. } in &interface.programs {
            let mode = mode.as_ref().map_or(String::new(), |mode| format!(" {mode}"));
            let name = name.as_deref().unwrap_or("another program");
            let maps = maps.as_ref().map_or(String::new(), |maps| {
                format!(", maps in {}", printable(&maps.to_string_lossy()))
            });
            let (who, inside) = (printable(&container.name), printable(&interface.name));
            let name = printable(name);
            // Writing to a string cannot fail.
            writeln!(text, "{who} {inside}: {hook}{mode} {direction}: {name} id {id}{maps}").ok();
        }
    }
}

//! `cargo xtask tidy`: the rules of this repository that a program can check.
//!
//! Each rule is a function from the files to what is wrong with them, and has a test that shows it
//! failing. A rule that needs judgement belongs into review, not here.

mod docs;
mod layering;
mod manifests;
mod rust_text;
mod style;
mod testing;
mod tree;

use std::path::Path;

use anyhow::{Result, bail};

use crate::{ebpf, ui};
use tree::{Tree, Violation};

/// A rule: what is wrong with these files.
type Rule = fn(&Tree) -> Vec<Violation>;

const RULES: [Rule; 20] = [
    docs::changelog_has_this_version,
    docs::links_lead_somewhere,
    layering::aya_is_named_in_kernel_alone,
    layering::bollard_is_named_in_docker_alone,
    layering::decisions_do_no_io,
    layering::namespaces_are_entered_in_exec_alone,
    layering::sysfs_is_not_asked_for_links,
    layering::unsafe_is_forbidden_at_the_roots,
    layering::unsafe_stays_where_it_is_allowed,
    manifests::dependencies_are_inherited,
    manifests::lints_are_inherited,
    manifests::versions_leave_default_features_off,
    style::files_are_short,
    style::files_say_what_they_are_for,
    style::leftovers_name_an_issue,
    style::nothing_prints_unasked,
    testing::no_test_is_ignored,
    testing::no_test_expects_a_panic,
    testing::no_test_sleeps,
    testing::traps_have_tests,
];

/// Checks the repository at `root` against every rule.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut violations: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    violations.sort();
    let mut lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    match ebpf::committed_problems(root) {
        Ok(problems) => {
            lines.extend(problems.iter().map(|what| format!("{what}: {}", ebpf::WAY_OUT)));
        }
        Err(error) => lines.push(format!("plugin/bytecode:1: {error:#}: {}", ebpf::WAY_OUT)),
    }
    for line in &lines {
        ui::line(line);
    }
    if !lines.is_empty() {
        bail!("{} places break a rule of this repository, see above", lines.len());
    }
    ui::line(format_args!(
        "tidy: {} rules hold in {} files",
        RULES.len() + 1,
        tree.files().count()
    ));
    Ok(())
}

//! What every Cargo.toml must say.

use toml::Table;

use super::tree::{Tree, Violation, numbered};

/// The Cargo.toml of each member, with its table.
fn members(tree: &Tree) -> impl Iterator<Item = (&str, &str, Table)> {
    let manifests = tree.files().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    manifests.filter_map(|(path, file)| Some((path, file.text.as_str(), file.text.parse().ok()?)))
}

/// The line that begins with `key`, else the first.
fn line_of(text: &str, key: &str) -> usize {
    numbered(text).find(|(_, line)| line.starts_with(key)).map_or(1, |(number, _)| number)
}

/// A lint table that a crate does not inherit is no lint table.
pub(super) fn lints_are_inherited(tree: &Tree) -> Vec<Violation> {
    let inherits = |table: &Table| table.get("lints")?.get("workspace")?.as_bool();
    let others = members(tree).filter(|(.., table)| inherits(table) != Some(true));
    let what = "add `[lints] workspace = true`";
    others.map(|(path, text, _)| Violation::new(path, line_of(text, "[lints"), what)).collect()
}

/// Versions stand in one place.
pub(super) fn dependencies_are_inherited(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text, table) in members(tree) {
        for name in own_versions(&table) {
            let what = format!(
                "`{name}` has a version of its own: put it into [workspace.dependencies] of the \
                 root and write `{name}.workspace = true`"
            );
            found.push(Violation::new(path, line_of(text, &name), what));
        }
    }
    found
}

/// The dependencies that are not inherited, in whatever table.
fn own_versions(table: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if matches!(key.as_str(), "dependencies" | "dev-dependencies" | "build-dependencies") {
            let own = inner.iter().filter(|(_, entry)| {
                entry.get("workspace").and_then(toml::Value::as_bool) != Some(true)
            });
            names.extend(own.map(|(name, _)| name.clone()));
        } else if key == "target" {
            names.extend(inner.values().filter_map(toml::Value::as_table).flat_map(own_versions));
        }
    }
    names
}

/// What is used is what is asked for.
pub(super) fn versions_leave_default_features_off(tree: &Tree) -> Vec<Violation> {
    let Some(root) = tree.get("Cargo.toml") else { return Vec::new() };
    let Ok(table) = root.text.parse::<Table>() else {
        return vec![Violation::new(
            "Cargo.toml",
            1,
            "is not TOML: cargo would not read it either",
        )];
    };
    let dependencies = table.get("workspace").and_then(|all| all.get("dependencies")?.as_table());
    let defaults = dependencies.into_iter().flatten().filter(|(_, entry)| {
        entry.get("path").is_none()
            && entry.get("default-features").and_then(toml::Value::as_bool) != Some(false)
    });
    defaults
        .map(|(name, _)| {
            let what = format!("`{name}`: add `default-features = false` and name the features");
            Violation::new("Cargo.toml", line_of(&root.text, name), what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::style::check;
    use super::*;

    #[test]
    fn a_crate_without_the_lints_is_found() {
        check(lints_are_inherited, "a/Cargo.toml", "[package]\nname = 'a'\n", true);
        check(lints_are_inherited, "a/Cargo.toml", "[lints.clippy]\nall = 'warn'\n", true);
        check(lints_are_inherited, "a/Cargo.toml", "[lints]\nworkspace = true\n", false);
    }

    #[test]
    fn a_version_in_a_crate_is_found() {
        let rule = dependencies_are_inherited;
        check(rule, "a/Cargo.toml", "[dependencies]\nserde = '1'\n", true);
        check(rule, "a/Cargo.toml", "[dev-dependencies.serde]\nversion = '1'\n", true);
        check(rule, "a/Cargo.toml", "[target.'cfg(unix)'.dependencies]\nserde = '1'\n", true);
        check(rule, "a/Cargo.toml", "[dependencies]\nserde.workspace = true\n", false);
        let found = rule(&Tree::of(&[("a/Cargo.toml", "[dependencies]\n\nserde = '1'\n")]));
        assert!(found.iter().any(|it| it.to_string().starts_with("a/Cargo.toml:3:")), "{found:?}");
    }

    #[test]
    fn default_features_are_found() {
        let rule = versions_leave_default_features_off;
        let with = |entry: &str| format!("[workspace.dependencies]\n{entry}\n");
        check(rule, "Cargo.toml", &with("serde = '1'"), true);
        let off = "serde = { version = '1', default-features = false }";
        check(rule, "Cargo.toml", &with(off), false);
        check(rule, "Cargo.toml", &with("ours = { path = 'ours' }"), false);
    }
}

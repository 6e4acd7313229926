//! Text for people: the changelog, and links between documents.

use std::path::{Component, Path, PathBuf};

use toml::Table;

use super::tree::{Tree, Violation, extension, numbered};

/// Users can read what changed in the version that is being built.
pub(super) fn changelog_has_this_version(tree: &Tree) -> Vec<Violation> {
    const CHANGELOG: &str = "CHANGELOG.md";
    let manifest = tree.get("Cargo.toml").and_then(|file| file.text.parse::<Table>().ok());
    let package = manifest.as_ref().and_then(|table| table.get("workspace")?.get("package"));
    let Some(version) = package.and_then(|package| package.get("version")?.as_str()) else {
        return vec![Violation::new("Cargo.toml", 1, "has no version in [workspace.package]")];
    };
    let Some(changelog) = tree.get(CHANGELOG) else {
        return vec![Violation::new(
            CHANGELOG,
            1,
            format!("write it, with a heading `## {version}`"),
        )];
    };
    let is_heading = |line: &str| {
        let heading = line.strip_prefix("## ").map(|rest| rest.trim_start_matches(['[', 'v']));
        let after = heading.and_then(|heading| heading.strip_prefix(version));
        after.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
    };
    if changelog.text.lines().any(is_heading) {
        return Vec::new();
    }
    vec![Violation::new(CHANGELOG, 1, format!("add a heading `## {version}`"))]
}

/// A link between documents leads to a file that exists, and to a heading that it has.
pub(super) fn links_lead_somewhere(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, file) in tree.with_extension("md") {
        for (number, target) in links(&file.text) {
            if let Some(what) = dead(tree, path, target) {
                found.push(Violation::new(path, number, what));
            }
        }
    }
    found
}

/// The targets of the links in a document, with the lines they are in; code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // What is between backticks is every second piece.
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target)));
        }
    }
    found
}

/// What is wrong with a link; nothing, if it leads out of the repository.
fn dead(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { from.to_owned() } else { resolve(from, file) };
    let is_dir = tree.files().any(|(known, _)| known.starts_with(&format!("{path}/")));
    match tree.get(&path) {
        None if is_dir => None,
        None => Some(format!("links to `{target}`, which does not exist")),
        Some(document) if !heading.is_empty() && extension(&path) == Some("md") => {
            let known = document.text.lines().any(|line| anchor(line).as_deref() == Some(heading));
            (!known).then(|| format!("links to `{target}`, but {path} has no such heading"))
        }
        Some(_) => None,
    }
}

/// The anchor that GitHub gives to a heading.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// A relative path, as seen from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut path = PathBuf::from(from);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::RootDir => path.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_an_entry_is_found() {
        let manifest = ("Cargo.toml", "[workspace.package]\nversion = '0.1.0'\n");
        let check = |changelog: &str, broken: bool| {
            let found =
                changelog_has_this_version(&Tree::of(&[manifest, ("CHANGELOG.md", changelog)]));
            assert_eq!(!found.is_empty(), broken, "{changelog}: {found:?}");
        };
        check("# Changelog\n", true);
        check("## 0.1.0\n", false);
        check("## [0.1.0] - 2026-11-22\n", false);
        check("## 0.1.01\n", true);
        assert_eq!(changelog_has_this_version(&Tree::of(&[manifest])).len(), 1, "no changelog");
    }

    #[test]
    fn a_dead_link_is_found() {
        let check = |text: &str, broken: bool| {
            let other = ("docs/other.md", "# Some heading, with more\n");
            let tree = Tree::of(&[("docs/a.md", text), other, ("README.md", "# R")]);
            let found = links_lead_somewhere(&tree);
            assert_eq!(!found.is_empty(), broken, "{text}: {found:?}");
        };
        check("[x](other.md)", false);
        check("[x](gone.md)", true);
        check("[x](../README.md)", false);
        check("[x](../docs)", false);
        check("[x](other.md#some-heading-with-more)", false);
        check("[x](other.md#gone)", true);
        check("[x](#gone)", true);
        check("[x](https://example.com/gone.md)", false);
        check("`[x](gone.md)`", false);
        check("```\n[x](gone.md)\n```\n", false);
    }
}

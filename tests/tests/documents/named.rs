//! Tests, faults and messages that documents name are those that there are.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    chaos::faults,
    documents::{self, Document},
};

/// What tells a quoted message from a word: shorter ones are names.
const SENTENCE: usize = 18;

#[test]
fn every_guarantee_names_what_shows_it_and_that_is_there() -> Result<()> {
    let guarantees = document("docs/guarantees.md")?;
    let sources = sources("tests")?;
    let mut shown = 0;
    for line in guarantees.text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, by] = cells.as_slice() else { anyhow::bail!("two cells: {line}") };
        if *what == "guarantee" {
            continue;
        }
        let tests: Vec<&str> = quoted(by).collect();
        let faults = numbers(by);
        ensure!(!tests.is_empty() || !faults.is_empty(), "nothing shows this: {what}");
        for test in &tests {
            let is = |text: &String| text.contains(&format!("fn {test}("));
            ensure!(sources.iter().any(is), "there is no test {test}, which is to show: {what}");
        }
        let known = faults::all();
        for fault in &faults {
            ensure!(known.iter().any(|known| known.id == fault), "there is no fault {fault}");
        }
        shown += 1;
    }
    ensure!(shown > 20, "there are guarantees: {shown}");
    Ok(())
}

#[test]
fn every_message_that_is_quoted_is_one_of_the_programs() -> Result<()> {
    let page = document("docs/troubleshooting.md")?;
    let all: String =
        [sources("plugin/src")?, sources("netns/src")?, sources("plugin-common/src")?]
            .concat()
            .join("\n");
    let all = joined(&all);
    let mut checked = 0;
    for line in page.text.lines().filter(|line| line.starts_with("| ")) {
        let first = line.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        for message in quoted(first) {
            let pieces = message.split('…').map(|piece| piece.trim_matches([' ', ':', '(', ')']));
            for piece in pieces.filter(|piece| !piece.is_empty()) {
                ensure!(all.contains(piece), "no program says {piece:?}, which is in {message:?}");
                checked += usize::from(piece.len() >= SENTENCE);
            }
        }
    }
    ensure!(checked > 15, "messages are quoted: {checked}");
    Ok(())
}

#[test]
fn the_index_has_every_document() -> Result<()> {
    let index = document("docs/README.md")?;
    for document in documents::all()? {
        let name = document.path.trim_start_matches("docs/");
        let listed = name == "README.md" || index.text.contains(&format!("{name})"));
        ensure!(listed, "docs/README.md has no link to {}", document.path);
    }
    Ok(())
}

fn document(path: &str) -> Result<Document> {
    let mut all = documents::all()?.into_iter();
    all.find(|document| document.path == path).with_context(|| format!("there is no {path}"))
}

/// What is between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The faults that are named, also of a range such as `F14 to F20`.
fn numbers(text: &str) -> BTreeSet<String> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = prose.split([' ', ',']).filter(|word| !word.is_empty());
    let is_fault = |word: &&str| {
        let digits = word.strip_prefix(['F', 'R']).unwrap_or_default();
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    };
    words.filter(is_fault).map(str::to_owned).collect()
}

/// The Rust sources below a directory of the repository.
fn sources(directory: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    collect(&documents::root().join(directory), &mut found)?;
    Ok(found)
}

fn collect(directory: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Sources in which texts that go on in the next line are whole.
fn joined(text: &str) -> String {
    let mut all = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        all.push_str(line);
        let mut before = line;
        while before.ends_with('\\') {
            all.pop();
            let Some(next) = lines.next() else { break };
            all.push_str(next.trim_start());
            before = next;
        }
        all.push('\n');
    }
    all
}

#[test]
fn texts_that_go_on_are_made_whole() {
    assert_eq!(joined("a \"b \\\n     c \\\n   d\"\ne"), "a \"b c d\"\ne\n");
}

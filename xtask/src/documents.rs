//! What documents say of `cargo` is what these commands take.

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use ebpf_netns_tests::documents;

use super::Args;

#[test]
fn every_command_of_cargo_in_the_documents_can_be_typed() -> Result<()> {
    let mut read = 0;
    for document in documents::all()? {
        for shown in document.commands()? {
            for program in shown.programs()? {
                let Some(arguments) = program.words.strip_prefix(&["cargo".to_owned()]) else {
                    continue;
                };
                refused(arguments).with_context(|| format!("{}: {}", shown.place, shown.line))?;
                read += 1;
            }
        }
    }
    ensure!(read > 20, "there are {read} of them");
    Ok(())
}

#[test]
fn what_cannot_be_typed_is_refused() {
    let typed = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (line, fits) in [
        ("xtask tidy", true),
        ("xtask tidy --hard", false),
        ("xtask soak --hours 0.5", true),
        ("install --path netns", true),
        ("install --path nets", false),
        ("publish", false),
    ] {
        assert_eq!(refused(&typed(line)).is_ok(), fits, "{line}");
    }
}

/// What of it `cargo xtask`, or `cargo` for this repository, does not take.
fn refused(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["xtask", rest @ ..] => {
            let line = std::iter::once("xtask").chain(rest.iter().copied());
            Args::try_parse_from(line).map(drop).context("cargo xtask does not take it")
        }
        ["install", "--path", package] | ["install", "--locked", "--path", package] => {
            let manifest = documents::root().join(package).join("Cargo.toml");
            ensure!(manifest.is_file(), "there is no package {package}");
            Ok(())
        }
        ["build"] => Ok(()),
        other => anyhow::bail!("not known here: cargo {}", other.join(" ")),
    }
}

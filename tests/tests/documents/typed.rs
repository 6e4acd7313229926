//! Every command line is read by the program that it is for: what cannot be typed is in no document.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    binaries::{self, Binary},
    command::output_of,
    documents::{self, Simple},
};

#[test]
fn every_command_line_of_ours_in_the_documents_can_be_typed() -> Result<()> {
    let mut wrong = Vec::new();
    let mut read = 0;
    for document in documents::all()? {
        for shown in document.commands()? {
            for program in shown.programs()? {
                match refusal(&program)? {
                    Some(why) => wrong.push(format!("{}: {}: {why}", shown.place, shown.line)),
                    None => read += 1,
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(read > 40, "there are {read} commands in the documents");
    Ok(())
}

#[test]
fn what_cannot_be_typed_is_found() -> Result<()> {
    let words = |line: &str| Simple { words: line.split(' ').map(str::to_owned).collect() };
    for (line, fits) in [
        ("ebpf-netns status --rules", true),
        ("ebpf-netns status --rulez", false),
        ("ebpf-netns exec web -- tcpdump -i eth0", true),
        ("ebpf-netns exec --nonsense web -- tcpdump", false),
        ("ebpf-netns-plugin runtime install --default", true),
        ("ebpf-netns-plugin runtime instal", false),
        ("ebpf-netns top --interval never", false),
        ("docker compose -f compose/dev.yaml run", true),
        ("docker compose -f compose/gone.yaml run", false),
        ("ebpf-nets status", false),
    ] {
        let refused = refusal(&words(line))?;
        ensure!(refused.is_none() == fits, "{line}: {refused:?}");
    }
    Ok(())
}

/// Why it cannot be typed so.
fn refusal(program: &Simple) -> Result<Option<String>> {
    let (name, arguments) = program.words.split_first().context("a command has a word")?;
    match name.as_str() {
        "ebpf-netns" => of_ours(Binary::Netns, arguments),
        "ebpf-netns-plugin" => of_ours(Binary::Plugin, arguments),
        // `cargo xtask` reads its own.
        "docker" => Ok(missing_file(arguments)),
        other if other.starts_with("ebpf") => Ok(Some(format!("there is no program {other}"))),
        _ => Ok(None),
    }
}

/// What the program itself says, asked for help at the end of what it was given.
fn of_ours(binary: Binary, arguments: &[String]) -> Result<Option<String>> {
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let (own, others) = arguments.split_at_checked(end).context("it is within")?;
    let program = binaries::path(binary)?;
    let directory = program.parent().context("a program is in a directory")?;
    // `ebpf-netns` looks for the other there.
    let mut command = Command::new(&program);
    command.args(own).arg("--help").args(others).env("PATH", directory);
    let output = output_of(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(said))
}

/// A file of Compose's that is not in the repository.
fn missing_file(arguments: &[String]) -> Option<String> {
    let named: BTreeSet<&str> = arguments
        .windows(2)
        .filter_map(|pair| match pair {
            [option, file] if option == "-f" || option == "--file" => Some(file.as_str()),
            _ => None,
        })
        .collect();
    let gone = |file: &&&str| !documents::root().join(file).is_file();
    named.iter().find(gone).map(|file| format!("there is no {file}"))
}

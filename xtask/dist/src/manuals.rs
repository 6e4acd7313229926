//! Manuals and completions, made of what the programs themselves read their command lines with.

use std::io;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::epoch::Epoch;

/// A page: its name with the section, such as `ebpf-netns.1`, and its text in roff.
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) section: &'static str,
    pub(crate) text: Vec<u8>,
}

/// The completions of a command for a shell.
pub(crate) struct Completion {
    pub(crate) command: &'static str,
    pub(crate) shell: Shell,
    pub(crate) text: Vec<u8>,
}

pub(crate) const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

const DAEMON: &str = "ebpf-netns-plugin";

/// What fits into a line of a page.
const WIDTH: usize = 73;

/// What to read after a page.
const SEE_ALSO: &str = "\
.SH \"SEE ALSO\"
.BR ebpf-netns (1),
.BR ebpf-netns-plugin (8),
.BR ip-netns (8),
.BR docker (1)
.PP
/usr/share/doc/ebpf-netns has the reference of labels and of the configuration.
";

/// A page for each program, and for each of its verbs.
pub(crate) fn pages(epoch: Epoch) -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for (command, section) in
        [(ebpf_netns::cli::command(), "1"), (ebpf_netns_plugin::cli::command(), "8")]
    {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        add(&command, section, epoch, &mut pages)?;
    }
    Ok(pages)
}

/// The other names under which `man ebpf-netns VERB` finds a verb of the daemon's program.
pub(crate) fn aliases() -> Vec<(String, String)> {
    let daemon = ebpf_netns_plugin::cli::command();
    let verbs = daemon.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs
        .map(|verb| {
            let verb = verb.get_name();
            (format!("ebpf-netns-{verb}.8"), format!("{DAEMON}-{verb}.8"))
        })
        .collect()
}

fn add(command: &Command, section: &'static str, at: Epoch, pages: &mut Vec<Page>) -> Result<()> {
    let man = Man::new(command.clone())
        .section(section)
        .date(at.date())
        .source(format!("ebpf-netns {}", env!("CARGO_PKG_VERSION")))
        .manual("ebpf-netns");
    let name = man.get_filename();
    let text = text(&man, command).with_context(|| format!("write the manual {name}"))?;
    pages.push(Page { name, section, text });
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        add(verb, section, at, pages)?;
    }
    Ok(())
}

/// The sections of a page.
fn text(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        notes_section(&notes.to_string()).to_writer(&mut text)?;
    }
    text.extend_from_slice(SEE_ALSO.as_bytes());
    Ok(text)
}

/// What stands below the options in help, with its columns as they are; what is longer than a line is
/// a paragraph.
fn notes_section(notes: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["NOTES"]);
    for line in notes.lines() {
        section.control(if line.chars().count() > WIDTH { "fi" } else { "nf" }, []);
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

/// Completions of both programs, for every shell.
pub(crate) fn completions() -> Vec<Completion> {
    let mut completions = Vec::new();
    for (name, command) in [("ebpf-netns", whole()), (DAEMON, ebpf_netns_plugin::cli::command())] {
        for shell in SHELLS {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), name, &mut text);
            completions.push(Completion { command: name, shell, text });
        }
    }
    completions
}

/// `ebpf-netns` with the verbs that it leaves to the daemon's program.
fn whole() -> Command {
    let daemon = ebpf_netns_plugin::cli::command();
    ebpf_netns::cli::command().subcommands(daemon.get_subcommands().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_of_both_programs_has_a_page() {
        let pages = pages(Epoch::of_environment().unwrap()).unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        for expected in [
            "ebpf-netns.1",
            "ebpf-netns-link.1",
            "ebpf-netns-plugin.8",
            "ebpf-netns-plugin-run.8",
            "ebpf-netns-plugin-runtime-install.8",
        ] {
            assert!(names.contains(&expected), "{expected} is missing in {names:?}");
        }
        for (alias, page) in aliases() {
            assert!(names.contains(&page.as_str()), "{alias} leads to {page}, which is missing");
        }
    }

    #[test]
    fn a_page_says_what_help_says() {
        let pages = pages(Epoch::of_environment().unwrap()).unwrap();
        let run = pages.iter().find(|page| page.name == "ebpf-netns-plugin-run.8").unwrap();
        let text = String::from_utf8(run.text.clone()).unwrap().replace("\\-", "-");
        for said in ["--strict-bridge", "Run the daemon in the foreground", "SEE ALSO"] {
            assert!(text.contains(said), "{said} is missing in {text}");
        }
        assert!(!text.contains("--seccomp"), "what help does not show is not in the manual");
    }

    #[test]
    fn the_first_command_completes_the_verbs_of_both() {
        for Completion { command, shell, text } in completions() {
            let text = String::from_utf8(text).unwrap();
            for (verb, expected) in [("status", true), ("unlink", command == "ebpf-netns")] {
                assert_eq!(text.contains(verb), expected, "{command} in {shell}: {verb}");
            }
        }
    }
}

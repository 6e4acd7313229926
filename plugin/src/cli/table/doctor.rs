//! What `doctor` found, for people: by area, a line each, and what to do about it below.

use std::fmt::Write as _;

use ebpf_netns::text::printable;

use crate::doctor::{Area, Finding, Fit, Level, Report, Verdict};

/// Where a line is broken.
const WIDTH: usize = 80;
/// What stands before a sentence: two spaces, the level, a space.
const INDENT: usize = 11;

/// All of it, with the verdict at the end.
pub(in crate::cli) fn doctor(report: &Report) -> String {
    let Report { version: _, verdict, findings } = report;
    let mut text = String::new();
    for area in Area::ALL {
        let mut of_area = findings.iter().filter(|finding| finding.area == area).peekable();
        if of_area.peek().is_some() {
            // Writing to a string does not fail.
            writeln!(text, "{}", heading(area)).ok();
        }
        for finding in of_area {
            add(&mut text, finding);
        }
    }
    let Verdict { fit, summary, exit_code: _ } = verdict;
    let fit = match fit {
        Fit::Yes => "fit",
        Fit::No => "not fit",
        Fit::Unknown => "not known",
    };
    text.push('\n');
    if findings.iter().any(|finding| !finding.looked && finding.way_out.is_some()) {
        add_wrapped(&mut text, "", 0, "As root, this looks at what it could not look at now.");
    }
    add_wrapped(&mut text, "", 0, &format!("verdict: {fit}: {summary}"));
    text
}

const fn heading(area: Area) -> &'static str {
    match area {
        Area::Kernel => "Kernel",
        Area::Rights => "Rights of this caller",
        Area::Docker => "Docker",
        Area::Networks => "Networks",
        Area::Containers => "Containers",
        Area::Daemon => "Daemon",
    }
}

fn add(text: &mut String, finding: &Finding) {
    let Finding { level, looked, what, way_out, .. } = finding;
    add_wrapped(text, &format!("  {:<8} ", level.name()), INDENT, what);
    // What rights would help with is said once, at the end.
    if let Some(way_out) = way_out.as_ref().filter(|_| *looked) {
        let arrow = if *level >= Level::Warning { "=> " } else { "-> " };
        add_wrapped(text, &format!("{:INDENT$}{arrow}", ""), INDENT + arrow.len(), way_out);
    }
}

/// A sentence, broken between words, with all lines but the first indented.
fn add_wrapped(text: &mut String, first: &str, indent: usize, sentence: &str) {
    let sentence = printable(sentence).to_string();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in sentence.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(sentence: &str) -> String {
        let mut text = String::new();
        add_wrapped(&mut text, "  note     ", INDENT, sentence);
        text
    }

    #[test]
    fn long_sentences_are_broken_between_words_and_indented() {
        let text = wrapped(&"word ".repeat(30));
        assert!(text.lines().count() > 1, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("           word")), "{text}");
        assert_eq!(text.split_whitespace().filter(|word| *word == "word").count(), 30, "{text}");
    }

    #[test]
    fn a_word_that_is_longer_than_a_line_is_kept_and_names_cannot_write_lines() {
        let long = "x".repeat(200);
        assert_eq!(wrapped(&long).trim_end(), format!("  note     {long}"));
        assert_eq!(wrapped("a\n  ok       forged").lines().count(), 1);
    }
}

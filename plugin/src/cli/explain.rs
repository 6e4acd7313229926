//! `explain`: what becomes of a packet, and which rule decides.

use std::path::Path;

use super::verbs::{Failure, print, runtime};
use super::{ExplainArgs, table};
use crate::control;
use crate::explain::{self, Answer, Case, Given, Question};
use crate::kernel::examine::Examiner;

/// Asks the daemon what should become of the packets, and runs its programs on them.
pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let mut examiner = None;
    let mut explanations = Vec::new();
    for packet in packets(args)? {
        let case = ask(args, packet)?;
        let ready = match examiner.take() {
            Some(ready) => ready,
            None => Examiner::load(&case.maps)?,
        };
        let outcomes = examiner.insert(ready).examine(&case)?;
        explanations.push(explain::conclude(case, outcomes));
    }
    print(args.format, &explanations, || {
        let shown: Vec<String> = explanations.iter().map(table::explanation).collect();
        shown.join("\n")
    })?;
    let wrong = explanations.iter().map(|one| one.disagreements.len()).sum();
    if wrong > 0 { Err(Failure::Disagreement(wrong)) } else { Ok(()) }
}

fn ask(args: &ExplainArgs, packet: Given) -> Result<Case, Failure> {
    let question = Question {
        container: args.container.clone(),
        interface: args.interface.clone(),
        direction: args.direction,
        packet,
    };
    match runtime()?.block_on(control::explain(&args.control_socket, &question))? {
        Answer::Refused(refused) => Err(Failure::Unexplained(refused)),
        Answer::Case(case) => Ok(*case),
    }
}

fn packets(args: &ExplainArgs) -> Result<Vec<Given>, Failure> {
    if let Some(words) = &args.packet {
        return Ok(vec![Given::Described(words.parse().map_err(Failure::Packet)?)]);
    }
    let given = args.frame.as_deref().unwrap_or_default();
    let frames = if is_file(given) {
        explain::of_capture(Path::new(given), args.count)?
    } else {
        vec![explain::of_hex(given)?]
    };
    Ok(frames.into_iter().map(Given::Frame).collect())
}

/// No digit is a slash, nor a point.
fn is_file(given: &str) -> bool {
    let ending = Path::new(given).extension();
    given.contains('/')
        || ["pcap", "pcapng", "cap"].iter().any(|known| ending.is_some_and(|it| it == *known))
}

//! One rule, word by word. Pure.

use std::num::NonZero;

use super::super::error::{Advice, RuleError, Unexpected};
use super::super::icmp::{IcmpName, IcmpType};
use super::super::model::{Action, Direction, IcmpTypes, Ports, Rule, Target, Traffic};
use super::numbers::{number, ports};
use super::targets;
use super::words::{Line, Word, Words};
use crate::labels::nearest;

const ACTIONS: [&str; 2] = ["allow", "deny"];
const TRAFFIC: [&str; 6] = ["dns", "tcp", "udp", "icmp", "sctp", "any"];
const PORTS: &str = "a port from 1 to 65535 or low-high";

/// Reads one rule.
pub(super) struct Parser<'a> {
    direction: Direction,
    words: Words<'a>,
    next: usize,
    errors: Vec<(usize, Unexpected)>,
}

/// What is wrong was noted.
struct Noted;

impl<'a> Parser<'a> {
    pub(super) fn new(direction: Direction, words: Words<'a>) -> Self {
        Self { direction, words, next: 0, errors: Vec::new() }
    }

    /// The rule; `None` when there are errors.
    pub(super) fn rule(&mut self, line: NonZero<u32>) -> Option<Rule> {
        let rule = self.read(line).ok();
        rule.filter(|_| self.errors.is_empty())
    }

    pub(super) fn into_errors(self, line: &Line<'_>) -> impl Iterator<Item = RuleError> {
        let (number, text) = (line.number, line.text);
        self.errors
            .into_iter()
            .map(move |(column, wrong)| RuleError::unexpected(number, column, text, wrong))
    }

    fn read(&mut self, line: NonZero<u32>) -> Result<Rule, Noted> {
        let action = self.action()?;
        let log = self.peek().is_some_and(|word| word.text == "log");
        if log {
            self.next += 1;
        }
        let traffic = self.traffic(log)?;
        let targets = self.targets(&traffic)?;
        Ok(Rule { action, log, traffic, targets, line })
    }

    fn action(&mut self) -> Result<Action, Noted> {
        let action = match self.peek().map(|word| word.text) {
            Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            found => {
                let comment = found.is_some_and(|found| found.starts_with(['#', '/']));
                let advice = comment.then_some(Advice::NoComments);
                return self.wrong("allow or deny", advice, &ACTIONS);
            }
        };
        self.next += 1;
        Ok(action)
    }

    fn traffic(&mut self, log: bool) -> Result<Traffic, Noted> {
        let Some(word) = self.peek().filter(|word| !is_preposition(word.text)) else {
            return Ok(Traffic::Any);
        };
        let protocol = number(word.text, u8::MAX.into());
        self.next += 1;
        match word.text {
            "any" => Ok(Traffic::Any),
            "dns" => Ok(Traffic::Dns),
            "tcp" => self.list(PORTS, &[], ports).map(|ports| Traffic::Tcp(Ports(ports))),
            "udp" => self.list(PORTS, &[], ports).map(|ports| Traffic::Udp(Ports(ports))),
            "sctp" => self.list(PORTS, &[], ports).map(|ports| Traffic::Sctp(Ports(ports))),
            "icmp" => self.icmp(),
            _ if let Ok(protocol) = protocol.as_ref().map(|number| number.to_le_bytes()[0]) => {
                Ok(Traffic::Protocol(protocol))
            }
            text => {
                self.next -= 1;
                let meant = text.split_once(['/', ':']).filter(|(protocol, ports)| {
                    matches!(*protocol, "tcp" | "udp" | "sctp") && self::ports(ports).is_ok()
                });
                let advice = match meant {
                    Some((protocol, ports)) => Some(Advice::Write(format!("{protocol} {ports}"))),
                    None if ports(text).is_ok() => Some(Advice::Write(format!("tcp {text}"))),
                    None => protocol.err().flatten(),
                };
                self.expected_traffic(log, advice)
            }
        }
    }

    fn expected_traffic(&mut self, log: bool, advice: Option<Advice>) -> Result<Traffic, Noted> {
        let preposition = preposition(self.direction);
        let mut words = TRAFFIC.to_vec();
        words.push(preposition);
        let mut expected = String::new();
        if !log {
            words.push("log");
            expected.push_str("log, ");
        }
        expected.push_str(&TRAFFIC.join(", "));
        expected.push_str(", a protocol's number from 0 to 255, ");
        expected.push_str(preposition);
        expected.push_str(" or the end of the rule");
        self.wrong(&expected, advice, &words)
    }

    fn icmp(&mut self) -> Result<Traffic, Noted> {
        let names = IcmpName::ALL.map(IcmpName::as_str);
        let expected = format!("{} or a number from 0 to 255", names.join(", "));
        let types = self.list(&expected, &names, |text| match IcmpName::new(text) {
            Some(name) => Ok(IcmpType::Named(name)),
            None => {
                number(text, u8::MAX.into()).map(|number| IcmpType::Number(number.to_le_bytes()[0]))
            }
        })?;
        Ok(Traffic::Icmp(IcmpTypes(types)))
    }

    fn targets(&mut self, traffic: &Traffic) -> Result<Vec<Target>, Noted> {
        let Some(word) = self.peek() else { return Ok(Vec::new()) };
        let preposition = preposition(self.direction);
        if word.text != preposition {
            let expected = format!("{preposition} or the end of the rule");
            let has_ports = matches!(traffic, Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Sctp(_));
            let advice = if is_preposition(word.text) {
                Some(Advice::Other(self.direction))
            } else if ports(word.text).is_ok() {
                Some(if has_ports { Advice::Commas } else { Advice::NoPorts })
            } else {
                None
            };
            return self.wrong(&expected, advice, &[preposition]);
        }
        self.next += 1;
        if self.peek().is_none() {
            return self.wrong(targets::EXPECTED, None, &[]);
        }
        let mut found = Vec::new();
        loop {
            match self.peek().filter(|word| !word.is_comma()) {
                None => return self.wrong(targets::EXPECTED, None, &[]),
                Some(word) => match targets::parse(word.text) {
                    Ok(target) => found.push(target),
                    Err(wrong) => self.errors.push((word.column, wrong)),
                },
            }
            self.next += 1;
            if !self.continues() {
                break;
            }
        }
        match self.peek() {
            None => Ok(found),
            Some(_) => self.wrong("a comma or the end of the rule", None, &[]),
        }
    }

    /// Items with commas between them, up to what belongs to the next part of the rule; none is
    /// fine.
    fn list<T>(
        &mut self,
        expected: &str,
        words: &[&str],
        item: impl Fn(&str) -> Result<T, Option<Advice>>,
    ) -> Result<Vec<T>, Noted> {
        let mut found = Vec::new();
        if self.peek().is_none_or(|word| is_preposition(word.text)) {
            return Ok(found);
        }
        loop {
            let item_here = |word: &Word<'_>| !word.is_comma() && !is_preposition(word.text);
            let Some(word) = self.peek().filter(item_here) else {
                return self.wrong(expected, None, words);
            };
            match item(word.text) {
                Ok(item) => found.push(item),
                Err(advice) => {
                    let noted: Result<(), Noted> = self.wrong(expected, advice, words);
                    drop(noted);
                }
            }
            self.next += 1;
            if !self.continues() {
                return Ok(found);
            }
        }
    }

    /// Whether a list goes on; the comma is taken.
    fn continues(&mut self) -> bool {
        let continues = self.peek().is_some_and(Word::continues_list);
        self.next += usize::from(continues);
        continues
    }

    fn peek(&self) -> Option<Word<'a>> {
        self.words.all.get(self.next).copied()
    }

    /// Notes that what comes next is wrong; without advice, one of `words` is suggested.
    fn wrong<T>(
        &mut self,
        expected: &str,
        advice: Option<Advice>,
        words: &[&str],
    ) -> Result<T, Noted> {
        let found = self.peek().map(|word| word.text);
        let column = self.peek().map_or(self.words.end, |word| word.column);
        let advice = advice.or_else(|| advice_on(found?, words));
        let found = found.map(str::to_owned);
        self.errors.push((column, Unexpected { found, expected: expected.to_owned(), advice }));
        Err(Noted)
    }
}

/// What can be said of a word that is none of these.
pub(super) fn advice_on(found: &str, words: &[&str]) -> Option<Advice> {
    let takes_no_room = |c: char| matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}');
    let separates = |c: char| c.is_whitespace() || c.is_control() || takes_no_room(c);
    if found.contains(separates) {
        return Some(Advice::OnlySpaces);
    }
    nearest(found, words.iter().copied()).map(|word| Advice::DidYouMean(word.to_owned()))
}

fn preposition(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    }
}

fn is_preposition(word: &str) -> bool {
    matches!(word, "to" | "from")
}

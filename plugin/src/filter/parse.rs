//! Reading a filter. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use plugin_common::verdict::Reason;
use strsim::damerau_levenshtein;

use super::{Filter, Net, Protocol, Side, Test};
use crate::pointed::{TextError, Word, Words};

/// The longest filter, in bytes.
const MAX_BYTES: usize = 1024;
/// How deep parentheses and `not` may be nested.
const MAX_DEPTH: usize = 32;

const TESTS: &str = "not, (, src, dst, host, net, port, portrange, proto, reason, tcp, udp, sctp, \
                     icmp, icmp6, ip, ip6 or arp";
const KINDS: &str = "host, net, port or portrange";
const GOES_ON: &str = "and, or, or the end of the filter";

struct Parser<'a> {
    words: Words<'a>,
}

impl FromStr for Filter {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let is_word = |c| matches!(c, '(' | ')' | '!');
        let mut parser = Parser { words: Words::new("filter", text, MAX_BYTES, is_word)? };
        let whole = parser.tests(MAX_DEPTH)?;
        match parser.words.peek() {
            None => Ok(Self(whole)),
            Some(word) => Err(parser.words.wrong(Some(word), GOES_ON)),
        }
    }
}

impl<'a> Parser<'a> {
    fn tests(&mut self, depth: usize) -> Result<Test, TextError> {
        let mut all = self.test(depth)?;
        loop {
            let join: fn(Vec<Test>) -> Test = match self.words.peek().map(|word| word.text) {
                Some("and" | "&&") => Test::All,
                Some("or" | "||") => Test::Any,
                _ => return Ok(all),
            };
            self.words.skip();
            all = join(vec![all, self.test(depth)?]);
        }
    }

    fn test(&mut self, depth: usize) -> Result<Test, TextError> {
        let word = self.words.take(TESTS)?;
        let Some(below) = depth.checked_sub(1) else {
            return Err(self
                .words
                .wrong(Some(word), format!("at most {MAX_DEPTH} not and ( in a row")));
        };
        match word.text {
            "not" | "!" => Ok(Test::Not(Box::new(self.test(below)?))),
            "(" => {
                let inner = self.tests(below)?;
                let word = self.words.take("and, or, or )")?;
                match word.text {
                    ")" => Ok(inner),
                    _ => Err(self.words.wrong(Some(word), "and, or, or )")),
                }
            }
            "proto" => Ok(Test::Number(self.number("a protocol from 0 to 255")?)),
            "reason" => self.reason(),
            _ => self.primitive(word),
        }
    }

    /// `tcp`, `dst port 53`, `udp src net 10.0.0.0/8`.
    fn primitive(&mut self, first: Word<'a>) -> Result<Test, TextError> {
        let protocol = Protocol::NAMED.iter().find(|(name, _)| *name == first.text);
        let protocol = protocol.map(|(_, protocol)| *protocol);
        let (word, expected) = match protocol {
            None => (first, TESTS),
            Some(protocol) => match self.words.peek() {
                Some(word) if is_qualifier(word.text) => {
                    self.words.skip();
                    (word, KINDS)
                }
                _ => return Ok(Test::Is(protocol)),
            },
        };
        let side = match word.text {
            "src" => Side::Source,
            "dst" => Side::Destination,
            _ => Side::Either,
        };
        let (kind, expected) = match side {
            Side::Either => (word, expected),
            Side::Source | Side::Destination => (self.words.take(KINDS)?, KINDS),
        };
        let test = match kind.text {
            "host" => Test::Host(side, self.host(protocol)?),
            "net" => Test::Net(side, self.net(protocol)?),
            "port" | "portrange" => {
                if protocol.is_some_and(|protocol| !protocol.may_have_ports()) {
                    let expected = format!("no port, which {} has not", first.text);
                    return Err(self.words.wrong(Some(kind), expected));
                }
                let is_range = kind.text == "portrange";
                Test::Port(side, if is_range { self.ports()? } else { self.port()? })
            }
            other => return Err(self.words.wrong(Some(kind), with_suggestion(other, expected))),
        };
        Ok(match protocol {
            None => test,
            Some(protocol) => Test::All(vec![Test::Is(protocol), test]),
        })
    }

    fn host(&mut self, protocol: Option<Protocol>) -> Result<IpAddr, TextError> {
        let word = self.words.take("an address")?;
        let address =
            word.text.parse().map_err(|_invalid| self.words.wrong(Some(word), "an address"))?;
        self.check_version(word, address, protocol)?;
        Ok(address)
    }

    fn net(&mut self, protocol: Option<Protocol>) -> Result<Net, TextError> {
        const NETS: &str = "a network such as 10.0.0.0/8";
        let word = self.words.take(NETS)?;
        let (address, length) = match word.text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (word.text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_invalid| self.words.wrong(Some(word), NETS))?;
        self.check_version(word, address, protocol)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => whole,
            Some(text) => {
                let valid = text.parse().ok().filter(|length| *length <= whole);
                valid.ok_or_else(|| {
                    let expected = format!("a length from 0 to {whole}");
                    self.words.wrong(Some(word.end(text)), expected)
                })?
            }
        };
        Ok(Net { address, length })
    }

    /// Of `ip6 host 10.0.0.1` there is no packet.
    fn check_version(
        &self,
        word: Word<'_>,
        address: IpAddr,
        protocol: Option<Protocol>,
    ) -> Result<(), TextError> {
        let version = if address.is_ipv4() { 4 } else { 6 };
        match protocol.and_then(Protocol::version) {
            Some(wanted) if wanted != version => {
                Err(self.words.wrong(Some(word), format!("an address of IPv{wanted}")))
            }
            _ => Ok(()),
        }
    }

    fn port(&mut self) -> Result<RangeInclusive<u16>, TextError> {
        let port = self.number("a port from 0 to 65535")?;
        Ok(port..=port)
    }

    fn ports(&mut self) -> Result<RangeInclusive<u16>, TextError> {
        const RANGE: &str = "two ports from 0 to 65535, the lower one first: 8000-8080";
        let word = self.words.take(RANGE)?;
        let ends = word.text.split_once('-').map(|(low, high)| (low.parse(), high.parse()));
        match ends {
            Some((Ok(low), Ok(high))) if low <= high => Ok(low..=high),
            _ => Err(self.words.wrong(Some(word), RANGE)),
        }
    }

    fn number<T: FromStr>(&mut self, expected: &str) -> Result<T, TextError> {
        let word = self.words.take(expected)?;
        word.text.parse().map_err(|_invalid| self.words.wrong(Some(word), expected))
    }

    fn reason(&mut self) -> Result<Test, TextError> {
        let names = Reason::ALL.map(Reason::name).join(", ");
        let expected = format!("a reason, one of {names}");
        let word = self.words.take(&expected)?;
        let found = Reason::ALL.into_iter().find(|reason| reason.name() == word.text);
        found.map(Test::Reason).ok_or_else(|| self.words.wrong(Some(word), expected))
    }
}

/// Whether a word that follows a protocol belongs to it.
fn is_qualifier(word: &str) -> bool {
    ["src", "dst", "host", "net", "port", "portrange"].contains(&word)
}

/// What was expected, and a hint where it is clear what was meant.
fn with_suggestion(found: &str, expected: &str) -> String {
    let mut said = expected.to_owned();
    let mut hint = |text: &str| {
        // A string takes all that is written to it.
        write!(said, "; {text}").ok();
    };
    if found.parse::<IpAddr>().is_ok() {
        hint(&format!("did you mean host {found}?"));
    } else if found.contains('/') {
        hint(&format!("did you mean net {found}?"));
    } else if found.parse::<u16>().is_ok() {
        hint(&format!("did you mean port {found}?"));
    } else if Reason::ALL.iter().any(|reason| reason.name() == found) {
        hint(&format!("did you mean reason {found}?"));
    } else {
        let others = ["not", "host", "net", "port", "portrange", "proto", "reason", "src", "dst"];
        let all = Protocol::NAMED.iter().map(|(name, _)| *name).chain(others);
        let nearest = all.map(|name| (damerau_levenshtein(name, found), name)).min();
        if let Some((1, name)) = nearest.filter(|_| found.len() > 2) {
            hint(&format!("did you mean {name}?"));
        }
    }
    said
}

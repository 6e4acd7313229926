//! The options of IPv4: what is stepped over, what cannot be, and source routes.

use std::format;
use std::vec;
use std::vec::Vec;

use super::{Corpus, MALFORMED, SOURCE_ROUTE, kind_of};
use crate::frames::Kind;
use crate::frames::build::{Ipv4, MORE_FRAGMENTS, tcp, udp};
use crate::packet::protocol;

const LOOSE: u8 = 131;
const STRICT: u8 = 137;

pub(super) fn add(corpus: &mut Corpus) {
    stepped_over(corpus);
    lengths(corpus);
    source_routes(corpus);
    not_source_routes(corpus);
}

/// TCP and UDP behind these options.
fn behind(corpus: &mut Corpus, kind: Option<Kind>, name: &str, options: &[u8]) {
    for (number, payload) in [(protocol::TCP, tcp()), (protocol::UDP, udp())] {
        let header = Ipv4 { options: options.to_vec(), ..Ipv4::new(number) };
        let name = format!("IPv4 with {name}, protocol {number}");
        corpus.add(kind.unwrap_or(kind_of(number)), name, header.frame(&payload));
    }
}

fn stepped_over(corpus: &mut Corpus) {
    let cases: [(&str, &[u8]); 9] = [
        ("no operation, 40 times", &[1; 40]),
        ("end of options", &[0; 4]),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0]),
        ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0]),
        ("router alert", &[148, 4, 0, 0]),
        ("a security label", &[134, 6, 0, 0, 0, 1, 0, 0]),
        ("an option of length 2, which is all", &[200, 2, 200, 2]),
        ("options across words", &[1, 7, 6, 1, 2, 3, 4, 68, 4, 1, 2, 0]),
        ("the longest option", &longest(40)),
    ];
    for (name, options) in cases {
        behind(corpus, None, name, options);
    }
}

/// A record route of this length, with 38 bytes behind that.
fn longest(length: u8) -> Vec<u8> {
    [&[7, length], &[1; 38][..]].concat()
}

fn lengths(corpus: &mut Corpus) {
    for length in [0, 1, 5, LOOSE, STRICT, 255] {
        let name = format!("an option of length {length} in four bytes");
        behind(corpus, Some(MALFORMED), &name, &[7, length, 0, 0]);
    }
    behind(corpus, Some(MALFORMED), "an option of 41 bytes in 40", &longest(41));
    // All but its last bytes, so that its end would be in what follows.
    for (there, kind) in
        [(&[7_u8][..], Some(MALFORMED)), (&[7, 3], Some(MALFORMED)), (&[7, 3, 0], None)]
    {
        let options = [&vec![1; 40 - there.len()][..], there].concat();
        let name = format!("the first {} bytes of an option of 3 at the end", there.len());
        behind(corpus, kind, &name, &options);
    }
    // The length is looked for where the option before it ends, in whichever word that is.
    for place in 0..8 {
        let options = [&vec![1; place][..], &[68, 1], &vec![1; 10 - place]].concat();
        let name = format!("an option of length 1 after {place} bytes");
        behind(corpus, Some(MALFORMED), &name, &options);
    }
}

fn source_routes(corpus: &mut Corpus) {
    for kind in [LOOSE, STRICT] {
        let route = [kind, 7, 4, 198, 51, 100, 3];
        for place in 0..=33 {
            let options = [&vec![1; place][..], &route, &vec![0; 33 - place]].concat();
            let name = format!("source route {kind} after {place} bytes");
            behind(corpus, Some(SOURCE_ROUTE), &name, &options);
        }
        for before in [&[7, 7, 4, 0, 0, 0, 0][..], &[68, 8, 5, 0, 0, 0, 0, 0], &[148, 4, 0, 0]] {
            let mut options = [before, &route].concat();
            options.resize(16, 0);
            let name = format!("source route {kind} behind option {before:?}");
            behind(corpus, Some(SOURCE_ROUTE), &name, &options);
        }
        // One that a receiver would refuse is one that it could read otherwise.
        for length in [0, 1, 2, 3, 255] {
            let name = format!("source route {kind} of length {length}");
            behind(corpus, Some(SOURCE_ROUTE), &name, &[kind, length, 4, 0]);
        }
        behind(corpus, Some(SOURCE_ROUTE), "source route as the last byte", &[1, 1, 1, kind]);
        for fragment in [MORE_FRAGMENTS, MORE_FRAGMENTS | 1, 370] {
            let header =
                Ipv4 { fragment, options: vec![kind, 4, 4, 0], ..Ipv4::new(protocol::TCP) };
            let name = format!("IPv4 with source route {kind} in a fragment {fragment:#06x}");
            corpus.add(SOURCE_ROUTE, name, header.frame(&tcp()));
        }
    }
}

/// The numbers where they are no options.
fn not_source_routes(corpus: &mut Corpus) {
    for kind in [LOOSE, STRICT] {
        let cases: [(&str, Vec<u8>); 3] = [
            ("behind the end of options", vec![0, kind, 7, 4, 198, 51, 100, 3]),
            ("within a record route", vec![7, 8, 4, kind, 4, 4, 0, 0]),
            ("within a timestamp, word by word", [&[68, 12][..], &[kind; 10]].concat()),
        ];
        for (name, options) in cases {
            behind(corpus, None, &format!("{kind} {name}"), &options);
        }
    }
}

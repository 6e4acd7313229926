//! Frames for tests, on the host and in the kernel: how to put one together ([`build`]), the
//! samples with what they are ([`corpus()`]), and seeded mutations of them ([`Mutator`]); and the
//! datapath of one interface in memory ([`memory`]).
//!
//! Nothing here may ask the parser what a frame is: the samples are what it is tested against.

pub mod build;
mod corpus;
pub mod memory;
mod mutate;

use std::string::String;
use std::vec::Vec;

pub use self::corpus::{chains, corpus};
pub use self::mutate::Mutator;
use crate::packet::Unreadable;

/// A frame, and what it is by the word of whoever made it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is special about it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The frame, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// What a frame is, as far as presets care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP, or a part of it.
    Tcp,
    /// UDP, or a part of it.
    Udp,
    /// ICMP or `ICMPv6`, other than neighbour discovery.
    Icmp,
    /// None of these: ARP, neighbour discovery, another protocol.
    Other,
    /// What it is cannot be told.
    Unreadable(Unreadable),
}

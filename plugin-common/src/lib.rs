//! What the kernel programs and the daemon of ebpf-netns share: the layout of the maps ([`abi`]),
//! the frame parser ([`packet`]) and the decision over a parsed frame ([`verdict`]).
//!
//! The parser and the verdict run unchanged in the kernel and on the host, where the tests are.
//! Nothing here allocates, panics or loops without a bound, and nothing knows of maps or hooks.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "BPF has no calls that pass a frame or return a packet: all of it is one function"
)]

pub mod abi;
pub mod packet;
pub mod presets;
pub mod verdict;

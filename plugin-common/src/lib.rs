//! What the kernel programs and the daemon of ebpf-netns share: the layout of the maps ([`abi`]),
//! the frame parser ([`packet`]) and the decision over a parsed frame ([`verdict`]).
//!
//! The parser and the verdict run unchanged in the kernel and on the host, where the tests are.
//! Nothing of them allocates, panics or loops without a bound, and nothing knows of maps or hooks.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "BPF has no calls that pass a frame or return a packet: all of it is one function"
)]

#[cfg(any(test, feature = "frames"))]
extern crate std;

pub mod abi;
pub mod capture;
mod compiler;
pub mod connection;
pub mod exec;
#[cfg(any(test, feature = "frames"))]
pub mod frames;
pub mod identity;
#[cfg(test)]
mod oracle;
pub mod packet;
pub mod presets;
pub mod report;
pub mod rules;
pub mod verdict;

//! Packages of ebpf-netns, made of programs that are built already.
//!
//! Reads the repository and the programs, and returns bytes or writes them where it is told. The same
//! input gives the same bytes on every machine: nothing here asks for the time, the user, or the
//! order in which a directory lists its files. Builds nothing, and downloads nothing.
#![forbid(unsafe_code)]

mod archive;
mod deb;
mod epoch;
mod machine;
mod managed;
mod manuals;
mod oci;
mod product;
mod programs;
mod release;
mod sbom;
mod tree;

pub use epoch::Epoch;
pub use machine::Machine;
pub use release::{Release, plugin, sums};

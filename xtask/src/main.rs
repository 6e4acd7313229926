//! Every command that people and CI run on this repository.
#![forbid(unsafe_code)]
fn main() {}

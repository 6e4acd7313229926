//! The `ebpf-netns` command.
#![forbid(unsafe_code)]
fn main() {}

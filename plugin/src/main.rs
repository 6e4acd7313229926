//! The `ebpf-netns-plugin` command.
#![forbid(unsafe_code)]
fn main() {}

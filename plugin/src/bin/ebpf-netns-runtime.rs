//! The `ebpf-netns-runtime` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ebpf_netns_plugin::runtime::main()
}

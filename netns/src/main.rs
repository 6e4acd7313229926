//! The `ebpf-netns` command. Only wires.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ebpf_netns::cli::main(std::env::args_os().collect())
}

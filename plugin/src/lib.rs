//! The ebpf-netns daemon.
#![forbid(unsafe_code)]

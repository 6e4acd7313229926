//! The ebpf-netns daemon: Docker labels to XDP and TC policy on the container's host-side veth.
#![forbid(unsafe_code)]

pub mod labels;
pub mod plan;
pub mod policy;

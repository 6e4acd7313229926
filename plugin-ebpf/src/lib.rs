//! The kernel programs of ebpf-netns; each binary of this package is one BPF object.
#![no_std]

//! Which of the committed objects this kernel takes.

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

/// For Linux 5.18 and later. From 6.8 on, `CAP_BPF` and `CAP_NET_ADMIN` are enough for it; before,
/// the verifier refuses to who lacks `CAP_PERFMON` that a part of a stack slot is overwritten.
static POLICY: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy.o"));

/// For kernels that have no `bpf_xdp_load_bytes`: at XDP it reads a packet in place, at offsets
/// that are not constants, which the verifier grants to who has `CAP_PERFMON` alone.
static POLICY_DIRECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy-direct.o"));

/// The object for this kernel. Where the kernel does not let itself be asked, loading will say why.
pub(super) fn for_this_kernel() -> &'static [u8] {
    match is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes) {
        Ok(false) => POLICY_DIRECT,
        Ok(true) | Err(_) => POLICY,
    }
}

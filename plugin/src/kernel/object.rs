//! Which of the committed objects this kernel takes, and what they are told of it.

use aya::EbpfLoader;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use plugin_common::abi::{JIFFIES_AHEAD_GLOBAL, JIFFY_GLOBAL};

use super::ticks::TICKS;

/// For Linux 5.18 and later. From 6.8 on, `CAP_BPF` and `CAP_NET_ADMIN` are enough for it; before,
/// the verifier refuses to who lacks `CAP_PERFMON` that a part of a stack slot is overwritten.
static POLICY: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy.o"));

/// For kernels that have no `bpf_xdp_load_bytes`: at XDP it reads a packet in place, at offsets
/// that are not constants, which the verifier grants to who has `CAP_PERFMON` alone.
static POLICY_DIRECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy-direct.o"));

/// What loads it.
pub(super) fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.override_global(JIFFY_GLOBAL, &TICKS.nanoseconds, true);
    loader.override_global(JIFFIES_AHEAD_GLOBAL, &TICKS.ahead, true);
    loader
}

/// The object for this kernel. Where the kernel does not let itself be asked, loading will say why.
pub(super) fn for_this_kernel() -> &'static [u8] {
    match is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes) {
        Ok(false) => POLICY_DIRECT,
        Ok(true) | Err(_) => POLICY,
    }
}

//! Which of the committed objects this kernel takes, and what they are told of it.

use aya::EbpfLoader;
use plugin_common::abi::{JIFFIES_AHEAD_GLOBAL, JIFFY_GLOBAL};

use super::ticks::TICKS;
use crate::sandbox::{Release, running};

/// For Linux 6.8 and later, where `CAP_BPF` and `CAP_NET_ADMIN` are enough for it. Before, the verifier
/// refuses to who lacks `CAP_PERFMON` that a part of a stack slot is overwritten, and the one of 6.1 does
/// not come to an end with it.
static POLICY: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy.o"));

/// For older kernels, also those that have no `bpf_xdp_load_bytes` (Linux 5.18): at XDP it reads a packet
/// in place, at offsets that are not constants, which the verifier grants to who has `CAP_PERFMON` alone.
static POLICY_DIRECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy-direct.o"));

/// What loads it.
pub(super) fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.override_global(JIFFY_GLOBAL, &TICKS.nanoseconds, true);
    loader.override_global(JIFFIES_AHEAD_GLOBAL, &TICKS.ahead, true);
    loader
}

/// The first kernels that take [`POLICY`].
const POLICY_SINCE: Release = (6, 8);

/// The object for this kernel.
pub(super) fn for_this_kernel() -> &'static [u8] {
    if running() < POLICY_SINCE { POLICY_DIRECT } else { POLICY }
}

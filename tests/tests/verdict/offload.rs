//! Packets that stand for several, and packets of which TC sees little at once.

use anyhow::{Result, ensure};
use ebpf_netns_tests::privilege;
use plugin_common::{
    frames::corpus,
    packet::{Bytes, Frame, parse},
    presets::Presets,
    verdict::verdict,
};

use crate::kernel::{Hook, Kernel, LOOPBACK, SkbContext};

const SEGMENTS: u32 = 45;

/// A frame that TC says is several.
struct Offloaded<'a>(Bytes<'a>);

impl Frame for Offloaded<'_> {
    fn wire_len(&self) -> u32 {
        self.0.wire_len()
    }

    fn is_gso(&self) -> bool {
        true
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }
}

#[test]
fn offloaded_packets_are_judged_and_counted_as_what_they_become() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut kernel = Kernel::load()?;
    let context = SkbContext { segments: SEGMENTS, segment_size: 1448, ..SkbContext::default() };
    let presets = Presets::DROP_TCP;
    for hook in Hook::TC {
        kernel.set_policy(LOOPBACK, hook, presets)?;
        let runner = kernel.runner(hook)?;
        for sample in corpus().iter().filter(|sample| hook.takes(&sample.bytes)) {
            let reason = verdict(presets, &parse(&Offloaded(Bytes(&sample.bytes))));
            let before = kernel.counts(LOOPBACK, hook)?;
            let passes = runner.passes_with(&sample.bytes, &context.bytes())?;
            let counted = kernel.counts(LOOPBACK, hook)?.since(&before);
            ensure!(
                passes == reason.passes(),
                "{hook:?}: the host says {reason:?} of {}, the kernel passes: {passes}",
                sample.name
            );
            let expected = (u64::from(SEGMENTS), u64::try_from(sample.bytes.len())?);
            assert_eq!(counted.0.get(&reason), Some(&expected), "{hook:?}: {}", sample.name);
        }
    }
    Ok(())
}

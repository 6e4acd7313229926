//! Reports of the `log` preset, from the ring buffer.

use std::io;

use aya::maps::{MapData, RingBuf};
use plugin_common::report::PacketRecord;
use tokio::io::unix::AsyncFd;

/// The reports, to be read by one task.
pub struct PacketEvents(RingBuf<MapData>);

impl PacketEvents {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Hands over every report as it comes, until `sink` says that nobody listens any more. Must
    /// run within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// When the ring buffer cannot be waited for.
    pub async fn forward(self, mut sink: impl FnMut(PacketRecord) -> bool) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, against descriptors that change: this one does not"
        )]
        let mut ring = AsyncFd::new(self.0)?;
        loop {
            let mut ready = ring.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().next() {
                let record = item.first_chunk().map(PacketRecord::from_bytes);
                if record.is_some_and(|record| !sink(record)) {
                    return Ok(());
                }
            }
            ready.clear_ready();
        }
    }
}

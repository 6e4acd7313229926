//! Sweeps the links for `ip netns` whose container is gone: `ebpf-netns link` makes them and does
//! not stay to remove them.

use std::time::Duration;

use ebpf_netns::links::{Store, Swept};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often is swept when nobody says that something is gone.
const SWEEP: Duration = Duration::from_secs(30);
/// An interface goes a moment before its namespace does; and many go at once.
const SETTLE: Duration = Duration::from_secs(1);

/// Sweeps for ever: a moment after `gone` says that an interface is gone, and now and then.
pub(crate) async fn run(gone: &Notify) {
    loop {
        if timeout(SWEEP, gone.notified()).await.is_ok() {
            sleep(SETTLE).await;
        }
        match spawn_blocking(|| Store::system().sweep()).await {
            Ok(Ok(swept)) => swept.iter().for_each(tell),
            Ok(Err(error)) => warn!(%error, "links cannot be swept"),
            // The runtime is shutting down.
            Err(_cancelled) => return,
        }
    }
}

fn tell(Swept { name, result }: &Swept) {
    match result {
        Ok(_) => info!(link = %name, "its container is gone: removed"),
        Err(error) => warn!(link = %name, %error, "its container is gone, but it stays"),
    }
}

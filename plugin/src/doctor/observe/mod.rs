//! Looking at the machine: everything that `doctor` reads, asks and tries. Changes nothing: programs
//! are loaded and dropped, and attached only in a network namespace that is made for it and gone at
//! once. Nothing here waits for longer than its deadline.

mod host;
mod kernel;
mod links;
mod peers;

use std::path::Path;

use ebpf_netns::docker::{DockerError, Endpoint};

use super::Facts;

/// Where to look.
#[derive(Debug)]
pub struct Places<'a> {
    /// The Docker engine, or why there is none to ask.
    pub docker: Result<Endpoint, DockerError>,
    /// Where the daemon listens.
    pub control_socket: &'a Path,
    /// Where it pins.
    pub pins: &'a Path,
}

/// Looks at everything.
pub async fn observe(places: Places<'_>) -> Facts {
    let kernel = kernel::look();
    let host = host::look(&kernel.release, places.pins);
    let networks = links::look(places.pins);
    let leftovers = host::leftovers(places.pins);
    let (docker, daemon) =
        tokio::join!(peers::docker(places.docker), peers::daemon(places.control_socket));
    Facts { kernel, host, docker, networks, daemon, leftovers }
}

//! Metrics in Prometheus' text format: what is measured, how it is written, and who may read it.
//!
//! ```text
//!  engine ─ Sample ─┐
//!  maps, gate ──────┼─▶ sampler, once a second at most ─▶ render: pure ─▶ text
//!  tally, /proc ────┘        ▲ who asks                    catalogue: names, help
//!                            ├── control socket
//!                            └── server: a loopback port
//! ```
//!
//! The engine says what there is and where it is counted, and does not wait for whoever asks; nobody
//! reaches it but by the sampler.

mod address;
pub mod catalogue;
mod exposition;
mod process;
mod render;
mod sample;
mod sampler;
mod server;
#[cfg(test)]
mod tests;

pub use self::address::{BadAddress, Loopback};
pub use self::render::{MOST_CONTAINERS, MOST_INTERFACES};
pub use self::sample::{ContainerSample, InterfaceSample, Sample};
pub use self::sampler::{Sampler, Sources, start};
pub use self::server::{listen, serve};

/// What the text is, as HTTP says it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The path of the metrics, here as everywhere.
pub const PATH: &str = "/metrics";

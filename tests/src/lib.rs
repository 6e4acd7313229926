//! Harness for tests against a real kernel and a real Docker engine.
//!
//! Nothing is mocked and nothing leaves the machine: every test has a [`Machine`] of its own, which
//! is a network, mount and process namespace without an uplink, and in it, when it needs one, an
//! [`Engine`], which is a `dockerd` with its own data, images and socket. Both vanish when dropped,
//! and also when the process that owns them is killed.
//!
//! ```no_run
//! use ebpf_netns_tests::{Engine, traffic::Http};
//!
//! # fn main() -> anyhow::Result<()> {
//! let engine = Engine::start()?;
//! engine.docker(["run", "-d", "--name", "web", "nginx"])?;
//! let web = engine.addresses("web")?;
//! assert_eq!(engine.from_host().http(web.v4()?)?, Http::Answered(200));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod binaries;
pub mod bulk;
pub mod chaos;
pub mod command;
pub mod compose;
mod configuration;
mod daemon;
pub mod dns;
pub mod documents;
pub mod engine;
#[cfg(feature = "confined")]
pub mod fuzz;
pub mod images;
mod isolated;
mod logs;
mod machine;
pub mod newer;
pub mod outside;
pub mod privilege;
mod process;
mod programs;
pub mod proxy;
pub mod reach;
pub mod screens;
pub mod stream;
mod system;
pub mod terminal;
pub mod traffic;
mod veth;
mod wait;

pub use self::{
    compose::Compose,
    configuration::Configuration,
    daemon::{Daemon, DaemonOptions},
    engine::{Engine, EngineOptions},
    isolated::isolated,
    machine::{Machine, sweep},
    process::Process,
    programs::Programs,
    system::System,
    veth::{Side, VethFarm, VethPair},
    wait::{DEADLINE, Pacer, wait_for, wait_until},
};

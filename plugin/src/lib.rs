//! The ebpf-netns daemon: Docker labels to XDP and TC policy on the container's host-side veth.
#![forbid(unsafe_code)]

pub mod cli;
pub mod compose;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod docker;
pub mod engine;
mod error;
pub mod event;
mod excerpt;
pub mod explain;
pub mod facts;
pub mod finding;
pub mod gate;
pub mod kernel;
pub mod labels;
mod links;
pub mod listing;
mod log;
pub mod look;
pub mod names;
mod nameservers;
pub mod origin;
pub mod plan;
pub mod policy;
pub mod records;
pub mod register;
pub mod reload;
pub mod rules;
pub mod runtime;
pub mod sandbox;
mod service;
pub mod start;
pub mod status;
mod sweeper;

//! The daemon against a real Docker engine, with real packets.
#![expect(
    clippy::indexing_slicing,
    reason = "reading a JSON value by index panics never: what is not there is null"
)]

mod capture;
mod changes;
mod coexistence;
mod compose;
mod config;
mod config_reload;
mod config_swap;
mod control;
mod doctor;
mod driver;
mod errors;
mod escape;
mod explain;
mod exposition;
mod flows;
mod fragments;
mod hooks;
mod lifecycle;
mod limits;
mod log;
mod looks;
mod lookup;
mod metrics;
mod metrics_compose;
mod metrics_many;
mod metrics_port;
mod modes;
mod networks;
mod presets;
mod privilege;
mod programs;
mod published;
mod quarantine;
mod residue;
mod rule_hits;
mod rules;
mod runtime;
mod scene;
mod service;
mod shop;
mod starting;
mod strict;
mod top;
mod trace;
mod trace_exec;
mod traps;
mod unreliable;
mod unreliable_events;
mod unreliable_load;

//! The daemon against a real Docker engine, with real packets.

mod coexistence;
mod control;
mod errors;
mod fragments;
mod hooks;
mod lifecycle;
mod lookup;
mod modes;
mod networks;
mod presets;
mod residue;
mod scene;
mod starting;

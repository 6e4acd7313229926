//! The daemon against a real Docker engine, with real packets.

mod fragments;
mod hooks;
mod modes;
mod presets;
mod scene;

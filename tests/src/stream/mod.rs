//! Numbered frames from containers, and their count behind the host-side veth.
//!
//! A sender floods every interface that it has from its first instruction on. The counter listens
//! where a frame arrives that has passed the veth and the bridge: packet sockets of one protocol do
//! not see what a bridge's port takes in, only what the bridge hands up. Every frame is sent to
//! Ethernet's broadcast address, so that the bridge always does.

mod beat;
mod count;
mod frame;
mod send;
mod talk;

pub use self::{
    beat::beat,
    count::{Stream, Tally, count, read_table},
    frame::{EARLY, Frame, Kind},
    send::{flood, send},
    talk::talk,
};

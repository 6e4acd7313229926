//! The committed objects against the host, under rules: what becomes of each frame, which reason
//! and which rule is counted, and how the connections stand afterwards.
//!
//! Policies and traffic are made up, the same ones for the same seed. Nothing is attached, and
//! nothing is sent: the kernel runs the programs on bytes (`BPF_PROG_TEST_RUN`).

mod agreement;
mod case;
mod flood;
mod kernel;
mod monotony;
mod named;
mod named_frames;
mod policies;
mod shrink;
mod traffic;

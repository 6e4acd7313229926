//! The committed object against the host's parser and verdict, frame by frame.
//!
//! What is decided is one source for both; what can differ is the compiler's and the verifier's
//! doing, and how each hook reaches the bytes. Nothing is attached here and nothing is sent,
//! except by [`live`], within namespaces of its own.

mod agreement;
mod counters;
mod kernel;
mod live;
mod log;
mod offload;
mod wire;

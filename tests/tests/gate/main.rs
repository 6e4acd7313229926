//! Strict mode's gate on real bridges, with real frames: what is closed, what passes, what stays
//! when its owner dies, and that nobody edits it unnoticed.

mod closing;
mod keeping;
mod repair;
mod scene;

//! What is released: packages made of the programs as they are built for tests, installed and run.
#![expect(
    clippy::indexing_slicing,
    reason = "reading a JSON value by index panics never: what is not there is null"
)]

mod debian;
mod image;
mod managed;
mod packed;
mod packing;
